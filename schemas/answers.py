"""What a version is asked, a row a question, and what it answered."""

from __future__ import annotations

import pyarrow as pa

from schemas.columns import column

FORMAT = 3
"""Counts up when a column of either table changes its meaning, comes or goes."""

_METADATA = {"format": str(FORMAT)}

QUESTIONS = pa.schema(
    [
        column("kind", pa.string(), "of pipeline.evaluation.kinds, or (in a study) accurate"),
        column("edit_id", pa.string(), "edit it belongs to; null for upstream and unrelated", nullable=True),
        column("prompt", pa.string(), "what is asked, as it was sent"),
        column("expected", pa.string(), "the right answer; null where only agreement counts", nullable=True),
        column("source", pa.string(), "file or URL that the edit came from; null without one", nullable=True),
        column("version", pa.int64(), "version of the model that learned the edit; null without one", nullable=True),
    ],
    metadata=_METADATA,
)

ANSWERS = pa.schema(
    [
        *QUESTIONS,
        column("answer", pa.string(), "what the version says, greedy and free; null: cannot be asked", nullable=True),
        column("base_answer", pa.string(), "what the backbone says without blocks", nullable=True),
        column("exact_match", pa.float64(), "1 or 0; null without an expected answer", nullable=True),
        column("f1", pa.float64(), "of words, 0 to 1; null without one, and for a classifier", nullable=True),
        column("oracle_exact_match", pa.float64(), "with the edit's own block on; null: not so asked", nullable=True),
        column("base_exact_match", pa.float64(), "the backbone's", nullable=True),
        column("base_f1", pa.float64(), "the backbone's", nullable=True),
        column("forced_exact_match", pa.float64(), "all tokens likeliest, each after the right ones", nullable=True),
        column("forced_f1", pa.float64(), "of those tokens and the expected; null: not scored so", nullable=True),
        column("base_forced_exact_match", pa.float64(), "the backbone's", nullable=True),
        column("base_forced_f1", pa.float64(), "the backbone's", nullable=True),
        column("nll", pa.float64(), "mean over the expected tokens, nats; null unless causal", nullable=True),
        column("base_nll", pa.float64(), "the backbone's", nullable=True),
        column("block", pa.int64(), "block that answered; null outside every scope", nullable=True),
        column("routed_edit", pa.string(), "edit whose key is nearest; null outside every scope", nullable=True),
        column("distance", pa.float64(), "key to nearest centre, Euclidean; null when no edit is in", nullable=True),
        column("radius", pa.float64(), "of the nearest cluster, units of the key", nullable=True),
        column("seconds", pa.float64(), "the version's time for its batch, by questions in it", nullable=True),
    ],
    metadata=_METADATA,
)
