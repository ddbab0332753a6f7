"""What is printed for people comes from strangers in part: nothing in it may steer the terminal.

An escape sequence in a prompt could rewrite lines that were printed before, the window's title or the clipboard; marks
that turn the direction of writing could show another text than the one that is taught.
"""

from __future__ import annotations

import re

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.control import Control
from rich.measure import Measurement
from rich.segment import Segment

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but for tabs and line ends, and marks of direction. None of them has a width."""


class _Harmless:
    """Something to print, without what steers a terminal but for the console's own styles."""

    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._inner, options):
            if segment.control:
                yield segment
            else:
                yield Segment(STEERING.sub("", segment.text), segment.style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._inner)


class _Guard(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [one if isinstance(one, Control) else _Harmless(one) for one in renderables]


def console(stderr: bool = False) -> Console:
    """A console that prints texts as they stand, brackets included, but for what steers a terminal."""
    made = Console(stderr=stderr, markup=False)
    made.push_render_hook(_Guard())
    return made
