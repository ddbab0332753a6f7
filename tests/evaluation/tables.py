"""Builders of what evaluation reads: reports as they come from the sources, and answers without a model."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipeline.editing.edit import Edit
from schemas.answers import ANSWERS
from schemas.reports import REPORTS

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def reports(edits: Sequence[Edit], source: str = "drop/reports.jsonl") -> pa.Table:
    """Edits as the sources admit them. A locality prompt "prompt => answer" has an answer, another has none."""
    rows = [
        {
            "edit_id": edit.edit_id,
            "prompt": edit.prompt,
            "target": edit.target,
            "rephrases": list(edit.rephrases),
            "aliases": list(edit.aliases),
            "locality": [_locality(text) for text in edit.locality],
            "source": source,
            "line": number,
            "time": NOON,
            "metadata": "{}",
        }
        for number, edit in enumerate(edits, start=1)
    ]
    return pa.Table.from_pylist(rows, schema=REPORTS)


def _locality(text: str) -> dict[str, str | None]:
    prompt, _, target = text.partition(" => ")
    return {"prompt": prompt, "target": target or None}


def answers(*rows: dict[str, Any]) -> pa.Table:
    """Answers of schema ``ANSWERS`` from what matters of them; an edit's id is its prompt where none is given."""
    empty = dict.fromkeys(ANSWERS.names) | {"answer": "", "base_answer": "", "seconds": 0.5}
    filled = [empty | row for row in rows]
    for row in filled:
        row["prompt"] = row["prompt"] or "?"
    return pa.Table.from_pylist(filled, schema=ANSWERS)
