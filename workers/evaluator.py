"""The evaluator actor: asks a version questions."""

from __future__ import annotations

import pyarrow as pa
import torch

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
        self._model = spec.open()

    def ask(self, questions: pa.Table) -> pa.Table:
        """Questions of schema QUESTIONS -> answers of schema ANSWERS, in their order."""
        return ask(self._model, questions)
