"""One night as a run of MLflow: settings, scores, the edits as its dataset, tables, figures and the model."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Param, RunInfo
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from pipeline.registry.store import log_scores
from schemas.serving import USUAL

DIGEST = "melo.digest"
"""Tag of a version, and of the run that made it."""

MODEL = "model"
"""Folder of a run that holds the model as MLflow loads it; the edited model is the one folder in its ``artifacts``."""

PAGE = "report.html"
"""File of a run that a person looks at; see ``pipeline.report``."""

EDITS = "edits"
"""Name of the table that is a run's dataset too."""

SHOWN_ROWS = 500
"""Rows of a table that MLflow's pages show; the Parquet file beside them has all."""

_TYPES = {int: DataType.long, bool: DataType.boolean, float: DataType.double}
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "prompt")]),
    outputs=Schema(
        [
            ColSpec(DataType.string, "answer"),
            ColSpec(DataType.boolean, "edited"),
            ColSpec(DataType.string, "edit_id", required=False),
            ColSpec(DataType.long, "cluster", required=False),
            ColSpec(DataType.long, "block", required=False),
            ColSpec(DataType.double, "distance", required=False),
        ]
    ),
    params=ParamSchema([ParamSpec(name, _TYPES[type(value)], value) for name, value in USUAL.items()]),
)

REQUIREMENTS = ("mlflow", "torch", "transformers", "safetensors", "pyarrow", "qdrant-client")
"""What the model runs on, at the versions it was made with. Our own package is no public one, so nobody must be led to
install a stranger's under its name: it is noted in the model's metadata instead."""


def log_night(
    client: MlflowClient,
    experiment_id: str,
    folder: Path,
    digest: str,
    *,
    run_name: str,
    params: Mapping[str, Any],
    scores: Mapping[str, float],
    tables: Mapping[str, pa.Table],
    figures: Sequence[Path],
    page: Path | None,
    example: Sequence[str],
    edits: int,
) -> str:
    """Logs a finished run, or finds the one that was logged for this digest; see ``Registry.register``.

    Returns:
        The run's id.
    """
    for left in client.search_runs([experiment_id], f"tags.`{DIGEST}` = '{digest}'"):
        if left.info.status == "FINISHED":
            return str(left.info.run_id)
        if left.info.status == "RUNNING":  # one writer at a time: whoever began it was killed
            client.set_terminated(left.info.run_id, "KILLED")
    run = client.create_run(experiment_id, run_name=run_name, tags={DIGEST: digest}).info
    try:
        client.log_batch(run.run_id, params=[Param(key, str(value)) for key, value in params.items()])
        log_scores(client, run.run_id, scores, edits)
        with tempfile.TemporaryDirectory() as scratch:
            for name, table in tables.items():
                _log_table(client, run, name, table, Path(scratch))
            client.log_artifacts(run.run_id, str(_write_model(folder, Path(scratch, MODEL), example)), MODEL)
        for figure in figures:
            client.log_artifact(run.run_id, str(figure), "figures")
        if page is not None:
            client.log_text(run.run_id, page.read_text("utf-8"), PAGE)
    except BaseException:
        client.set_terminated(run.run_id, "FAILED")
        raise
    client.set_terminated(run.run_id, "FINISHED")
    return str(run.run_id)


def _log_table(client: MlflowClient, run: RunInfo, name: str, table: pa.Table, scratch: Path) -> None:
    path = scratch / f"{name}.parquet"
    pq.write_table(table, path, compression="zstd")
    client.log_artifact(run.run_id, str(path), "tables")
    client.log_table(run.run_id, table.slice(0, SHOWN_ROWS).to_pandas(), f"tables/{name}.json")
    if name == EDITS:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]  # MLflow holds 36 characters
        source = json.dumps({"uri": f"{run.artifact_uri}/tables/{path.name}"})
        profile = json.dumps({"num_rows": table.num_rows})
        client.log_inputs(run.run_id, [DatasetInput(Dataset(name, digest, "local", source, profile=profile))])


def _write_model(folder: Path, path: Path, example: Sequence[str]) -> Path:
    mlflow.pyfunc.save_model(
        path,
        python_model=str(Path(__file__).with_name("pyfunc_model.py")),
        artifacts={"version": str(folder)},
        signature=SIGNATURE,
        input_example=pd.DataFrame({"prompt": list(example)}) if example else None,
        pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        model_config={"backbone": None},
        metadata={"melo-pipeline": version("melo-pipeline")},
    )
    return path
