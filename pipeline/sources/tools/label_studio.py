"""Label Studio tasks with annotations, as its JSON export has them.

Label Studio's documentation, "Label Studio Task Format", and of the tags "TextArea", "Choices" and "Rating"; "Dialogue
Analysis" is a template that asks for corrections. A text area is a correction unless
its name is that of a comment, choices and stars are ratings. An annotation with ``was_cancelled`` was skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.sources.conversations import SAID, answer, named, question
from pipeline.sources.feedback import Judged, Remark, items, name_in
from pipeline.sources.layouts import Fields, inside
from pipeline.sources.tools.names import is_comment


def is_task(row: dict[str, Any]) -> bool:
    """Whether it is a task of the JSON export."""
    return isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list)


def judged(row: dict[str, Any]) -> Iterator[Judged]:
    """The task's question and answer, with all its annotations.

    Raises:
        ReportError: it has no question, or the annotations are broken.
    """
    corrections: list[Remark] = []
    ratings: list[Remark] = []
    aside: list[str] = []
    for annotation in items(row["annotations"], "annotations"):
        texts, marks = _remarks(annotation)
        if annotation.get("was_cancelled"):
            aside.append(f"skipped by {_annotator(annotation) or 'somebody'}")
        elif not texts and not marks:
            aside.append(f"annotation {annotation.get('id')} has neither a text nor a choice")
        else:
            corrections += texts
            ratings += marks
    data, predictions = row["data"], items(row.get("predictions"), "predictions")
    known = {"task": row.get("id"), "project": row.get("project"), "inner_id": row.get("inner_id")}
    yield Judged(
        layout="label_studio",
        key=row.get("id"),
        prompt=question(data, "data"),
        said=answer(named(data, SAID)) or _predicted(predictions),
        corrections=tuple(corrections),
        ratings=tuple(ratings),
        aside=tuple(aside),
        time=row.get("updated_at"),
        model_version=data.get("model_version") or next((said.get("model_version") for said in predictions), None),
        metadata={name: value for name, value in known.items() if value is not None},
    )


def _remarks(annotation: Fields) -> tuple[list[Remark], list[Remark]]:
    """Its corrections and ratings; what stands in comments is their evidence."""
    results = items(annotation.get("result"), "result")
    comments = [text for result in results if is_comment(_name(result)) for text in _texts(result)]
    common: Fields = {
        "reporter": _annotator(annotation),
        "time": annotation.get("updated_at") or annotation.get("created_at"),
        "evidence": "\n".join(comments) or None,
    }
    corrections, ratings = [], []
    for result in results:
        name, value = _name(result), result.get("value")
        key = f"{annotation.get('id')}/{result.get('id')}"
        if not is_comment(name) and (texts := _texts(result)):
            corrections.append(Remark(name, texts[0], key=key, **common))
        choices = inside(value, "choices")
        for choice in choices if isinstance(choices, list) else ():
            ratings.append(Remark(name, choice, key=key, **common))
        if (stars := inside(value, "rating")) is not None:
            ratings.append(Remark(name, f"{stars} stars", key=key, **common))
    return corrections, ratings


def _predicted(predictions: list[Fields]) -> str | None:
    """What the first model to predict a text said."""
    results = [result for said in predictions for result in items(said.get("result"), "predictions.result")]
    return next((text for result in results for text in _texts(result)), None)


def _name(result: Fields) -> str:
    return str(result.get("from_name"))


def _texts(result: Fields) -> list[str]:
    """What was typed into a text area; one of a single line may come as text."""
    if result.get("type") != "textarea":
        return []
    text = inside(result.get("value"), "text")
    lines = text if isinstance(text, list) else [text]
    return [line for line in lines if isinstance(line, str)]


def _annotator(annotation: Fields) -> str | None:
    """Who it was, by mail address or else by number."""
    by = annotation.get("completed_by")
    return name_in((by.get("email") or by.get("id")) if isinstance(by, dict) else by)
