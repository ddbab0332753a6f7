"""The page of a version: what a night made, whether it may be used, and why not, in one file of HTML for a person.

``gather`` reads what the night has stored into a ``Page``; ``render`` makes HTML of it. Nothing on a page comes from
anywhere else, so the same night gives the same page however often it is gone on with.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.journal import Journal, Night


def write_page(journal: Journal, night: Night) -> Path:
    """Writes the page of the version that a night made into the night's folder; see ``gather``.

    Returns:
        The file.
    """
    from pipeline.journal import write_atomically
    from pipeline.report.gather import gather
    from pipeline.report.render import render

    file = night.folder / "report.html"
    write_atomically(file, render(gather(journal, night)).encode())
    return file
