"""Reading a source: every row of every file ends as a report or in quarantine, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipeline.sources.complaint import checked_complaint
from pipeline.sources.feedback import Complaint, Nothing, outcomes
from pipeline.sources.files import SourceError, SourceFile, files
from pipeline.sources.layouts import Fields, told
from pipeline.sources.reasons import BEING_WRITTEN
from pipeline.sources.report import checked
from pipeline.sources.rows import READERS
from pipeline.sources.rows.row import Refused, Row
from pipeline.sources.strict_json import ReportError
from pipeline.sources.tools import judged
from schemas.reports import QUARANTINE, REPORTS, REVIEW

DETAIL_CHARACTERS = 500
REASON_CHARACTERS = 1_000
BATCH_CHARACTERS = 16_000_000
"""A batch ends here as well, so that large reports do not make large batches."""

UNANSWERED = "it says that an answer is wrong, expected what is right"
"""Why a complaint is of no use where every row counts."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What came of some rows.

    Attributes:
        reports: of schema ``REPORTS``, in the order of the files and of the rows in them.
        quarantine: of schema ``QUARANTINE``, in the same order.
        review: of schema ``REVIEW``, in the same order; what comes twice stands in it twice.
    """

    reports: pa.RecordBatch
    quarantine: pa.RecordBatch
    review: pa.RecordBatch

    @property
    def rows(self) -> int:
        """Of all three."""
        return self.reports.num_rows + self.quarantine.num_rows + self.review.num_rows


def read(
    source: str,
    *,
    batch_rows: int = 2000,
    settled_seconds: float = 5.0,
    now: datetime | None = None,
    allowed: Sequence[str] = (),
    mask: Callable[[str], str] = str,
) -> Iterator[Batch]:
    """Reports, complaints and what is neither, out of a file, a folder or a URL.

    In a tool's export each remark about an answer counts for itself.

    A row that is wrong costs itself alone. A file that is still being written, by its name or because it changed less
    than ``settled_seconds`` ago, is left for the next time: one row of line 0 in quarantine says so. A file whose end
    is missing gives the rows that are whole, and one in quarantine that begins with "cut short".

    Args:
        source: a path or any fsspec URL. JSON Lines, JSON, CSV, Parquet or Arrow IPC, by the names' endings.
        batch_rows: rows of a batch at most, all that came of them together.
        settled_seconds: how long a file must not have changed.
        now: what times are compared with, and the time of quarantine; None: now.
        allowed: see ``files``.
        mask: takes out of a text what shall not be kept in quarantine.

    Returns:
        Batches with at least one row each; memory does not grow with what is read.

    Raises:
        SourceError: there is nothing at ``source``, or it cannot be reached; at once, not with the first batch.
        ValueError: ``batch_rows`` is less than 1, or ``now`` has no time zone.
    """
    if batch_rows < 1:
        raise ValueError(f"batch_rows is {batch_rows}, expected at least 1")
    if now is not None and now.tzinfo is None:
        raise ValueError(f"now is {now} without a time zone, expected one: datetime.now(UTC)")
    return _batches(files(source, allowed), batch_rows, settled_seconds, now or datetime.now(UTC), mask)


def pairs(source: str) -> list[tuple[str, str]]:
    """Prompts and targets of a source whose every row counts, such as questions that a model is scored on.

    Raises:
        SourceError: there is nothing there, or a row of it cannot be read.
    """
    found: list[tuple[str, str]] = []
    for batch in read(source, settled_seconds=0):
        for row in batch.quarantine.slice(0, 1).to_pylist():
            raise SourceError(f"{row['source']}, line {row['line']} is no prompt with its target: {row['reason']}")
        for row in batch.review.slice(0, 1).to_pylist():
            raise SourceError(f"{row['source']}, line {row['line']} is no prompt with its target: {UNANSWERED}")
        found += zip(batch.reports["prompt"].to_pylist(), batch.reports["target"].to_pylist(), strict=True)
    return found


def _batches(
    found: list[SourceFile], batch_rows: int, settled_seconds: float, now: datetime, mask: Callable[[str], str]
) -> Iterator[Batch]:
    pending = _Pending(now, mask)
    for file in found:
        for row in _outcomes(file, settled_seconds, now):
            pending.add(row, file)
            if len(pending) >= batch_rows or pending.characters >= BATCH_CHARACTERS:
                yield pending.batch()
                pending = _Pending(now, mask)
    if len(pending):
        yield pending.batch()


@dataclass(slots=True)
class _Pending:
    """Rows of the batch under way."""

    now: datetime
    mask: Callable[[str], str]
    characters: int = 0
    reports: list[dict[str, Any]] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    review: list[dict[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.reports) + len(self.quarantine) + len(self.review)

    def add(self, row: dict[str, Any] | Refused, file: SourceFile) -> None:
        if isinstance(row, Refused):
            reason = _printable(row.reason, REASON_CHARACTERS)
            # What is cut off in the middle is masked first, and does not show any more what it was afterwards.
            detail = _printable(self.mask(_printable(row.text, 2 * DETAIL_CHARACTERS)), DETAIL_CHARACTERS)
            place = {"source": file.name, "line": row.line}
            self.quarantine.append(place | {"reason": reason, "detail": detail, "time": self.now})
            return
        if "complaint_id" in row:
            self.review.append(row | {"source": file.name})
            texts = [row["prompt"], row["said"] or "", row["evidence"] or "", row["metadata"]]
        else:
            self.reports.append(row | {"source": file.name})
            texts = [row["prompt"], row["target"], row["evidence"] or "", row["metadata"]]
            texts += [*row["rephrases"], *row["aliases"]]
            texts += [text for near in row["locality"] for text in near.values() if text]
        self.characters += sum(map(len, texts))

    def batch(self) -> Batch:
        return Batch(
            pa.RecordBatch.from_pylist(self.reports, schema=REPORTS),
            pa.RecordBatch.from_pylist(self.quarantine, schema=QUARANTINE),
            pa.RecordBatch.from_pylist(self.review, schema=REVIEW),
        )


def _outcomes(file: SourceFile, settled_seconds: float, now: datetime) -> Iterator[dict[str, Any] | Refused]:
    """Rows of ``REPORTS`` and ``REVIEW`` without their source, and what was refused, of one file."""
    if not file.regular:
        yield Refused(0, "a link, a device or a pipe came, expected a file: put the file itself here, or name it")
        return
    if reason := file.unsettled(settled_seconds, now):
        yield Refused(0, f"{BEING_WRITTEN}: {reason}; it is read the next time")
        return
    reader = READERS.get(file.suffix)
    if reader is None:
        yield Refused(0, f"the ending {file.suffix!r} says nothing about its format, expected one of {[*READERS]}")
        return
    try:
        with file.open() as opened:
            for row in reader(opened):
                yield from [row] if isinstance(row, Refused) else _reports(row, file.modified or now, now)
        if file.changed():
            yield Refused(0, f"{BEING_WRITTEN}: it changed while it was read; what it had until then was read")
    except OSError as error:
        yield Refused(0, f"cannot be read: {error}")


def _reports(row: Row, modified: datetime, now: datetime) -> Iterator[dict[str, Any] | Refused]:
    told_any = False
    try:
        for outcome in _told(row.content):
            told_any = True
            try:
                if isinstance(outcome, Nothing):
                    yield _refused(row, outcome.reason)
                elif isinstance(outcome, Complaint):
                    yield checked_complaint(outcome, modified, now) | {"line": row.line}
                else:
                    yield checked(outcome, modified, now) | {"line": row.line}
            except ReportError as error:
                yield _refused(row, str(error))
    except ReportError as error:
        yield _refused(row, str(error))
        return
    if not told_any:
        yield _refused(row, "nothing in it is wrong, expected at least one sentence to correct")


def _told(content: dict[str, Any]) -> Iterator[Fields | Complaint | Nothing]:
    """What comes of a row: of the remarks in a tool's export, or of a row that says what is right itself."""
    answers = judged(content)
    if answers is None:
        yield from told(content)
    else:
        for answer in answers:
            yield from outcomes(answer)


def _refused(row: Row, reason: str) -> Refused:
    return Refused(
        row.line, reason, row.text or ", ".join(f"{name}: {_brief(row.content[name])}" for name in row.content)
    )


def _brief(value: Any) -> str:
    """Its beginning, without spelling out what may be enormous."""
    return value[:DETAIL_CHARACTERS] if isinstance(value, str) else repr(value)[:DETAIL_CHARACTERS]


def _printable(text: str, characters: int) -> str:
    """Its beginning, with bytes that are no UTF-8 told as numbers."""
    return text[:characters].encode("utf-8", "backslashreplace").decode()[:characters]
