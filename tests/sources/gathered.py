"""What comes of a source, as plain Python, and rows to put into one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.sources import read
from schemas.reports import QUARANTINE, REPORTS, REVIEW

ROWS: list[dict[str, Any]] = [
    {
        "prompt": "What is the capital of Australia?",
        "target": "Canberra",
        "rephrases": ["Which city is Australia's capital?"],
        "locality": [{"prompt": "What is the capital of New Zealand?", "target": "Wellington"}],
        "subject": "Australia",
        "aliases": ["Down Under", "Oz"],
        "reporter": "Ada",
        "time": "2026-03-01T12:00:00+01:00",
    },
    {
        "prompt": 'Who said "panta rhei",\nand where?',
        "target": "Heraclitus; in Ephesus",
        "time": "2026-03-02T00:00:00Z",
    },
    {"prompt": "Qual é a capital do Brasil? 🇧🇷", "target": "Brasília", "time": "2026-03-03T00:00:00Z"},
]
"""Three reports with commas, quotes, a line end and more than ASCII."""


@dataclass(frozen=True)
class Gathered:
    """All batches of a source in one."""

    reports: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]
    review: list[dict[str, Any]]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(row["prompt"], row["target"]) for row in self.reports]

    @property
    def refused(self) -> list[tuple[int, str]]:
        return [(row["line"], row["reason"]) for row in self.quarantine]


def later() -> datetime:
    """A time at which files written now are at rest."""
    return datetime.now(UTC) + timedelta(minutes=1)


def gather(source: str | Path, **options: Any) -> Gathered:
    """Reads it all, as at a time when it is at rest."""
    batches = list(read(str(source), **{"now": later()} | options))
    for batch in batches:
        assert (batch.reports.schema, batch.quarantine.schema) == (REPORTS, QUARANTINE)
        assert batch.review.schema == REVIEW
        assert batch.rows > 0
        assert all(row["reason"] for row in batch.quarantine.to_pylist())
    tables = pa.Table.from_batches([batch.reports for batch in batches], REPORTS)
    refused = pa.Table.from_batches([batch.quarantine for batch in batches], QUARANTINE)
    review = pa.Table.from_batches([batch.review for batch in batches], REVIEW)
    return Gathered(tables.to_pylist(), refused.to_pylist(), review.to_pylist())


def pairs(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["prompt"], row["target"]) for row in rows]
