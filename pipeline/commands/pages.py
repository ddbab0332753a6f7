"""The page of a version, fetched and opened."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

import typer

from pipeline.commands.common import out, plain_errors, the_registry
from pipeline.journal import write_atomically
from pipeline.settings import Settings


def report(number: int | None, to: Path | None, open_it: bool) -> None:
    """Writes the page of a version and opens it; without a number, of the one that was registered last."""
    from pipeline.report.render import numbered

    settings = Settings()
    with plain_errors():
        registry = the_registry(settings)
        number = registry.candidate_number() if number is None else number
        if number is None:
            raise typer.BadParameter("there is no version yet: melo run makes one")
        page = numbered(registry.page(number), number)
        file = settings.home.absolute() / "reports" / f"version-{number}.html" if to is None else to.absolute()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, page.encode())
    out.print(str(file), highlight=False, soft_wrap=True)
    if open_it and _display():
        webbrowser.open(file.as_uri())


def _display() -> bool:
    """Whether a browser has where to show itself: a terminal's browser is not to take the terminal."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
