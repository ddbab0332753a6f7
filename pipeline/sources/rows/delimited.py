"""CSV with a header, separated by comma, semicolon or tab.

A field in quotes may hold line ends, so a quote that is never closed could swallow the rest of the file. Such a row
costs its first line only: the lines after it are read again as rows of their own.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from pipeline.sources.layouts import ALIASES, LAYOUTS, plain
from pipeline.sources.rows.lines import Line, lines, too_long
from pipeline.sources.rows.row import CUT_SHORT, ROW_BYTES, Refused, Row
from pipeline.sources.strict_json import ReportError, check_unicode, unique

RECORD_LINES = 1_000
"""Lines that one row may take: how far the end of a quote is looked for."""

_CUT_QUOTE = f"{CUT_SHORT}: the file ends within quotes"
_CUT_ROW = f"{CUT_SHORT}: the last line has no end, so its last field may lack some too; end the file with a newline"
_NO_HEADER = "the file's header could not be read, see line 1"


@dataclass(frozen=True, slots=True)
class _Record:
    lines: list[Line]
    fields: list[str]

    @property
    def text(self) -> str:
        return "".join(line.text for line in self.lines)


def read_delimited(file: IO[bytes]) -> Iterator[Row | Refused]:
    """A row for each record below the header; it must name a column for the prompt.

    A last line without its end is whole only if its last field is in quotes: an answer could lack its end as well.
    """
    source = _Lines(lines(file))
    separator = source.separator()
    records = _records(source, separator)
    first = next(records, None)
    if first is None:
        return
    header = first.fields if isinstance(first, _Record) and _is_header(first) else None
    if isinstance(first, Refused):
        yield first
    elif header is None:
        expected = f"no column for the prompt among {first.fields[:20]}, expected a header such as prompt,target"
        yield Refused(1, expected if first.lines[-1].ended else _CUT_ROW, first.text)
    for record in records:
        if isinstance(record, Refused):
            yield record
        else:
            yield _row(record, header)


def _row(record: _Record, header: list[str] | None) -> Row | Refused:
    line, text, last = record.lines[0].number, record.text, record.lines[-1]
    if header is None:
        return Refused(line, _NO_HEADER, text)
    if not last.ended and (len(record.fields) < len(header) or not last.text.endswith('"')):
        return Refused(line, _CUT_ROW, text)
    if len(record.fields) != len(header):
        return Refused(line, f"{len(record.fields)} fields came, the header has {len(header)}", text)
    try:
        check_unicode(text)
        return Row(line, unique(zip(header, record.fields, strict=True)), text)
    except ReportError as error:
        return Refused(line, str(error), text)


class _Lines:
    """Lines with a way back."""

    def __init__(self, source: Iterator[Line]) -> None:
        self._source = source
        self._again: deque[Line] = deque()

    def take(self) -> Line | None:
        return self._again.popleft() if self._again else next(self._source, None)

    def put_back(self, taken: list[Line]) -> None:
        self._again.extendleft(reversed(taken))

    def separator(self) -> str:
        """The one that the header has most of."""
        first = self.take()
        if first is None:
            return ","
        self.put_back([first])
        return max(",;\t", key=first.text.count)


def _records(source: _Lines, separator: str) -> Iterator[_Record | Refused]:
    while line := source.take():
        if line.too_long:
            yield Refused(line.number, too_long(line), line.text)
            continue
        taken = [line]
        try:
            fields = next(csv.reader(_more(taken, source), delimiter=separator, strict=True))
        except csv.Error as error:
            yield from _refused(taken, source, error)
            continue
        if fields:  # a blank line has none
            yield _Record(taken, fields)


def _more(taken: list[Line], source: _Lines) -> Iterator[str]:
    """The text of the line that was taken, then of as many more as the row needs, which are added to ``taken``."""
    yield taken[0].text
    size = len(taken[0].text)
    while line := source.take():
        size += len(line.text)
        if line.too_long or size > ROW_BYTES or len(taken) == RECORD_LINES:
            source.put_back([line])
            raise csv.Error(f"a quote is not closed within {len(taken)} lines")
        taken.append(line)
        yield line.text


def _refused(taken: list[Line], source: _Lines, error: csv.Error) -> Iterator[Refused]:
    if not taken[-1].ended and "unexpected end" in str(error):
        # What follows is the inside of a field: a row among it would not be one that anybody sent.
        yield from (Refused(line.number, _CUT_QUOTE, line.text) for line in taken)
        return
    source.put_back(taken[1:])
    yield Refused(taken[0].number, f"not CSV: {error}", taken[0].text)


def _is_header(record: _Record) -> bool:
    names = {plain(name) for name in record.fields}
    names_a_prompt = not names.isdisjoint(ALIASES["prompt"]) or any(keys <= names for keys, _ in LAYOUTS)
    return names_a_prompt and record.lines[-1].ended
