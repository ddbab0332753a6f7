"""Langfuse traces with their scores, and items of its datasets, as its public API has them.

Langfuse's documentation, "Scores Data Model", "Corrected Outputs" and the API reference of ``TraceWithFullDetails``,
``Score`` and ``DatasetItem``. A score of type CORRECTION holds the right answer as ``stringValue``; the others are
ratings. A score belongs to the trace, or to the observation that it names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.sources.conversations import answer, question
from pipeline.sources.feedback import Judged, Remark, items, name_in
from pipeline.sources.layouts import Fields
from pipeline.sources.strict_json import ReportError

_TRACE = frozenset({"id", "timestamp", "input", "output", "scores"})
_ITEM = frozenset({"input", "expectedOutput"})
_SCORES = (frozenset({"traceId", "dataType", "name"}), frozenset({"trace_id", "data_type", "name"}))
"""A score alone, of the API or of an export to a blob storage."""


def is_export(row: dict[str, Any]) -> bool:
    """Whether it is a trace, a dataset item or a score."""
    return any(marks <= row.keys() for marks in (_TRACE, _ITEM, *_SCORES))


def judged(row: dict[str, Any]) -> Iterator[Judged]:
    """The trace's answer and those of its observations, as far as they have scores; or a dataset's item.

    Raises:
        ReportError: it has no question, or what is scored is missing.
    """
    if row.keys() >= _TRACE:
        yield from _trace(row)
    elif row.keys() >= _ITEM:
        yield _item(row)
    else:
        raise ReportError(
            "a score alone came, which does not say what was asked: fetch the traces with their scores "
            "(GET /api/public/traces/ID)"
        )


def _trace(row: Fields) -> Iterator[Judged]:
    scored: dict[str | None, list[Fields]] = {None: []}
    for score in items(row["scores"], "scores"):
        scored.setdefault(name_in(score.get("observationId")), []).append(score)
    for observation_id, scores in scored.items():
        if observation_id is None:
            if scores or len(scored) == 1:
                yield _judged(row, row, scores)
            continue
        observations = items(row.get("observations"), "observations")
        about = next((one for one in observations if one.get("id") == observation_id), None)
        if about is None:
            raise ReportError(f"observations: no {observation_id!r} came, which a score is about, expected all of them")
        yield _judged(row, about, scores)


def _judged(trace: Fields, about: Fields, scores: list[Fields]) -> Judged:
    remarks = [(score.get("dataType"), _remark(score)) for score in scores]
    known = {name: trace.get(name) for name in ("name", "sessionId", "environment", "tags")}
    return Judged(
        layout="langfuse",
        key=about.get("id"),
        prompt=question(about.get("input"), "input"),
        said=answer(about.get("output")),
        corrections=tuple(remark for kind, remark in remarks if kind == "CORRECTION"),
        ratings=tuple(remark for kind, remark in remarks if kind != "CORRECTION"),
        time=about.get("timestamp") or about.get("startTime"),
        model_version=about.get("model") or trace.get("version") or trace.get("release"),
        metadata={name: value for name, value in known.items() if value},
    )


def _remark(score: Fields) -> Remark:
    kind, value, text = score.get("dataType"), score.get("value"), score.get("stringValue")
    if kind == "BOOLEAN" and value in (0, 1):
        value = bool(value)
    elif kind != "NUMERIC" and text is not None:  # the number of a category says nothing without its configuration
        value = text
    return Remark(
        str(score.get("name")),
        value,
        reporter=name_in(score.get("authorUserId") or score.get("source")),
        time=score.get("timestamp") or score.get("createdAt"),
        evidence=score.get("comment"),
        key=score.get("id"),
    )


def _item(row: Fields) -> Judged:
    known = {name: row.get(name) for name in ("datasetName", "sourceTraceId", "sourceObservationId", "metadata")}
    archived, right = row.get("status") == "ARCHIVED", row["expectedOutput"]
    correction = Remark("expectedOutput", right, time=row.get("updatedAt") or row.get("createdAt"), key=row.get("id"))
    return Judged(
        layout="langfuse",
        key=row.get("id"),
        prompt=question(row["input"], "input"),
        said=None,
        corrections=() if archived or right is None else (correction,),
        aside=("the item is archived, expected one in use",) if archived else (),
        metadata={name: value for name, value in known.items() if value},
    )
