"""MLflow traces with assessments, as ``Trace.to_dict`` and ``mlflow.search_traces`` give them.

MLflow's documentation, "Feedback and Expectations" and "Search Traces"; the layout was recorded with MLflow 3.17. An
expectation is the right answer, feedback a rating with or without a rationale. Assessments that were overridden are no
longer valid. Previews in a trace's info are cut short, so questions come from the spans.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from pipeline.sources.conversations import answer, opened, question
from pipeline.sources.feedback import Judged, Remark, items, name_in, object_in
from pipeline.sources.layouts import Fields, inside
from pipeline.sources.strict_json import ReportError, parse

_COLUMNS = frozenset({"trace_id", "request", "response", "assessments"})
"""Of ``mlflow.search_traces``."""
_NO_ANSWERS = ("expected_facts", "expected_retrieved_context", "expected_tool_calls", "guidelines")
"""Names of expectations that MLflow's own judges read, which are no answers."""


def is_trace(row: dict[str, Any]) -> bool:
    """Whether it is a trace, or a row of a table of traces."""
    return row.keys() >= _COLUMNS or (inside(row.get("info"), "trace_id") is not None and "data" in row)


def judged(row: dict[str, Any]) -> Iterator[Judged]:
    """The trace's answer, and those of single spans that were assessed.

    Raises:
        ReportError: it has no question, or what is assessed is missing.
    """
    info: Fields = row if row.keys() >= _COLUMNS else row["info"]
    spans = items(row["spans"] if "spans" in row else inside(row.get("data"), "spans"), "spans")
    of_spans: dict[str | None, list[Fields]] = {None: []}
    for assessment in items(opened(info.get("assessments")), "assessments"):
        if assessment.get("valid") is not False:
            of_spans.setdefault(_of_span(assessment, spans), []).append(assessment)
    for span_id, assessments in of_spans.items():
        if assessments or len(of_spans) == 1:
            yield _judged(row, info, _asked_and_said(row, spans, span_id), assessments)


def _judged(row: Fields, info: Fields, taken: tuple[Any, Any], assessments: list[Fields]) -> Judged:
    remarks = [(*_remark(assessment), assessment) for assessment in assessments]
    told = object_in(info.get("trace_metadata"), "trace_metadata")
    tags = object_in(info.get("tags"), "tags")
    tags = {name: tag for name, tag in tags.items() if tag and not name.startswith("mlflow.")}
    asked, said = taken
    return Judged(
        layout="mlflow",
        key=info.get("trace_id"),
        prompt=question(asked, "request"),
        said=answer(said),
        corrections=tuple(remark for remark, kind, _ in remarks if kind == "expectation"),
        ratings=tuple(remark for remark, kind, _ in remarks if kind == "feedback"),
        aside=tuple(kind for _, kind, _ in remarks if kind not in ("expectation", "feedback")),
        time=info.get("request_time"),
        model_version=told.get("mlflow.modelId") or told.get("model_version"),
        metadata={"tags": tags} if tags else {},
    )


def _remark(assessment: Fields) -> tuple[Remark, str]:
    """An assessment and whether it is an expectation or feedback, or else why it is neither."""
    name = str(assessment.get("assessment_name"))
    expectation, feedback = assessment.get("expectation"), assessment.get("feedback")
    kind = "expectation" if expectation else "feedback"
    value = inside(expectation or feedback, "value")
    if (serialised := inside(inside(expectation, "serialized_value"), "value")) is not None:
        value = _decoded(serialised)
    if not expectation and not feedback:
        kind = f"{name}: an assessment that is neither expectation nor feedback"
    elif error := inside(feedback, "error"):
        kind = f"{name}: the judge failed ({str(inside(error, 'error_message'))[:200]})"
    elif expectation and name in _NO_ANSWERS:
        kind = f"{name}: an expectation that is no answer, expected one such as expected_response"
    source = assessment.get("source")
    who, by = inside(source, "source_id"), inside(source, "source_type")
    return Remark(
        name,
        value,
        reporter=name_in(who if by == "HUMAN" else " ".join(str(part) for part in (by, who) if part)),
        time=assessment.get("last_update_time") or assessment.get("create_time"),
        evidence=assessment.get("rationale"),
        key=assessment.get("assessment_id"),
    ), kind


def _of_span(assessment: Fields, spans: list[Fields]) -> str | None:
    """The span that an assessment is about; None for the trace, whose root span says the same."""
    span_id = name_in(assessment.get("span_id"))
    root = next((span for span in spans if not span.get("parent_span_id")), None)
    return None if span_id is None or (root is not None and _hex(root.get("span_id")) == span_id) else span_id


def _asked_and_said(row: Fields, spans: list[Fields], span_id: str | None) -> tuple[Any, Any]:
    """What went into the trace or one of its spans, and what came out."""
    if span_id is None and "request" in row:
        return row["request"], row["response"]
    for span in spans:
        if (not span.get("parent_span_id")) if span_id is None else _hex(span.get("span_id")) == span_id:
            attributes = opened(span.get("attributes"))
            return _decoded(inside(attributes, "mlflow.spanInputs")), _decoded(inside(attributes, "mlflow.spanOutputs"))
    what = "root span" if span_id is None else f"span {span_id!r}"
    raise ReportError(f"spans: no {what} came, expected the whole trace as Trace.to_dict gives it")


def _decoded(attribute: Any) -> Any:
    """A span's attribute, which is JSON text."""
    return parse(attribute) if isinstance(attribute, str) else attribute


def _hex(span_id: Any) -> Any:
    """A span's id as assessments have it; traces have its bytes in base64."""
    try:
        return base64.b64decode(span_id, validate=True).hex()
    except (TypeError, ValueError, binascii.Error):
        return span_id
