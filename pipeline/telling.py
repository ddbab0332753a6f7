"""Telling what is being done: bars on a terminal, plain lines elsewhere, and all of it as events in the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.logs import LOG

LINE_SECONDS = 30.0
"""How often a line says how far it is, where there is no terminal."""

Advance = Callable[[int], None]
"""Told how many more are done."""
Track = Callable[[str, int], AbstractContextManager[Advance]]
"""``Teller.track``."""


class Teller:
    """Tells on a console, and in the log.

    Args:
        console: where to. One that is quiet leaves it to the log, whose lines may go to stderr themselves.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        """One line."""
        LOG.info("told", message=line)
        self._console.print(line, highlight=False, markup=False)

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Advance]:
        """Within it, how much of ``total`` is done is shown.

        Args:
            what: is being done, for example "teaching 40 edits".
            total: how many there are.
        """
        if self._console.quiet or not self._console.is_terminal:
            self.say(what)
            yield self._lines(what, total)
            return
        LOG.info("told", message=what)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(what, total=total)
            yield lambda count: progress.advance(task, count)

    def _lines(self, what: str, total: int) -> Advance:
        done, said = 0, time.monotonic()

        def advance(count: int) -> None:
            nonlocal done, said
            done += count
            if time.monotonic() - said >= LINE_SECONDS and done < total:
                said = time.monotonic()
                self.say(f"{what}: {done:,} of {total:,}")

        return advance


QUIET = Teller(Console(quiet=True))
"""Tells nothing."""
