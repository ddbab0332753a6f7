"""What a version is asked, a row a question, and what it answered."""

from __future__ import annotations

import pyarrow as pa

FORMAT = 1
"""Counts up when a column of either table changes its meaning, comes or goes."""


def _column(name: str, kind: pa.DataType, doc: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


_METADATA = {"format": str(FORMAT)}

QUESTIONS = pa.schema(
    [
        _column("kind", pa.string(), "edit, rephrase, locality or upstream"),
        _column("edit_id", pa.string(), "edit that the question belongs to; null for upstream", nullable=True),
        _column("prompt", pa.string(), "what is asked, as it was sent"),
        _column("expected", pa.string(), "the right answer; null where only agreement counts", nullable=True),
        _column("source", pa.string(), "file or URL that the edit came from; null for upstream", nullable=True),
        _column("version", pa.int64(), "version of the model that learned the edit; null for upstream", nullable=True),
    ],
    metadata=_METADATA,
)

ANSWERS = pa.schema(
    [
        *QUESTIONS,
        _column("answer", pa.string(), "what the version says, greedy and free; null: cannot be asked", nullable=True),
        _column("base_answer", pa.string(), "what the backbone says without blocks", nullable=True),
        _column("exact_match", pa.float64(), "1 or 0; null without an expected answer", nullable=True),
        _column("f1", pa.float64(), "of words, 0 to 1; null without one, and for a classifier", nullable=True),
        _column("base_exact_match", pa.float64(), "the backbone's", nullable=True),
        _column("base_f1", pa.float64(), "the backbone's", nullable=True),
        _column("nll", pa.float64(), "mean over the expected tokens, nats; null unless causal", nullable=True),
        _column("base_nll", pa.float64(), "the backbone's", nullable=True),
        _column("block", pa.int64(), "block that answered; null outside every scope", nullable=True),
        _column("routed_edit", pa.string(), "edit whose key is nearest; null outside every scope", nullable=True),
        _column("distance", pa.float64(), "key to nearest centre, Euclidean; null when no edit is in", nullable=True),
        _column("radius", pa.float64(), "of the nearest cluster, units of the key", nullable=True),
        _column("seconds", pa.float64(), "the version's time for its batch, by questions in it", nullable=True),
    ],
    metadata=_METADATA,
)
