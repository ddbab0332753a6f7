"""The edits of an edited model, a row each: what was asked and what became of it."""

from __future__ import annotations

import pyarrow as pa

from schemas.columns import column

FORMAT = 2
"""Counts up when a column changes its meaning, comes or goes."""

EDITS = pa.schema(
    [
        column("edit_id", pa.string(), "32 hexadecimal digits: hash of the normalised prompt and target"),
        column("prompt", pa.string(), "as it was sent"),
        column("target", pa.string(), "the right answer, as it was sent"),
        column("rephrases", pa.list_(pa.string()), "other wordings, never trained"),
        column("locality", pa.list_(pa.string()), "prompts whose answers must not change"),
        column("subject", pa.string(), "what the prompt is about", nullable=True),
        column("aliases", pa.list_(pa.string()), "other names of the subject"),
        column("state", pa.string(), "live, failed, replaced, undone, evicted or expired"),
        column("version", pa.int64(), "version of the model that last changed this row"),
        column("action", pa.string(), "add, expand, conflict or replace; null when not learned", nullable=True),
        column("cluster", pa.int64(), "cluster its key entered; null when not learned", nullable=True),
        column("block", pa.int64(), "block that learned it; null when not learned", nullable=True),
        column("steps", pa.int64(), "optimiser steps its blocks took"),
        column("learned", pa.bool_(), "whether the model said the target by free generation"),
        column("reason", pa.string(), "why it was not learned; empty when it was"),
        column("replaced", pa.list_(pa.string()), "ids of the edits that it superseded"),
    ],
    metadata={"format": str(FORMAT)},
)
