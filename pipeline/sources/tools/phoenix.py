"""Phoenix spans with annotations.

Phoenix's documentation, "Capture Feedback", "Exporting Annotated Spans" and the schemas ``Span`` and ``SpanAnnotation``
of its REST API: ``px spans FILE --include-annotations`` writes spans with a list of annotations each, and the client's
dataframes of spans and of annotations, joined by the span's id, have a row an annotation. Annotations rate; one whose
name says that it holds the right answer, such as "correction", corrects.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.sources.conversations import answer, question
from pipeline.sources.feedback import Judged, Remark, items, name_in
from pipeline.sources.layouts import Fields, inside
from pipeline.sources.ratings import is_right
from pipeline.sources.strict_json import ReportError
from pipeline.sources.tools.names import is_correction

_INPUT, _OUTPUT, _MODEL = "input.value", "output.value", "llm.model_name"
"""Attributes, as OpenInference names them."""
_COLUMN = "attributes."
_ANNOTATIONS = frozenset({"annotation_name", "annotator_kind"})


def is_span(row: dict[str, Any]) -> bool:
    """Whether it is a span, a row of a table of spans, or an annotation without its span."""
    as_object = isinstance(row.get("attributes"), dict) and inside(row.get("context"), "span_id") is not None
    alone = inside(row.get("result"), "score") is not None or inside(row.get("result"), "label") is not None
    annotation = row.keys() >= _ANNOTATIONS or (alone and "annotator_kind" in row)
    return as_object or _COLUMN + _INPUT in row or annotation


def judged(row: dict[str, Any]) -> Iterator[Judged]:
    """The span's answer, with all its annotations.

    Raises:
        ReportError: it has no question, or the annotations are broken.
    """
    asked = _attribute(row, _INPUT)
    if asked is None:
        expected = "its span: join the spans' input.value and output.value to it, or px spans --include-annotations"
        raise ReportError(f"attributes: no {_INPUT} came, expected the annotation with {expected}")
    span_id = inside(row.get("context"), "span_id") or row.get("context.span_id") or row.get("span_id")
    annotations = [row] if "annotation_name" in row else items(row.get("annotations"), "annotations")
    remarks = [_remark(annotation) for annotation in annotations if annotation is not row or row["annotation_name"]]
    known = {"span": row.get("name"), "trace": inside(row.get("context"), "trace_id") or row.get("context.trace_id")}
    yield Judged(
        layout="phoenix",
        key=span_id,
        prompt=question(asked, _INPUT),
        said=answer(_attribute(row, _OUTPUT)),
        corrections=tuple(remark for remark in remarks if is_correction(remark.name)),
        ratings=tuple(remark for remark in remarks if not is_correction(remark.name)),
        time=row.get("start_time"),
        model_version=_attribute(row, _MODEL),
        metadata={name: value for name, value in known.items() if value is not None},
    )


def _remark(annotation: Fields) -> Remark:
    name = str(annotation.get("annotation_name") or annotation.get("name"))
    label, score, explanation = (_result(annotation, part) for part in ("label", "score", "explanation"))
    if is_correction(name):
        value, explanation = label or explanation, explanation if label else None
    else:
        value = label if score is None or is_right(name, label) is not None else score
    user, kind, identifier = (annotation.get(part) for part in ("user_id", "annotator_kind", "identifier"))
    return Remark(
        name,
        value,
        reporter=name_in(user or " ".join(str(part) for part in (kind, identifier) if part)),
        time=annotation.get("updated_at") or annotation.get("created_at"),
        evidence=explanation,
        key=annotation.get("id"),
    )


def _result(annotation: Fields, part: str) -> Any:
    """A part of what an annotation found, which tables have under ``result.``."""
    result = annotation.get("result")
    return result.get(part) if isinstance(result, dict) else annotation.get(f"result.{part}", annotation.get(part))


def _attribute(row: Fields, name: str) -> Any:
    """An attribute of the span: under its name, in objects of objects, or in a column."""
    attributes = row.get("attributes")
    if not isinstance(attributes, dict):
        return row.get(_COLUMN + name)
    held: Any = attributes
    for part in name.split("."):
        held = inside(held, part)
    return attributes.get(name, held)
