"""The evaluator actor: asks a version questions."""

from __future__ import annotations

from functools import cached_property

import pyarrow as pa
import torch

from pipeline.editing.model import EditedModel
from pipeline.evaluation import ask
from workers.models import ModelSpec


class EvaluatorWorker:
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
        return ask(self._model, questions)
