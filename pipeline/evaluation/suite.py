"""The suite of questions that a set of edits gives rise to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipeline.editing.edit import normalise
from pipeline.evaluation.probes import Probing, probes
from schemas.answers import QUESTIONS

_NEEDED = ("edit_id", "prompt", "target", "rephrases", "locality", "subject", "aliases", "source")


def questions(edits: pa.Table, upstream: Sequence[tuple[str, str]] = (), probing: Probing | None = None) -> pa.Table:
    """Every edit's prompt, its rephrases and its locality prompts, in the edits' order; then the upstream task's.

    Last come the questions that are derived from edits, where they are asked for.

    A locality or upstream prompt that is an edit's own prompt or rephrase is left out: its answer was to change.

    Args:
        edits: schema ``REPORTS``, one row for each edit that the model is to know: neither replaced nor undone. A
            further column ``version`` (int64) says which version learned it; without one ``ask`` looks it up.
        upstream: prompts of the task that the backbone was made for, with their right answers.
        probing: which questions are derived from edits; None: none are.

    Returns:
        A table of schema ``QUESTIONS``.

    Raises:
        ValueError: a column is missing.
    """
    if missing := [name for name in _NEEDED if name not in edits.schema.names]:
        raise ValueError(f"the edits have no column {missing}; expected those of REPORTS, got {edits.schema.names}")
    names = [*_NEEDED, *(["version"] if "version" in edits.schema.names else [])]
    rows = edits.select(names).to_pylist()
    taught = {normalise(prompt) for row in rows for prompt in (row["prompt"], *(row["rephrases"] or ()))}
    asked = [question for row in rows for question in _of_edit(row, taught)]
    asked += [
        {"kind": "upstream", "prompt": prompt, "expected": expected}
        for prompt, expected in upstream
        if normalise(prompt) not in taught
    ]
    if probing is not None:
        asked += probes(rows, taught, probing)
    return pa.Table.from_pylist(asked, schema=QUESTIONS)


def _of_edit(row: dict[str, Any], taught: set[str]) -> Iterator[dict[str, Any]]:
    of = {"edit_id": row["edit_id"], "source": row["source"], "version": row.get("version")}
    yield of | {"kind": "edit", "prompt": row["prompt"], "expected": row["target"]}
    for prompt in row["rephrases"] or ():
        yield of | {"kind": "rephrase", "prompt": prompt, "expected": row["target"]}
    for other in row["locality"] or ():
        if normalise(other["prompt"]) not in taught:
            expected = other["target"] if (other["target"] or "").strip() else None
            yield of | {"kind": "locality", "prompt": other["prompt"], "expected": expected}
