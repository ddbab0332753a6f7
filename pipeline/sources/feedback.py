"""Feedback on answers of a model: a correction is a report, a complaint waits for a review, praise is passed over.

Whatever tool collected it, a record of it holds a question, the model's answer, and remarks of people or judges. Where
one of them says what is right, the ratings beside it are told with that report. Where none does, a rating that the
answer was wrong is a complaint, for somebody has to say what is right first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.editing.edit import normalise
from pipeline.sources.conversations import answer
from pipeline.sources.layouts import Fields
from pipeline.sources.ratings import is_right
from pipeline.sources.report import NAME_CHARACTERS, PROMPT_CHARACTERS, TARGET_CHARACTERS
from pipeline.sources.strict_json import ReportError

CONFIRMED = "passed over"
"""How the reason begins where feedback says that the answer was right."""
_SAID_CHARACTERS = 2_000
"""What a report's metadata keeps of the answer that was wrong."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What somebody said about an answer.

    Attributes:
        name: of what was asked of them, such as "correctness".
        value: the right answer, or a rating: true or false, a number, a word.
        reporter, time, evidence: who said so, when and why; None where nothing tells.
        key: its id in the tool; None when it has none.
    """

    name: str
    value: Any
    reporter: Any = None
    time: Any = None
    evidence: Any = None
    key: Any = None

    def __str__(self) -> str:
        value = self.value if isinstance(self.value, str) else answer(self.value)
        return f"{self.name}: {value}"[:NAME_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer of a model, and what was said about it.

    Attributes:
        layout: what the metadata calls the tool.
        key: id of the record in the tool; None when it has none.
        prompt, said: what was asked and answered; ``said`` is None where the record does not tell.
        corrections: remarks that say what is right.
        ratings: remarks that say how the answer was.
        aside: why other remarks do not count, a sentence each.
        time: when the answer was given, as it came; the time of remarks without one.
        model_version: of the model that answered.
        metadata: what else is worth keeping.
    """

    layout: str
    key: Any
    prompt: str
    said: str | None
    corrections: tuple[Remark, ...] = ()
    ratings: tuple[Remark, ...] = ()
    aside: tuple[str, ...] = ()
    time: Any = None
    model_version: Any = None
    metadata: Fields = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Complaint:
    """Feedback that an answer was wrong, which does not say what is right.

    Attributes:
        fields: of ``pipeline.sources.complaint.Complained``.
        key: what makes it the same when it is read again: ids in the tool and what was said.
    """

    fields: Fields
    key: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    """A remark of which nothing comes, and why."""

    reason: str


def outcomes(judged: Judged) -> Iterator[Fields | Complaint | Nothing]:
    """What comes of a record: the fields of a report for each correction; if there is none, something for each rating.

    A correction that cannot be taught, or repeats what the model said, takes the place of no rating.
    """
    if not judged.corrections and not judged.ratings and not judged.aside:
        yield Nothing("nobody said anything about this answer, expected a correction or a rating")
    yield from map(Nothing, judged.aside)
    corrected = [_report(judged, correction) for correction in judged.corrections]
    yield from corrected
    if all(isinstance(outcome, Nothing) for outcome in corrected):
        yield from (_rated(judged, rating) for rating in judged.ratings)


def _report(judged: Judged, correction: Remark) -> Fields | Nothing:
    target = answer(correction.value)
    if target is None or isinstance(correction.value, list | bool):
        came = type(correction.value).__name__
        return Nothing(f"{correction.name}: expected the right answer as text ({came} came)")
    if not target.strip() or len(target) > TARGET_CHARACTERS:
        return Nothing(
            f"{correction.name}: {len(target)} characters came, expected 1 to {TARGET_CHARACTERS}, not all blank"
        )
    if judged.said is not None and normalise(target) == normalise(judged.said):
        return Nothing(f"{CONFIRMED}: what {_who(correction)} calls right is what the model said")
    wrong = [rating for rating in judged.ratings if is_right(rating.name, rating.value) is False]
    reasons = [remark.evidence for remark in (correction, *wrong) if remark.evidence]
    metadata = _metadata(judged, correction) | {"ratings": [str(rating) for rating in judged.ratings]}
    if judged.said is not None:
        metadata["said"] = judged.said[:_SAID_CHARACTERS]
    return _told(judged, correction, "\n".join(dict.fromkeys(map(str, reasons))), metadata) | {"target": target}


def _rated(judged: Judged, rating: Remark) -> Complaint | Nothing:
    right = is_right(rating.name, rating.value)
    if right is None:
        expected = "0 or 1, true or false, or a word such as correct, wrong, good or bad"
        return Nothing(f"the rating {str(rating)[:200]!r} says neither right nor wrong, expected {expected}")
    if right:
        return Nothing(f"{CONFIRMED}: {_who(rating)} rated the answer right ({str(rating)[:200]})")
    said = None if judged.said is None else judged.said[:PROMPT_CHARACTERS]
    fields = _told(judged, rating, rating.evidence, _metadata(judged, rating)) | {"said": said, "rating": str(rating)}
    key = (judged.layout, judged.key, rating.key, normalise(judged.prompt), said, str(rating), rating.reporter)
    return Complaint(fields, key)


def _told(judged: Judged, remark: Remark, evidence: Any, metadata: Fields) -> Fields:
    fields = {
        "prompt": judged.prompt,
        "reporter": remark.reporter,
        "time": remark.time or judged.time,
        "model_version": judged.model_version,
        "evidence": evidence,
        "metadata": metadata,
    }
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def _metadata(judged: Judged, remark: Remark) -> Fields:
    found = {"layout": judged.layout, "record": judged.key, "remark": remark.name, "remark_id": remark.key}
    return {name: value for name, value in (judged.metadata | found).items() if value is not None}


def _who(remark: Remark) -> str:
    return "somebody" if remark.reporter is None else str(remark.reporter)[:80]


def object_in(value: Any, place: str) -> Fields:
    """An object; nothing counts as an empty one.

    Raises:
        ReportError: it is something else.
    """
    if value is not None and not isinstance(value, dict):
        raise ReportError(f"{place}: expected an object ({type(value).__name__} came)")
    return value or {}


def name_in(value: Any) -> str | None:
    """Who somebody is, or an id, which some tools count; None for nothing."""
    return str(value)[:NAME_CHARACTERS] if value not in (None, "") else None


def items(value: Any, place: str) -> list[Fields]:
    """A list of objects; nothing counts as an empty one.

    Raises:
        ReportError: it is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        came = f"a list of {type(value[0]).__name__}" if isinstance(value, list) and value else type(value).__name__
        raise ReportError(f"{place}: expected a list of objects ({came} came)")
    return value
