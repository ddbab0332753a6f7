"""The trainer actor. Any number train; the lead one also plans, commits, and owns the index."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import torch

from pipeline import metrics
from pipeline.editing.check import usable
from pipeline.editing.curriculum import TrainedUnit, Unit
from pipeline.editing.edit import Edit, as_edit
from pipeline.editing.index import Place, clear
from pipeline.editing.model import EditedModel
from pipeline.editing.planning import Plan
from pipeline.editing.training import Trainer
from pipeline.journal import SCRATCH
from pipeline.logs import LOG
from pipeline.units import light
from workers.actor import Actor
from workers.metering import count
from workers.models import ModelSpec, circumstances


class LeadLostError(RuntimeError):
    """This lead trainer is not where the call expects it: it took a dead one's place, and has to be led there."""


class TrainerWorker(Actor):
    """Wraps one ``EditedModel``. What it trains depends on the unit alone; the lead one also moves from version to
    version as it is led, and says so when it is not at the one that a call is about.

    Args:
        spec: the model that is edited tonight.
        index: where the lead trainer keeps the keys, a folder or a collection; what an earlier one left there goes.
            The others' keys go no further than ``memory``.
        threads: of torch.
        expired: edits that are taken out before anything else, by the lead trainer.
    """

    def __init__(self, spec: ModelSpec, index: Place, threads: int, expired: Sequence[str] = ()) -> None:
        torch.set_num_threads(threads)
        self._spec = spec
        self._index = index
        self._expired = expired

    @cached_property
    def _model(self) -> EditedModel:
        if not isinstance(self._index, str):
            clear(self._index)
            count(metrics.INDEXING, operation="clear")
        model = self._spec.open(self._index)
        model.expire(self._expired)
        return model

    @cached_property
    def _trainer(self) -> Trainer:
        return self._model.trainer()

    def circumstances(self) -> str:
        """See ``workers.models.circumstances``."""
        return circumstances(self._model)

    def version(self) -> int:
        """How many times the model was changed."""
        return self._model.version

    def peak_bytes(self) -> int:
        """The most memory that this process ever had resident."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in kB

    def plan(self, edits: pa.Table, version: int) -> tuple[Plan, dict[str, str]]:
        """Keys, block ids and units of work for edits of schema REPORTS.

        Args:
            edits: a portion of the night's.
            version: that they are to be taught to.

        Returns:
            The plan, and why those that this model cannot take were left out of it, by edit id.

        Raises:
            LeadLostError: the model is at another version.
        """
        self._check_at(version)
        fit, refused = usable(self._model.backbone, edits_of(edits))
        plan = self._model.plan(fit)
        count(metrics.PLANNED, len(plan.new))
        count(metrics.UNFIT, len(refused))
        LOG.info("planned", edits=len(plan.new), refused=len(refused), version=version)
        return plan, refused

    def train(self, unit: Unit) -> TrainedUnit:
        """Trains one unit; comes back without the weights it started from."""
        trainer, start = self._trainer, time.monotonic()
        trained = light(trainer.train(unit))
        _measure(trained, time.monotonic() - start)
        return trained

    def commit(self, plan: Plan) -> int:
        """Takes in a plan whose every round is trained; gives the version that came of it.

        Raises:
            LeadLostError: the model is at another version than the one that was planned for.
        """
        self._check_at(plan.version)
        start = time.monotonic()
        self._model.commit(plan)
        seconds = time.monotonic() - start
        count(metrics.COMMITTING, seconds)
        count(metrics.INDEXING, operation="commit")
        LOG.info("committed", edits=len(plan.new), version=self._model.version, seconds=round(seconds, 3))
        return self._model.version

    def save(self, version: int, versions: Path) -> str:
        """Saves the version in a folder of its own within ``versions``; gives its digest, which is the folder's name.

        Raises:
            LeadLostError: the model is at another version.
        """
        self._check_at(version)
        return save_version(self._model, versions)

    def undo(self, edit_ids: list[str], versions: Path) -> str:
        """Makes the version without some of the model's edits; gives its digest."""
        self._model.undo(edit_ids)
        count(metrics.INDEXING, operation="undo")
        return save_version(self._model, versions)

    def _check_at(self, version: int) -> None:
        if self._model.version != version:
            raise LeadLostError(f"the lead trainer is at version {self._model.version}, the call is about {version}")


def _measure(trained: TrainedUnit, seconds: float) -> None:
    edits = {lesson.edit_id for lessons in trained.unit.lessons for lesson in lessons}
    count(metrics.BLOCKS, len(trained.unit.blocks))
    count(metrics.STEPS, sum(trained.steps))
    count(metrics.LEARNED, len(edits - trained.answers.keys()))
    count(metrics.NOT_LEARNED, len(trained.answers))
    count(metrics.UNITS)
    count(metrics.TRAINING, seconds)
    told = {"steps": sum(trained.steps), "seconds": round(seconds, 3), "not_learned": sorted(trained.answers)}
    LOG.info("trained", blocks=list(trained.unit.blocks), edit_ids=sorted(edits), **told)


def edits_of(table: pa.Table) -> list[Edit]:
    """Rows of schema REPORTS -> edits."""
    columns = ["prompt", "target", "rephrases", "locality", "subject", "aliases"]
    return [as_edit(row) for row in table.select(columns).to_pylist()]


def save_version(model: EditedModel, versions: Path) -> str:
    """Saves a version under its digest; the same version twice is the same folder."""
    versions.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=versions) as scratch:
        digest = model.save(Path(scratch) / "version")
        with suppress(OSError):  # it is there already: a folder is never replaced by another
            (Path(scratch) / "version").rename(versions / digest)
    return digest
