"""The first and the last third of an edit call: what is to be trained, and what is remembered of what it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from pipeline.editing.backbone import Backbone
from pipeline.editing.clusters import Clusters, Step
from pipeline.editing.curriculum import Curriculum, Lesson
from pipeline.editing.edit import Edit, Outcome
from pipeline.editing.keying import rivals_of
from pipeline.editing.recipe import Recipe
from pipeline.editing.records import Record, Records
from pipeline.editing.wordings import reworded


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A call of ``edit`` whose blocks are to be trained.

    Attributes:
        asked: the edits, as they came.
        new: those that the model does not know yet.
        keys: [n, d] float32, of the new ones.
        subjects: what a prompt must name for each of the new ones to apply; empty: nothing.
        limits: what the radius of a cluster at each of the new ones is not to exceed.
        curriculum: of the new ones; to be worked through before the plan is committed.
        version: of the model that it was made for.
    """

    asked: tuple[Edit, ...]
    new: tuple[Edit, ...]
    keys: torch.Tensor
    subjects: tuple[str, ...]
    limits: tuple[float, ...]
    curriculum: Curriculum
    version: int


def unknown(edits: Sequence[Edit], records: Records) -> list[Edit]:
    """Edits that are to be taught: not live yet, or said anew since their prompt got another target just before."""
    known, asked_before = records.live(), set[str]()
    new = []
    for edit in edits:
        if edit.edit_id not in known or edit.prompt in asked_before:
            new.append(edit)
            asked_before.add(edit.prompt)
    return new


def lessons_of(edits: Sequence[Edit], backbone: Backbone, recipe: Recipe) -> list[Lesson]:
    """Edits as tokens, in their order, with the other wordings that the recipe asks for.

    Raises:
        EditError: a prompt or a target cannot be tokenised.
    """
    prompts = backbone.tokenize_prompts([edit.prompt for edit in edits])
    targets = backbone.tokenize_targets([edit.target for edit in edits], [edit.prompt for edit in edits])
    lessons = [
        Lesson(edit.edit_id, tuple(prompt), tuple(target))
        for edit, prompt, target in zip(edits, prompts, targets, strict=True)
    ]
    return reworded(lessons, edits, backbone, recipe)


def take_in(plan: Plan, clusters: Clusters, records: Records, version: int) -> None:
    """Folds what was learned into the clusters and remembers all of a plan's new edits.

    Args:
        plan: one whose curriculum was worked through.
        clusters: of the model; changed.
        records: of the model; changed.
        version: that the model has with these edits.
    """
    taught = plan.curriculum
    learned = [i for i, edit in enumerate(plan.new) if taught.progress[edit.edit_id].wrong is None]
    steps = clusters.fold(
        [plan.new[i].edit_id for i in learned],
        [plan.new[i].label for i in learned],
        plan.keys[learned],
        [taught.progress[plan.new[i].edit_id].block for i in learned],
        [plan.subjects[i] for i in learned],
        rivals_of([plan.new[i] for i in learned], records),
        [plan.limits[i] for i in learned],
    )
    folded = {step.edit_id: step for step in steps}
    for edit in plan.new:
        outcome = _outcome(edit, taught, folded)
        records[edit.edit_id] = Record(edit, outcome, "live" if outcome.learned else "failed", version)
    for step in steps:
        records.mark(step.edit_id, "live", version)  # an edit before it in this call had replaced it
        for gone in step.replaced:
            records.mark(gone, "replaced", version)
        if clusters.conflicts == "paper":
            for gone in step.evicted:
                records.mark(gone, "evicted", version)
    _check_routes([step.edit_id for step in steps], clusters, records)


def _check_routes(edit_ids: list[str], clusters: Clusters, records: Records) -> None:
    """An edit whose own prompt is not led to its key (the paper's clusters allow it) is not a success."""
    for edit_id in clusters.strays(edit_ids):
        record = records[edit_id]
        if record.state != "replaced":
            reason = "its block says the target, but no cluster leads its prompt there"
            records[edit_id] = replace(record, outcome=replace(record.outcome, learned=False, reason=reason))


def _outcome(edit: Edit, taught: Curriculum, folded: Mapping[str, Step]) -> Outcome:
    progress, step = taught.progress[edit.edit_id], folded.get(edit.edit_id)
    if step is None:
        reason = f"not learned after {progress.steps} steps; the last answer was {progress.wrong!r}"
        return Outcome(edit.edit_id, None, None, None, progress.steps, False, reason)
    return Outcome(edit.edit_id, step.action, step.cluster, progress.block, progress.steps, True, "", step.replaced)
