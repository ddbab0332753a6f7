"""Reports as they enter a run, and what became of those that were not admitted."""

from __future__ import annotations

import pyarrow as pa

from schemas.columns import column

FORMAT = 3
"""Counts up when a column of any table here changes its meaning, comes or goes."""

TIME = pa.timestamp("us", tz="UTC")


def _schema(*columns: pa.Field) -> pa.Schema:
    return pa.schema(columns, metadata={"format": str(FORMAT)})


_LOCALITY = pa.struct([pa.field("prompt", pa.string(), nullable=False), pa.field("target", pa.string())])

REPORTS = _schema(
    column("edit_id", pa.string(), "32 hexadecimal digits: hash of the normalised prompt and target"),
    column("prompt", pa.string(), "as it was sent"),
    column("target", pa.string(), "the right answer, as it was sent"),
    column("rephrases", pa.list_(pa.string()), "other wordings, never trained"),
    column("locality", pa.list_(_LOCALITY), "prompts whose answers must not change, and the answers where known"),
    column("subject", pa.string(), "what the prompt is about", nullable=True),
    column("aliases", pa.list_(pa.string()), "other names of the subject"),
    column("source", pa.string(), "file or URL it came from, without passwords"),
    column("line", pa.int64(), "where in it, from 1: the line its text starts at, or the row of a table"),
    column("reporter", pa.string(), "who sent it", nullable=True),
    column("time", TIME, "when it was reported; when its file was last changed, where it does not say"),
    column("model_version", pa.string(), "version of the model that was wrong", nullable=True),
    column("evidence", pa.string(), "why the target is right", nullable=True),
    column("tenant", pa.string(), "on whose behalf it was sent", nullable=True),
    column("valid_until", TIME, "when the target stops being right", nullable=True),
    column("metadata", pa.string(), "JSON object of what else came"),
)
"""One report a row."""

QUARANTINE = _schema(
    column("source", pa.string(), "file or URL it came from, without passwords"),
    column("line", pa.int64(), "as in REPORTS; 0 when it is the file as a whole"),
    column("reason", pa.string(), "what came and what was expected"),
    column("detail", pa.string(), "the first 500 characters of what came"),
    column("time", TIME, "when it was refused"),
    column("edit_id", pa.string(), "the edit that it asks for, where it is a report", nullable=True),
    column("reporter", pa.string(), "who sent it, likewise", nullable=True),
)
"""One row for each row (or file) that is no report, and for each report that is not let through."""

REVIEW = _schema(
    column("complaint_id", pa.string(), "32 hexadecimal digits: hash of ids in the tool and of what was said"),
    column("prompt", pa.string(), "what the model was asked"),
    column("said", pa.string(), "what it answered; null where the tool does not tell", nullable=True),
    column("rating", pa.string(), "what was rated and how, with a colon between: it says that the answer was wrong"),
    column("reporter", pa.string(), "who rated it, a person or a judge", nullable=True),
    column("time", TIME, "when it was rated; when its file was last changed, where it does not say"),
    column("source", pa.string(), "file or URL it came from, without passwords"),
    column("line", pa.int64(), "as in REPORTS"),
    column("model_version", pa.string(), "version of the model that was wrong", nullable=True),
    column("evidence", pa.string(), "why the answer is wrong", nullable=True),
    column("metadata", pa.string(), "JSON object of what else came"),
)
"""Feedback that an answer was wrong, which does not say what is right: one row for each that was not seen before."""

DUPLICATES = _schema(
    column("edit_id", pa.string(), "the edit it asks for again"),
    column("source", pa.string(), "file or URL it came from"),
    column("line", pa.int64(), "as in REPORTS"),
    column("of", pa.string(), 'where it came from first, "source:line"; "version" when the model knows it already'),
    column("reporter", pa.string(), "who sent it", nullable=True),
    column("reported", TIME, "its time, as in REPORTS; null before format 3", nullable=True),
    column("valid_until", TIME, "as in REPORTS", nullable=True),
)
"""Reports of edits that are known, or were reported before."""

CONTRADICTIONS = _schema(
    column("prompt", pa.string(), "that two edits answer differently, as the edit that was kept has it"),
    column("kept_edit_id", pa.string(), "the edit that prevails"),
    column("kept_target", pa.string(), "its answer"),
    column("dropped_edit_id", pa.string(), "the edit that does not"),
    column("dropped_target", pa.string(), "its answer"),
    column("reason", pa.string(), "why the one prevails"),
    column("dropped_source", pa.string(), "where the first report of the one that does not came from", nullable=True),
    column("dropped_line", pa.int64(), "likewise; these are null before format 3", nullable=True),
    column("dropped_reporter", pa.string(), "who sent that report", nullable=True),
)
"""Edits that were dropped for another answer to the same prompt."""
