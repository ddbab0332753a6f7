"""A row as a file has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

ROW_BYTES = 1_000_000
"""The most that one row may take in a text file."""

CUT_SHORT = "cut short"
"""How the reason begins when a file's end is missing."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row that could be read; whether it is a report is decided later.

    Attributes:
        line: from 1: the line that it starts at, or its number in a table.
        content: columns or keys, and what they hold.
        text: as it stands in a text file; empty for a table.
    """

    line: int
    content: dict[str, Any]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that could not.

    Attributes:
        line: as in ``Row``; 0 for the file as a whole.
        reason: what came and what was expected.
        text: what came, at least its beginning.
    """

    line: int
    reason: str
    text: str = ""


Reader = Callable[[IO[bytes]], Iterator[Row | Refused]]
"""Reads a seekable file from its start, holding no more than a few rows (of a table: a batch) at a time."""
