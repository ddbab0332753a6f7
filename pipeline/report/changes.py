"""What changed since the version before: its edits, and its answers to questions that both were asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.kinds import DERIVED, SAID
from pipeline.words import OTHERS, WORDINGS

CALLED = {"live": "added", "failed": "failed", "replaced": "replaced", "undone": "undone", "gone": "no longer there"}
"""States of records -> what became of an edit that has come into it tonight, in the order in which a page shows them.
A state that is not here is called what it is, and comes last."""


@dataclass(frozen=True, slots=True)
class EditChange:
    """An edit that stands otherwise than in the version before.

    Attributes:
        edit_id, prompt, target: of it.
        backbone, said: what the backbone and the version say to its prompt; None where neither was asked.
        right: whether that is the target; None likewise.
        why: it was not learned, or which answer replaced it; empty where there is nothing to say.
    """

    edit_id: str
    prompt: str
    target: str
    backbone: str | None
    said: str | None
    right: bool | None
    why: str


@dataclass(frozen=True, slots=True)
class AnswerChange:
    """A question that both versions were asked, and they answered differently."""

    kind: str
    prompt: str
    expected: str | None
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class AnswerChanges:
    """Questions of both versions.

    Attributes:
        compared: how many both were asked, the derived ones left out: these are others every night.
        fixed, broken: right now, or no longer. What no edit is about is right when it is the backbone's answer.
        otherwise: wrong in another way than before.
    """

    compared: int
    fixed: tuple[AnswerChange, ...]
    broken: tuple[AnswerChange, ...]
    otherwise: tuple[AnswerChange, ...]


def edits_changed(records: pa.Table, before: pa.Table | None, answers: pa.Table) -> dict[str, list[EditChange]]:
    """What became of edits tonight -> those edits, in the records' order.

    Args:
        records: schema ``EDITS``, of the version.
        before: of the version that was edited; None: there was none.
        answers: schema ``ANSWERS``, of the version.
    """
    then = {} if before is None else dict(_columns(before, "edit_id", "state"))
    own = answers.filter(pc.equal(answers["kind"], "edit"))
    asked = {row[0]: row[1:] for row in _columns(own, "edit_id", "base_answer", "answer", "exact_match")}
    found: dict[str, list[EditChange]] = {}
    present: set[str] = set()
    instead: dict[str, str] = {}
    for target, gone in _columns(records, "target", "replaced"):
        instead |= dict.fromkeys(gone or (), f"by the answer {target}")
    for edit_id, prompt, target, state, reason in _columns(records, "edit_id", "prompt", "target", "state", "reason"):
        present.add(edit_id)
        if state == then.get(edit_id):
            continue
        backbone, said, exact = asked.get(edit_id, (None, None, None))
        right = None if exact is None else exact == 1.0
        change = EditChange(edit_id, prompt, target, backbone, said, right, reason or instead.get(edit_id, ""))
        found.setdefault(CALLED.get(state, state), []).append(change)
    if before is not None:
        for edit_id, prompt, target in _columns(before, "edit_id", "prompt", "target"):
            if edit_id not in present:
                change = EditChange(edit_id, prompt, target, None, None, None, "")
                found.setdefault(CALLED["gone"], []).append(change)
    order = list(CALLED.values())
    return dict(sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def answers_changed(answers: pa.Table, before: pa.Table) -> AnswerChanges:
    """Questions that both were asked, and what became of them.

    Args:
        answers, before: schema ``ANSWERS``, of the version and of the one before.
    """
    then = {question: (answer, right) for question, answer, right in _asked(before)}
    compared = 0
    fixed: list[AnswerChange] = []
    broken: list[AnswerChange] = []
    otherwise: list[AnswerChange] = []
    for question, now, right in _asked(answers):
        if question not in then:
            continue
        compared += 1
        was, was_right = then[question]
        kind, prompt, expected = question
        change = AnswerChange({**WORDINGS, **OTHERS}.get(kind, kind), prompt, expected, was, now)
        if right != was_right:
            (fixed if right else broken).append(change)
        elif not right and now != was:
            otherwise.append(change)
    return AnswerChanges(compared, tuple(fixed), tuple(broken), tuple(otherwise))


def _asked(answers: pa.Table) -> Iterator[tuple[tuple[str, str, str | None], str, bool]]:
    """Questions (kind, prompt, right answer) that were answered, the answer, and whether it is right."""
    rows = answers.filter(
        pc.and_(pc.invert(pc.is_in(answers["kind"], pa.array(DERIVED))), pc.is_valid(answers["answer"]))
    )
    columns = ("kind", "prompt", "expected", "answer", "base_answer", "exact_match")
    for kind, prompt, expected, answer, base, exact in _columns(rows, *columns):
        yield (kind, prompt, expected), answer, exact == 1.0 if kind in SAID else answer == base


def _columns(table: pa.Table, *names: str) -> Iterable[tuple[Any, ...]]:
    """Rows of some columns; a table of ten thousands of edits is not made into dictionaries."""
    return zip(*(table[name].to_pylist() for name in names), strict=True)
