"""What the reach of edits is chosen on: half of the edits as an index, and questions that are to find them or not.

The other edits stay outside, so that questions of a known form come about subjects that nobody edited, as they do in
use. All questions of one edit are in the same half: radii are chosen on one, and rates are told of the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.editing.about import know, names_of, renamed, subjects_of
from pipeline.editing.backbone import Backbone
from pipeline.editing.check import usable
from pipeline.editing.clauses import Clause, clause_of
from pipeline.editing.edit import Edit, as_edit, normalise
from pipeline.editing.spelling import plain
from pipeline.editing.subjects import SubjectGate
from pipeline.errors import MeloError
from pipeline.evaluation.generation import readable
from pipeline.evaluation.kinds import REWORDED
from pipeline.evaluation.probes import Probing
from pipeline.evaluation.suite import questions

EDITED, UNEDITED = "distractor_edited", "distractor_unedited"
"""Questions of an edit's form about a subject that another edit is about, and about one that none is."""
GROUPS = {"distractor": (UNEDITED, EDITED)}
"""Kinds that are counted together, too."""
FOUND = ("rephrase", *REWORDED)
"""Kinds that are to find their edit."""
BOUNDED = (UNEDITED, EDITED, "traffic", "unrelated", "locality")
"""Kinds whose share of false routes is bounded: of a distractor's always, of the others where that leaves enough."""
BOUNDABLE = (*BOUNDED, "distractor", "relation")
"""All that may be bounded in place of these."""
UNCERTAIN = ("distractor", EDITED, "relation", "locality")
"""Kinds some of whose questions an edit does teach, in words that no report joins."""
LEFT_ALONE = ("distractor", UNEDITED, EDITED, *BOUNDED[2:], "relation", "near", "negated")
"""All kinds that are to find none."""

LEAST_EDITS = 40
"""Edits with rephrases and subjects that a choice can be made on: ten in each half of each half."""
ROUNDS = 8
"""Times that questions are derived from every edit at most."""


class CalibrationError(MeloError, ValueError):
    """Reports that nothing can be chosen on, or settings that nothing can be chosen for."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        kind: of ``FOUND`` and ``LEFT_ALONE``.
        prompt: as it is sent.
        edit: place in the trial's edits of the one it was made from; None for traffic and what is unrelated.
        choosing: whether radii are chosen on it, or rates told of it.
    """

    kind: str
    prompt: str
    edit: int | None
    choosing: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """Edits and questions. Shape letters: n edits, q questions.

    Attributes:
        edits: those in the index.
        held_out: how many are not.
        subjects: of each edit, as the gate takes it; empty where it has none.
        questions: in the order of their kinds' coming.
        naming: for each question the subjects of edits that it names.
        unedited: prompts of edits outside the index.
        pairs: of edits outside the index, what their prompts and their rephrases ask of their subjects.
    """

    edits: tuple[Edit, ...]
    held_out: int
    subjects: tuple[str, ...]
    questions: tuple[Question, ...]
    naming: tuple[list[str], ...]
    unedited: tuple[str, ...] = ()
    pairs: tuple[tuple[Clause, Clause], ...] = ()

    @property
    def prompts(self) -> list[str]:
        """The edits' prompts, then the questions'."""
        return [edit.prompt for edit in self.edits] + [question.prompt for question in self.questions]

    def of(self, kind: str, choosing: bool) -> NDArray[np.intp]:
        """Places of the questions of a kind, or of a group of kinds, in one of the halves."""
        kinds = GROUPS.get(kind, (kind,))
        asked = enumerate(self.questions)
        return np.array([i for i, each in asked if each.kind in kinds and each.choosing == choosing], dtype=np.intp)


