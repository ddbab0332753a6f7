"""What went wrong, question by question, where its route led, and whether the route or the block was at fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.kinds import LEFT_ALONE, SAID
from pipeline.evaluation.scores import failures
from pipeline.words import OTHERS, WORDINGS

Fault = Literal["route", "block", "both", "unknown"]
"""What is to blame. ``route``: its own block would be right; ``block``: that was asked, and is wrong; ``both``: it was
not asked, and would be wrong too; ``unknown``: nobody has tried it."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a question was led.

    Attributes:
        edit: prompt of the edit whose key is nearest; None: outside every scope.
        distance, radius: to the nearest centre and of its scope, units of the key; None: there is no edit near.
    """

    edit: str | None
    distance: float | None
    radius: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A wording of an edit that does not get the target.

    Attributes:
        kind, prompt, expected, said: the question, what was right, and the version's answer.
        route: where it was led.
        own: to the edit that it belongs to.
        fault: what is to blame.
    """

    kind: str
    prompt: str
    expected: str
    said: str
    route: Route
    own: bool
    fault: Fault


@dataclass(frozen=True, slots=True)
class Misled:
    """A question that no edit is about, and one was asked or the answer is not the backbone's any more.

    Attributes:
        kind, prompt: the question.
        route: where it was led.
        backbone, said: both answers.
    """

    kind: str
    prompt: str
    route: Route
    backbone: str
    said: str

    @property
    def changed(self) -> bool:
        """Whether it made a difference."""
        return self.said != self.backbone


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures of one kind of question.

    Attributes:
        kind: as a person calls it.
        faults: what is to blame -> in how many.
        rows: each of them; made as they are asked for.
    """

    kind: str
    faults: dict[Fault, int]
    rows: Iterator[Failure]


def failed(answers: pa.Table, prompts: Mapping[str, str]) -> Iterator[Failures]:
    """Wordings of edits that do not get the target, by kind, as reported first.

    Args:
        answers: schema ``ANSWERS``.
        prompts: edit id -> its prompt.
    """
    wrong = failures(answers)
    for kind in SAID:
        rows = wrong.filter(pc.equal(wrong["kind"], kind))
        if rows.num_rows:
            blamed = zip(*(rows[name].to_pylist() for name in _BLAME), strict=True)
            yield Failures(WORDINGS[kind], dict(Counter(_fault(*row) for row in blamed)), _failures(rows, prompts))


def misled(answers: pa.Table, prompts: Mapping[str, str]) -> Iterator[Misled]:
    """Questions that no edit is about and that were not left alone, those with another answer first.

    Args:
        answers, prompts: as of ``failed``.
    """
    others = pc.is_in(answers["kind"], pa.array(LEFT_ALONE))
    changed = pc.not_equal(answers["answer"], answers["base_answer"])
    found = answers.filter(pc.and_(others, pc.coalesce(pc.or_kleene(changed, pc.is_valid(answers["block"])), False)))
    same = pc.equal(found["answer"], found["base_answer"])
    for row in _rows(found.take(pc.sort_indices(same))):
        yield Misled(OTHERS[row["kind"]], row["prompt"], _route(row, prompts), row["base_answer"], row["answer"])


def _failures(rows: pa.Table, prompts: Mapping[str, str]) -> Iterator[Failure]:
    for row in _rows(rows):
        fault = _fault(*(row[name] for name in _BLAME))
        own = row["routed_edit"] is not None and row["routed_edit"] == row["edit_id"]
        route = _route(row, prompts)
        yield Failure(WORDINGS[row["kind"]], row["prompt"], row["expected"], row["answer"], route, own, fault)


_BLAME = ("oracle_exact_match", "block", "edit_id", "routed_edit")


def _fault(oracle: float | None, block: int | None, edit: str, routed: str | None) -> Fault:
    if oracle is None:
        return "unknown"
    if oracle == 1.0:
        return "route"
    return "block" if block is not None and edit == routed else "both"


def _route(row: Mapping[str, Any], prompts: Mapping[str, str]) -> Route:
    routed = row["routed_edit"]
    return Route(None if routed is None else prompts.get(routed, routed), row["distance"], row["radius"])


def _rows(table: pa.Table) -> Iterable[Mapping[str, Any]]:
    """Rows one after the other, so that who wants the first few does not make all of them."""
    for batch in table.to_batches(max_chunksize=256):
        yield from batch.to_pylist()
