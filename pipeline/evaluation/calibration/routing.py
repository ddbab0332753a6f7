"""Where questions are led by clusters and index as an edited model has them; blocks are only numbers here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.editing.clusters import Clusters
from pipeline.editing.edit import Route
from pipeline.editing.fold import Conflicts
from pipeline.editing.index.memory import MemoryIndex
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


def routed(trial: Trial, keys: torch.Tensor, gate: bool, radii: Radii, conflicts: Conflicts) -> Routed:
    """Folds a trial's edits into clusters and routes its questions.

    Args:
        trial: edits and questions.
        keys: [n + q, d] float32, of the trial's prompts.
        gate: whether edits with a subject apply only to questions that name it.
        radii: at least one.
        conflicts: what becomes of keys that lose their place.
    """
    n, ids, labels = len(trial.edits), [edit.edit_id for edit in trial.edits], [edit.label for edit in trial.edits]
    free, named = radii.free or radii.named, radii.named or radii.free
    assert free is not None
    clusters = Clusters(keys.shape[1], free, conflicts, named)
    clusters.fold(ids, labels, keys[:n], range(n), trial.subjects if gate else None)
    index = MemoryIndex(keys.shape[1])
    index.apply(clusters.everything(1))
    subjects = [sorted({trial.subjects[i] for i in np.flatnonzero(row)}) for row in trial.named] if gate else None
    routes = index.route(keys[n:], subjects=subjects)
    label = dict(zip(ids, labels, strict=True))
    led = np.array([route.block is not None for route in routes])
    right = [
        question.edit is not None and label.get(route.edit_id or "") == labels[question.edit]
        for question, route in zip(trial.questions, routes, strict=True)
    ]
    return Routed(tuple(routes), led, led & np.array(right))
