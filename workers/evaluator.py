"""The evaluator actor: asks a version questions."""

from __future__ import annotations

import time
from functools import cached_property

import pyarrow as pa
import torch

from pipeline import metrics
from pipeline.editing.model import EditedModel
from pipeline.evaluation import ask
from pipeline.logs import LOG
from workers.actor import Actor
from workers.metering import count
from workers.models import ModelSpec


class EvaluatorWorker(Actor):
    """Holds one saved version, its index in memory.

    Args:
        spec: names the version.
        threads: of torch.
    """

    def __init__(self, spec: ModelSpec, threads: int) -> None:
        torch.set_num_threads(threads)
        self._spec = spec

    @cached_property
    def _model(self) -> EditedModel:
        return self._spec.open()

    def ask(self, questions: pa.Table) -> pa.Table:
        """Questions of schema QUESTIONS -> answers of schema ANSWERS, in their order."""
        model, start = self._model, time.monotonic()
        answers = ask(model, questions)
        seconds = time.monotonic() - start
        count(metrics.QUESTIONS, questions.num_rows)
        count(metrics.SLICES)
        count(metrics.ASKING, seconds)
        LOG.info("answered", questions=questions.num_rows, seconds=round(seconds, 3))
        return answers