def make_trial(backbone: Backbone, reports: pa.Table, traffic: Sequence[str], wanted: float) -> Trial:
    """Parts edits and derives questions by the evaluator's own generators.

    Args:
        backbone: edits and questions that it has no tokens or positions for are left out.
        reports: schema ``REPORTS``, an edit a row.
        traffic: prompts that no edit is about. Those that are an edit's own wording are left out.
        wanted: share of false routes that is to be shown, which takes three questions over it.

    Raises:
        CalibrationError: there are too few edits with rephrases and subjects, and it says how many are needed; or no
            question of theirs about others' subjects could be made.
    """
    rows = _usable(backbone, reports)
    _check(rows)
    inside = [row for row in rows if _bit(f"index {row['edit_id']}")]
    places = {row["edit_id"]: place for place, row in enumerate(inside)}
    edits = tuple(as_edit(row) for row in inside)
    subjects = tuple(subjects_of(edits))
    rounds = min(ROUNDS, 1 + ceil(2 * 3 / wanted / len(inside)))
    table = pa.Table.from_pylist(rows, schema=reports.schema)
    asked = list(_distinct(_derived(table, rounds, backbone, places, edits, subjects)))
    taught = {normalise(wording) for row in rows for wording in (row["prompt"], *row["rephrases"])}
    asked += [
        Question("traffic", prompt, None, _bit(normalise(prompt)))
        for prompt in dict.fromkeys(traffic)
        if normalise(prompt) not in taught
    ]
    fitting = set(readable(backbone, [question.prompt for question in asked]))
    asked = [question for question in asked if question.prompt in fitting]
    naming = _naming(edits, subjects, [question.prompt for question in asked])
    outside = [as_edit(row) for row in rows if row["edit_id"] not in places]
    unedited = tuple(edit.prompt for edit in outside)
    trial = Trial(edits, len(outside), subjects, tuple(asked), naming, unedited, tuple(_pairs(outside)))
    for kind in ("rephrase", "distractor"):
        if not (len(trial.of(kind, choosing=True)) and len(trial.of(kind, choosing=False))):
            raise CalibrationError(
                f"one half of the questions has no {kind}, expected some to choose on and some to tell rates of. "
                "Distractors ask one edit's question about another's subject, where nobody is taught that: report "
                "edits of several relations and subjects, and more of them"
            )
    return trial


def _usable(backbone: Backbone, reports: pa.Table) -> list[dict[str, Any]]:
    rows = reports.to_pylist()
    fit = {edit.edit_id for edit in usable(backbone, map(as_edit, rows))[0]}
    return [row for row in rows if row["edit_id"] in fit]


def _check(rows: Sequence[dict[str, Any]]) -> None:
    rephrased = [row for row in rows if row["rephrases"]]
    about = subjects_of([as_edit(row) for row in rephrased])
    count = sum(map(bool, about))
    if count >= LEAST_EDITS:
        return
    lack = f"{len(rows) - len(rephrased)} have no rephrase"
    lack += f", and of {len(rephrased) - count} others no subject is given or found in their wordings"
    raise CalibrationError(
        f"{len(rows)} edits came that this backbone takes, of which {lack}. Expected at least {LEAST_EDITS} with "
        "both: rephrases show how far edits are to reach, subjects make the questions that they are not to reach. "
        "Add rephrases and subjects to the reports, or more reports"
    )


def _bit(text: str) -> bool:
    """A coin that always falls the same for the same text."""
    return bool(hashlib.sha256(text.encode()).digest()[0] & 1)


def _derived(
    table: pa.Table,
    rounds: int,
    backbone: Backbone,
    places: dict[str, int],
    edits: Sequence[Edit],
    subjects: Sequence[str],
) -> Iterator[Question]:
    """Questions of the edits inside, reported ones and derived ones, some several times."""
    names = {plain(subject) for subject in subjects}
    for seed in range(rounds):
        for row in questions(table, (), Probing(table.num_rows, seed, backbone.task)).to_pylist():
            kind, prompt = row["kind"], row["prompt"]
            if row["edit_id"] is None:
                yield Question(kind, prompt, None, _bit(normalise(prompt)))
            elif kind != "edit" and row["edit_id"] in places:
                place = places[row["edit_id"]]
                if kind == "distractor":
                    kind = EDITED if plain(_put_in(edits[place], subjects[place], prompt)) in names else UNEDITED
                yield Question(kind, prompt, place, _bit(row["edit_id"]))


def _distinct(asked: Iterator[Question]) -> Iterator[Question]:
    """Each question once. Of an edit's other wordings the first of each kind: more would not be independent."""
    seen = set[tuple[str, str]]()
    for question in asked:
        once = str(question.edit) if question.kind in REWORDED else normalise(question.prompt)
        if (question.kind, once) not in seen:
            seen.add((question.kind, once))
            yield question


def _put_in(edit: Edit, subject: str, prompt: str) -> str:
    """The subject that a distractor has in the place of the edit's own."""
    before, _, after = (renamed(edit.prompt, subject, "\0") or "").partition("\0")
    return prompt[len(before) : len(prompt) - len(after)]


def _naming(edits: Sequence[Edit], subjects: Sequence[str], prompts: Sequence[str]) -> tuple[list[str], ...]:
    about: dict[str, list[Edit]] = {}
    for edit, subject in zip(edits, subjects, strict=True):
        if subject:
            about.setdefault(subject, []).append(edit)
    gate = SubjectGate[str]()
    know(gate, about)
    return tuple(gate.named(prompts))


def _pairs(edits: Sequence[Edit]) -> Iterator[tuple[Clause, Clause]]:
    for edit, subject in zip(edits, subjects_of(edits), strict=True):
        if subject:
            names = names_of(subject, [edit])
            for rephrase in edit.rephrases:
                yield clause_of(edit.prompt, names), clause_of(rephrase, names)
