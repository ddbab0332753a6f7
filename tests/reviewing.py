"""Nights that read feedback, without a model: what the tests of the review queue share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.journal import Journal
from pipeline.review import ReviewQueue
from workers.ingestion import IngestionWorker


def span(number: int, label: str = "incorrect", prompt: str | None = None) -> dict[str, Any]:
    """A span of Phoenix with one annotation."""
    annotation = {"id": f"n-{number}", "name": "correctness", "annotator_kind": "HUMAN", "identifier": "ada"}
    return {
        "context": {"trace_id": "a", "span_id": f"s-{number}"},
        "attributes": {"input.value": prompt or f"Who wrote book {number}?", "output.value": "[red]Eric Blair"},
        "annotations": [annotation | {"result": {"label": label, "explanation": "He is Orwell."}}],
    }


def write(path: Path, *rows: dict[str, Any]) -> Path:
    """Rows as JSON lines, at rest."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def read_night(journal: Journal, source: Path) -> dict[str, int]:
    """What a run does with its source; gives the counts."""
    night, queue = journal.begin(str(source), None), ReviewQueue(journal)
    journal.step(night, queue.STEP, lambda: {"up_to": queue.latest()})

    def ingest() -> dict[str, int]:
        came, answered = queue.came_before(night), queue.answered(night)
        return IngestionWorker().ingest(str(source), {}, came, answered, night.folder)

    counts: dict[str, int] = journal.step(night, "reports", ingest)
    journal.end(night, "nothing new")
    return counts


def table(journal: Journal, name: str) -> list[dict[str, Any]]:
    """A table of the last night."""
    rows: list[dict[str, Any]] = pq.read_table(journal.nights()[-1].folder / f"{name}.parquet").to_pylist()
    return rows
