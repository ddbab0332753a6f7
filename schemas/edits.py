"""The edits of an edited model, a row each: what was asked and what became of it."""

from __future__ import annotations

import pyarrow as pa

FORMAT = 1
"""Counts up when a column changes its meaning, comes or goes."""


def _column(name: str, kind: pa.DataType, doc: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


EDITS = pa.schema(
    [
        _column("edit_id", pa.string(), "32 hexadecimal digits: hash of the normalised prompt and target"),
        _column("prompt", pa.string(), "as it was sent"),
        _column("target", pa.string(), "the right answer, as it was sent"),
        _column("rephrases", pa.list_(pa.string()), "other wordings, never trained"),
        _column("locality", pa.list_(pa.string()), "prompts whose answers must not change"),
        _column("subject", pa.string(), "what the prompt is about", nullable=True),
        _column("state", pa.string(), "live, failed, replaced, undone or evicted"),
        _column("version", pa.int64(), "version of the model that last changed this row"),
        _column("action", pa.string(), "add, expand, conflict or replace; null when not learned", nullable=True),
        _column("cluster", pa.int64(), "cluster its key entered; null when not learned", nullable=True),
        _column("block", pa.int64(), "block that learned it; null when not learned", nullable=True),
        _column("steps", pa.int64(), "optimiser steps its blocks took"),
        _column("learned", pa.bool_(), "whether the model said the target by free generation"),
        _column("reason", pa.string(), "why it was not learned; empty when it was"),
        _column("replaced", pa.list_(pa.string()), "ids of the edits that it superseded"),
    ],
    metadata={"format": str(FORMAT)},
)
