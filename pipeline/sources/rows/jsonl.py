"""JSON Lines: one object a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from pipeline.sources.rows.lines import lines, too_long
from pipeline.sources.rows.row import CUT_SHORT, Refused, Row
from pipeline.sources.strict_json import ReportError, parse


def read_jsonl(file: IO[bytes]) -> Iterator[Row | Refused]:
    """A row a line that is not blank. A last line without its end is whole if it is an object, else cut short."""
    for line in lines(file):
        if not line.text.strip():
            continue
        if line.too_long:
            yield Refused(line.number, too_long(line), line.text)
            continue
        try:
            content = parse(line.text)
        except ReportError as error:
            reason = str(error) if line.ended else f"{CUT_SHORT}: the last line has no end and is {error}"
            yield Refused(line.number, reason, line.text)
            continue
        if isinstance(content, dict):
            yield Row(line.number, content, line.text)
        else:
            yield Refused(line.number, f"a {type(content).__name__} came, expected an object", line.text)
