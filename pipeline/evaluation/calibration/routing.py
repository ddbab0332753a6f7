"""Where questions are led by clusters and index as an edited model has them; blocks are only numbers here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.editing.clusters import Clusters
from pipeline.editing.edit import Route
from pipeline.editing.fold import Conflicts
from pipeline.editing.index.memory import MemoryIndex
from pipeline.editing.routing import deepest
from pipeline.evaluation.calibration.keyed import Keyed
from pipeline.evaluation.calibration.sweep import Radii
from pipeline.evaluation.calibration.trial import Trial


@dataclass(frozen=True, slots=True)
class Routed:
    """What became of a trial's questions. Shape letter: q questions.

    Attributes:
        routes: of each question.
        led: [q] bool, whether it was led to an edit.
        right: [q] bool, whether that has the label that is asked for.
    """

    routes: tuple[Route, ...]
    led: NDArray[np.bool_]
    right: NDArray[np.bool_]


def routed(trial: Trial, keyed: Keyed, radii: Radii, conflicts: Conflicts) -> Routed:
    """Folds a trial's edits into clusters and routes its questions.

    Args:
        trial: edits and questions.
        keyed: their keys.
        radii: at least one.
        conflicts: what becomes of keys that lose their place.
    """
    n, ids, labels = len(trial.edits), [edit.edit_id for edit in trial.edits], [edit.label for edit in trial.edits]
    free, named = radii.free or radii.named, radii.named or radii.free
    assert free is not None
    width = keyed.edits.shape[1]
    clusters = Clusters(width, free, conflicts, named)
    clusters.fold(ids, labels, keyed.edits, range(n), keyed.subjects, limits=keyed.limits)
    index = MemoryIndex(width)
    index.apply(clusters.everything(1))
    subjects = [each.subjects for each in keyed.sought] if keyed.gated else None
    routes = deepest(keyed.sought, index.route(keyed.asked, subjects=subjects), len(trial.questions))
    label = dict(zip(ids, labels, strict=True))
    led = np.array([route.block is not None for route in routes])
    right = [
        question.edit is not None and label.get(route.edit_id or "") == labels[question.edit]
        for question, route in zip(trial.questions, routes, strict=True)
    ]
    return Routed(tuple(routes), led, led & np.array(right))
