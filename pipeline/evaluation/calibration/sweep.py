"""From distances to radii: what pays best within the wanted shares of false routes, by distances to single keys.

Radii are those of the highest J (Youden, Index for rating diagnostic tests, Cancer 3, 1950): the share of rephrases led
right, less the share led astray of the bounded kind that fares worst. A wanted share bounds that, and on its own would
let as many astray as it allows, even where almost every rephrase is found before.

An edit with a subject is reached by questions that name it, within the one radius; an edit without by all, within the
other. Without the gate no edit has a subject. Clusters may make more of a radius than single keys show, or less; what
is chosen here is tried with clusters in ``routing``.

Shape letters: n edits, q questions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.calibration.keyed import Keyed
from pipeline.evaluation.calibration.trial import Trial

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Radii:
    """Initial radii in units of the key; None where nothing shows one, which leaves it as it is.

    Attributes:
        free: of edits without a subject.
        named: of edits with one.
    """

    free: float | None = None
    named: float | None = None

    def scaled(self, factor: float) -> Radii:
        """Both by a factor."""
        free, named = (None if radius is None else radius * factor for radius in (self.free, self.named))
        return Radii(free, named)


@dataclass(frozen=True, slots=True)
class Distances:
    """How far each question lies from the nearest key among the edits of each sort; inf where it may reach none.

    Attributes:
        free, named: [q] float64, to edits without a subject, and to those whose subject it names.
        free_right, named_right: [q] bool, whether that edit has the label that is asked for.
        share_free: of the edits, those without a subject.
    """

    free: Floats
    named: Floats
    free_right: NDArray[np.bool_]
    named_right: NDArray[np.bool_]
    share_free: float

    def reach(self, radii: Radii) -> tuple[Floats, NDArray[np.bool_]]:
        """By which factor the radii would have to grow for each question to be led somewhere; and if that is right.

        Returns:
            [q] float64, and [q] bool.
        """
        free = self.free / radii.free if radii.free else np.full_like(self.free, np.inf)
        named = self.named / radii.named if radii.named else np.full_like(self.named, np.inf)
        return np.minimum(free, named), np.where(named < free, self.named_right, self.free_right)


def measured(trial: Trial, keyed: Keyed) -> Distances:
    """Distances of a trial's questions, by its keys."""
    apart = keyed.apart(len(trial.questions))  # [q, n]
    has = np.array([bool(subject) for subject in keyed.subjects])  # [n]
    labels = np.array([edit.label for edit in trial.edits])
    asked = np.array(["" if question.edit is None else labels[question.edit] for question in trial.questions])

    def nearest(edits: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
        far = np.where(edits, apart, np.inf)
        return far.min(1), labels[far.argmin(1)] == asked

    free, free_right = nearest(~has)
    named, named_right = nearest(has)
    return Distances(free, named, free_right, named_right, float(1 - has.mean()))


def choose(trial: Trial, distances: Distances, bounds: Mapping[str, float]) -> Radii:
    """The radii of the highest J within the wanted shares of false routes, by the choosing half.

    Edits without a subject may take of each share what they are of all edits, the others what is left.

    Args:
        trial: edits and questions.
        distances: of its questions.
        bounds: kind of questions -> share of false routes among them, at most.
    """
    of = {kind: trial.of(kind, choosing=True) for kind in bounds}
    rephrases = trial.of("rephrase", choosing=True)
    free = None
    spent = np.full(len(trial.questions), False)
    if distances.share_free:
        part = distances.share_free
        limit = min(first_too_many(distances.free[of[kind]], share * part) for kind, share in bounds.items())
        free = _best(_right(distances.free, distances.free_right, rephrases), distances.free, of, limit)
        spent = distances.free <= (0.0 if free is None else free)
    if distances.share_free == 1.0:
        return Radii(free, None)
    named = np.where(spent, 0.0, distances.named)
    limit = min(first_too_many(named[of[kind]], share) for kind, share in bounds.items())
    return Radii(free, _best(_right(distances.named, distances.named_right, rephrases), named, of, limit))


def first_too_many(apart: Floats, wanted: float) -> float:
    """The distance at which more than a share of some questions would be led astray; inf where there is none."""
    allowed = math.floor(wanted * len(apart) + 1e-9)
    return float(np.sort(apart)[allowed]) if allowed < len(apart) else math.inf


def _right(apart: Floats, right: NDArray[np.bool_], rephrases: Places) -> Floats:
    """How far the rephrases lie from where they are right to be led; inf of those that would be led elsewhere."""
    return np.where(right, apart, np.inf)[rephrases]


def _best(rephrases: Floats, apart: Floats, others: Mapping[str, Places], limit: float) -> float | None:
    """Half way between the farthest rephrase that it pays to let in and the first other question beyond it.

    Args:
        rephrases: distances, inf of those that are led elsewhere.
        apart: [q], of all questions.
        others: by kind, those that are to be led nowhere.
        limit: distance of the first of them that would be one too many.
    """
    steps = np.unique(rephrases[rephrases < limit])
    if not len(steps):
        return None
    found = _within(rephrases, steps)
    gains = np.min([found - _within(apart[places], steps) for places in others.values()], axis=0)  # [steps]
    if np.max(gains) <= 0:
        return None
    last = float(steps[np.argmax(gains)])
    beyond = [float(apart[places][apart[places] > last].min(initial=math.inf)) for places in others.values()]
    first = min(limit, *beyond)
    return (last + first) / 2 if math.isfinite(first) else last


def _within(apart: Floats, steps: Floats) -> Floats:
    """The share of some questions that lies within each of ascending distances."""
    return np.searchsorted(np.sort(apart), steps, "right") / len(apart)


def recall(trial: Trial, distances: Distances, radii: Radii) -> float:
    """Share of the choosing half's rephrases that are led right, by distances to single keys."""
    rephrases = trial.of("rephrase", choosing=True)
    factor, right = distances.reach(radii)
    return float((right & (factor <= 1))[rephrases].mean())


def curve(trial: Trial, distances: Distances, radii: Radii) -> tuple[Floats, Floats]:
    """Share of false routes among distractors, and recall, as both radii grow from nothing; by the reporting half.

    Returns:
        Two ascending series of equal length.
    """
    factor, right = distances.reach(radii)
    rephrases, others = trial.of("rephrase", choosing=False), trial.of("distractor", choosing=False)
    steps = np.unique(factor[np.isfinite(factor)])
    return _within(factor[others], steps), _within(_right(factor, right, rephrases), steps)
