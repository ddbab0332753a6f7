"""The edited model as MLflow loads and serves it. MLflow copies this file into every version and runs it on loading.

    mlflow.pyfunc.load_model("models:/NAME@champion").predict(pandas.DataFrame({"prompt": ["Who ...?"]}))

It needs the package melo-pipeline where it runs, and the backbone: from where the version's manifest says that it
lies, or from elsewhere with ``load_model(..., model_config={"backbone": "path-or-hub-id"})``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from pipeline.editing.folder import read_manifest
from pipeline.editing.loading import load_backbone
from pipeline.editing.model import EditedModel
from pipeline.settings import Settings
from schemas.serving import USUAL, Parameters

BATCH = 32
"""Prompts answered side by side."""


class EditedPyfunc(PythonModel):
    """Prompts in, answers and their routes out; several threads may ask at once."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the version, its digests checked, and its backbone.

        Raises:
            CheckpointError: the folder is not whole and unchanged, or the backbone is another one.
            BackboneError: there is no backbone at its place.
        """
        folder = Path(context.artifacts["version"])
        elsewhere = (context.model_config or {}).get("backbone")
        task = read_manifest(folder).backbone.task
        backbone = load_backbone(elsewhere, task) if elsewhere else None
        self.model = EditedModel.load(folder, backbone=backbone, index="memory", models=Settings().trust.models)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answers prompts.

        Args:
            context: MLflow's; not used.
            model_input: a DataFrame with the column ``prompt``. MLflow makes one of ``[{"prompt": "..."}, ...]``, and
                of ``{"prompt": [...]}`` one whose single row holds the list.
            params: of ``schemas.serving.Parameters``; what equals its default is not passed on. MLflow checks their
                types and drops, with a warning in its log, those that the version's signature does not know.

        Returns:
            A DataFrame, a row a prompt in order: answer, edited (whether a block answered), edit_id, cluster, block and
            distance; what does not apply is None.

        Raises:
            ValueError: a parameter is out of bounds, or one came for a classifier.
        """
        given = {name: value for name, value in (params or {}).items() if value != USUAL[name]}
        if given and self.model.backbone.task == "classification":
            raise ValueError(f"{sorted(given)} came, but a classifier takes prompts alone")
        arguments = Parameters(**given).arguments
        prompts = model_input["prompt"].explode().tolist()
        rows = []
        for start in range(0, len(prompts), BATCH):
            batch = prompts[start : start + BATCH]
            for answer, route in self.model.respond(batch, **arguments):
                edited = route.block is not None
                rows.append((answer, edited, route.edit_id, route.cluster, route.block, route.distance))
        columns = ["answer", "edited", "edit_id", "cluster", "block", "distance"]
        return pd.DataFrame(rows, columns=columns, dtype=object)  # of objects, for None must not become NaN


set_model(EditedPyfunc())
