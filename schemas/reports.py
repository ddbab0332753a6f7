"""Reports as they enter a run, and what became of those that were not admitted."""

from __future__ import annotations

import pyarrow as pa

FORMAT = 1
"""Counts up when a column of any table here changes its meaning, comes or goes."""

TIME = pa.timestamp("us", tz="UTC")


def _column(name: str, kind: pa.DataType, doc: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


def _schema(*columns: pa.Field) -> pa.Schema:
    return pa.schema(columns, metadata={"format": str(FORMAT)})


_LOCALITY = pa.struct([pa.field("prompt", pa.string(), nullable=False), pa.field("target", pa.string())])

REPORTS = _schema(
    _column("edit_id", pa.string(), "32 hexadecimal digits: hash of the normalised prompt and target"),
    _column("prompt", pa.string(), "as it was sent"),
    _column("target", pa.string(), "the right answer, as it was sent"),
    _column("rephrases", pa.list_(pa.string()), "other wordings, never trained"),
    _column("locality", pa.list_(_LOCALITY), "prompts whose answers must not change, and the answers where known"),
    _column("subject", pa.string(), "what the prompt is about", nullable=True),
    _column("source", pa.string(), "file or URL it came from, without passwords"),
    _column("line", pa.int64(), "where in it, from 1: the line its text starts at, or the row of a table"),
    _column("reporter", pa.string(), "who sent it", nullable=True),
    _column("time", TIME, "when it was reported; when its file was last changed, where it does not say"),
    _column("model_version", pa.string(), "version of the model that was wrong", nullable=True),
    _column("evidence", pa.string(), "why the target is right", nullable=True),
    _column("tenant", pa.string(), "on whose behalf it was sent", nullable=True),
    _column("valid_until", TIME, "when the target stops being right", nullable=True),
    _column("metadata", pa.string(), "JSON object of what else came"),
)
"""One report a row."""

QUARANTINE = _schema(
    _column("source", pa.string(), "file or URL it came from, without passwords"),
    _column("line", pa.int64(), "as in REPORTS; 0 when it is the file as a whole"),
    _column("reason", pa.string(), "what came and what was expected"),
    _column("detail", pa.string(), "the first 500 characters of what came"),
    _column("time", TIME, "when it was refused"),
)
"""One row for each row (or file) that is no report."""

DUPLICATES = _schema(
    _column("edit_id", pa.string(), "the edit it asks for again"),
    _column("source", pa.string(), "file or URL it came from"),
    _column("line", pa.int64(), "as in REPORTS"),
    _column("of", pa.string(), 'where it came from first, "source:line"; "version" when the model knows it already'),
)
"""Reports of edits that are known, or were reported before."""

CONTRADICTIONS = _schema(
    _column("prompt", pa.string(), "that two edits answer differently, as the edit that was kept has it"),
    _column("kept_edit_id", pa.string(), "the edit that prevails"),
    _column("kept_target", pa.string(), "its answer"),
    _column("dropped_edit_id", pa.string(), "the edit that does not"),
    _column("dropped_target", pa.string(), "its answer"),
    _column("reason", pa.string(), "why the one prevails"),
)
"""Edits that were dropped for another answer to the same prompt."""
