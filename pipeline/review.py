"""The review queue: feedback that an answer was wrong waits until somebody says what is right, or that it was not.

What came is in the nights' folders, what became of it in the journal. An answer is a report of the next night that
reads reports; a complaint that was settled never comes back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.journal import Journal, Night, Settlement
from pipeline.sources.policy import REVIEWED
from pipeline.sources.report import PROMPT_CHARACTERS, checked
from schemas.reports import REPORTS


class ReviewQueue:
    """Reads the nights of a journal. Nothing is kept: it is theirs and the journal's to remember.

    Args:
        journal: of the runs.
    """

    STEP: ClassVar[str] = "reviewed"
    """Step of a night that fixes up to which settlement it takes answers in."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def waiting(self) -> list[dict[str, Any]]:
        """Complaints that nobody settled, rows of schema ``REVIEW``, in the order in which they came."""
        settled = {one.complaint for one in self._journal.settlements()}
        return [row for complaint, row in self._came(self._journal.nights()).items() if complaint not in settled]

    def find(self, beginning: str) -> list[dict[str, Any]]:
        """Complaints whose ids begin so, settled ones included."""
        return [row for complaint, row in self._came(self._journal.nights()).items() if complaint.startswith(beginning)]

    def answer(self, complaint: dict[str, Any], right: str, reason: str, reviewer: str) -> Settlement:
        """Settles a complaint by what is right.

        Raises:
            ReportError: the answer is blank or too long.
            SettledError: it was settled before.
        """
        now = datetime.now(UTC)
        settlement = Settlement(0, complaint["complaint_id"], right, reason, reviewer, now.isoformat())
        checked(_fields(complaint, settlement), now, now)
        return self._journal.settle(complaint["complaint_id"], right, reason, reviewer)

    def dismiss(self, complaint: dict[str, Any], reason: str, reviewer: str) -> Settlement:
        """Settles a complaint by setting it aside.

        Raises:
            SettledError: it was settled before.
        """
        return self._journal.settle(complaint["complaint_id"], None, reason, reviewer)

    def came_before(self, night: Night) -> set[str]:
        """Ids of the complaints of earlier nights."""
        return set(self._came(other for other in self._journal.nights() if other.number < night.number))

    def latest(self) -> int:
        """Number of the last settlement; 0 without one."""
        return max((one.number for one in self._journal.settlements()), default=0)

    def answered(self, night: Night) -> pa.RecordBatch:
        """The answers that a night takes in, of schema ``REPORTS``: those that no earlier one did."""
        taken = 0
        for other in self._journal.nights():
            results = self._journal.results(other)
            if other.number < night.number and "reports" in results and self.STEP in results:
                taken = max(taken, results[self.STEP]["up_to"])
        up_to = self._journal.results(night)[self.STEP]["up_to"]
        came = self._came(self._journal.nights())
        rows = [
            _report(came[one.complaint], one)
            for one in self._journal.settlements()
            if taken < one.number <= up_to and one.answer is not None
        ]
        return pa.RecordBatch.from_pylist(rows, schema=REPORTS)

    @staticmethod
    def _came(nights: Iterator[Night] | list[Night]) -> dict[str, dict[str, Any]]:
        """Complaints by id, as they came first. Nights of earlier releases have none."""
        found: dict[str, dict[str, Any]] = {}
        for night in nights:
            file = night.folder / "review.parquet"
            for row in pq.read_table(file).to_pylist() if file.is_file() else ():
                found.setdefault(row["complaint_id"], row)
        return found


def _report(complaint: dict[str, Any], settlement: Settlement) -> dict[str, Any]:
    settled = datetime.fromisoformat(settlement.settled)
    row = checked(_fields(complaint, settlement), settled, settled)
    return row | {"source": REVIEWED, "line": settlement.number}


def _fields(complaint: dict[str, Any], settlement: Settlement) -> dict[str, Any]:
    """A report's fields: what is right by the reviewer's word, whose evidence comes first."""
    reasons = [f"reviewed by {settlement.reviewer}", settlement.reason, complaint["evidence"]]
    told = {name: complaint[name] for name in ("complaint_id", "rating", "source", "line")}
    return {
        "prompt": complaint["prompt"],
        "target": settlement.answer,
        "reporter": complaint["reporter"],
        "time": settlement.settled,
        "model_version": complaint["model_version"],
        "evidence": "\n".join(reason for reason in reasons if reason)[:PROMPT_CHARACTERS],
        "metadata": json.loads(complaint["metadata"]) | told,
    }
