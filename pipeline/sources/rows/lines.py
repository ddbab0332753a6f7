"""Lines of a text file that may be anything: long without end, broken, or cut."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, cast

from pipeline.sources.rows.row import ROW_BYTES

_SHOWN = 2_000
"""Bytes that are kept of a line which is too long."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        number: from 1.
        text: with its end; bytes that are no UTF-8 stand in it as lone surrogates. The beginning of one that is
            too long.
        ended: whether it has an end, as all have but the last line of some files.
        too_long: whether it had more than ``ROW_BYTES``.
    """

    number: int
    text: str
    ended: bool
    too_long: bool = False


def buffered(file: IO[bytes]) -> io.BufferedReader:
    """The file with a ``readline`` that takes a limit, which remote files lack."""
    return io.BufferedReader(cast(io.RawIOBase, file), 1 << 18)


def lines(file: IO[bytes]) -> Iterator[Line]:
    """The file's lines; a byte order mark before the first is taken off."""
    source = buffered(file)
    number = 0
    while raw := source.readline(ROW_BYTES + 1):
        number += 1
        too_long = len(raw) > ROW_BYTES
        kept = raw[:_SHOWN] if too_long else raw
        while too_long and raw and not raw.endswith(b"\n"):
            raw = source.readline(ROW_BYTES)
        encoding = "utf-8-sig" if number == 1 else "utf-8"
        yield Line(number, kept.decode(encoding, "surrogateescape"), raw.endswith(b"\n"), too_long)


def too_long(line: Line) -> str:
    """The reason for refusing it."""
    return f"line {line.number} has more than {ROW_BYTES} bytes"
