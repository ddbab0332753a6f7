"""A trial's keys: of its edits, and of what is looked up for each question.

Shape letters: n edits, q questions, r things looked up, d key width.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.editing.about import names_of
from pipeline.editing.backbone import Backbone
from pipeline.editing.clauses import Clause, clause_of
from pipeline.editing.encoders import SentenceKeys
from pipeline.editing.keying import limits_of
from pipeline.editing.keys import open_keys
from pipeline.editing.metric import LEAST_PAIRS, fitted
from pipeline.editing.routing import Sought
from pipeline.evaluation.calibration.candidates import Candidate, made_by
from pipeline.evaluation.calibration.trial import Trial
from pipeline.settings import EditingSettings


@dataclass(frozen=True, slots=True)
class Keyed:
    """Keys, and the edits among which each finds its nearest.

    Attributes:
        subjects: n texts, what a question must name to find an edit; empty: nothing.
        edits: [n, d] float32.
        sought: r things, each of a question's place; none of a question that can find nothing.
        asked: [r, d] float32, their keys.
        limits: what the radius of a cluster at each edit is not to exceed; None: nothing.
    """

    subjects: tuple[str, ...]
    edits: torch.Tensor
    sought: tuple[Sought, ...]
    asked: torch.Tensor
    limits: tuple[float, ...] | None = None

    @property
    def gated(self) -> bool:
        """Whether some edits apply only to questions that name their subject."""
        return any(self.subjects)

    def apart(self, count: int) -> NDArray[np.float64]:
        """Distances [q, n] from questions to edits, inf where a question does not find an edit; ``count`` is q."""
        found = np.full((count, len(self.edits)), np.inf)
        rows: dict[tuple[str, ...], list[int]] = {}
        for row, each in enumerate(self.sought):
            rows.setdefault(tuple(each.subjects), []).append(row)
        for named, own in rows.items():
            columns = [place for place, subject in enumerate(self.subjects) if subject in named]
            places = [self.sought[row].prompt for row in own]
            found[np.ix_(places, columns)] = torch.cdist(self.asked[own].double(), self.edits[columns].double()).numpy()
        return found


def whole(trial: Trial, keys: torch.Tensor, gate: bool) -> Keyed:
    """One key a prompt, whatever it names.

    Args:
        trial: edits and questions.
        keys: [n + q, d] float32, of the trial's prompts.
        gate: whether edits with a subject apply only to questions that name it.
    """
    n = len(trial.edits)
    named = trial.naming if gate else [[] for _ in trial.questions]
    sought = tuple(Sought(place, ["", *subjects]) for place, subjects in enumerate(named))
    return Keyed(trial.subjects if gate else ("",) * n, keys[:n], sought, keys[n:])


def by_clauses(
    source: Candidate, keys: torch.Tensor, backbone: Backbone, settings: EditingSettings, trial: Trial
) -> list[tuple[Candidate, Keyed]]:
    """An encoder's keys of what questions ask of the subjects that they name, as they are and under a metric.

    The metric is fitted on edits outside of the trial's index, so that no question has a part in it. There is none
    where they have too few rephrases.

    Args:
        source: the encoder.
        keys: [n + q, d] float32, its keys of the trial's prompts.
        backbone: the model that is edited.
        settings: what is set already.
        trial: edits and questions.
    """
    gated = replace(source, subjects=True)
    found = [(gated, _by_clauses(gated, keys, backbone, settings, trial))]
    if len(trial.pairs) >= LEAST_PAIRS:
        with closing(_open(gated, backbone, settings)) as encoder:
            questions, rephrases = zip(*trial.pairs, strict=True)
            mapped = replace(gated, metric=fitted(encoder.asked(questions), encoder.asked(rephrases)))
        found.append((mapped, _by_clauses(mapped, keys, backbone, settings, trial)))
    return found


def _open(candidate: Candidate, backbone: Backbone, settings: EditingSettings) -> SentenceKeys:
    made, recipe = made_by(candidate, backbone, settings)
    encoder = open_keys(backbone, recipe, made, candidate.metric)
    assert isinstance(encoder, SentenceKeys)
    return encoder


def _by_clauses(
    candidate: Candidate, keys: torch.Tensor, backbone: Backbone, settings: EditingSettings, trial: Trial
) -> Keyed:
    n = len(trial.edits)
    about: dict[str, list[int]] = {}
    for place, subject in enumerate(trial.subjects):
        about.setdefault(subject, []).append(place)
    names = {subject: names_of(subject, [trial.edits[i] for i in own]) for subject, own in about.items()}
    own = {
        place: clause_of(edit.prompt, names_of(subject, [edit]))
        for place, (edit, subject) in enumerate(zip(trial.edits, trial.subjects, strict=True))
        if subject
    }
    sought = [Sought(place, [""]) for place in range(len(trial.questions))] if "" in about else []
    for place, (question, subjects) in enumerate(zip(trial.questions, trial.naming, strict=True)):
        sought += [Sought(place, [each], clause_of(question.prompt, names[each])) for each in subjects]
    clauses = list(dict.fromkeys([*own.values(), *(each.clause for each in sought if each.clause is not None)]))
    with closing(_open(candidate, backbone, settings)) as encoder:
        vectors: dict[Clause, torch.Tensor] = dict(zip(clauses, encoder.of_clauses(clauses), strict=True))
        free = encoder.filled(keys)  # [n + q, d]
        edits = torch.stack([vectors[own[place]] if place in own else free[place] for place in range(n)])
        limits = limits_of(trial.edits, trial.subjects, edits, encoder)
    asked = [free[n + each.prompt] if each.clause is None else vectors[each.clause] for each in sought]
    rows = torch.stack(asked or [free[0]])[: len(sought)]
    return Keyed(trial.subjects, edits, tuple(sought), rows, tuple(limits))
