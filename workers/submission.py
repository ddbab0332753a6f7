"""Big backlogs as Ray jobs: one id for one day and one content, so that sending twice is sending once."""

from __future__ import annotations

import hashlib
import time
from datetime import date
from typing import Any

from pipeline.settings import Settings
from workers.spread import SpreadError

AGENT_SECONDS = 30.0
"""How long a cluster that has just begun may take until it can start jobs."""


def job(settings: Settings, reports: str, backbone: str, day: date) -> dict[str, Any]:
    """The job that reads a backlog on a cluster: arguments of ``JobSubmissionClient.submit_job``.

    A job runs in a folder of its own, so nothing in it may be relative: home and the MLflow store are absolute.

    Args:
        settings: of the run.
        reports: where the cluster finds them; a local path has to be one on its nodes too.
        backbone: likewise.
        day: part of the id.
    """
    environment = {
        "MELO_HOME": str(settings.home.absolute()),
        "MELO_NAME": settings.name,
        "MELO_TRAINERS": str(settings.trainers),
        "MELO_EVALUATORS": str(settings.evaluators),
        "MELO_TRAINER_GPUS": str(settings.trainer_gpus),
        "MELO_EVALUATOR_GPUS": str(settings.evaluator_gpus),
        "MELO_PORTION": str(settings.portion),
        "MELO_NODE_PATIENCE": str(settings.node_patience),
        "MELO_PATIENCE": str(settings.patience),
        "MELO_EDITING": settings.editing.model_dump_json(exclude_none=True),
        "MELO_GATE": settings.gate.model_dump_json(),
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "RAY_ADDRESS": "auto",
    }
    if settings.qdrant_url is not None:
        environment["QDRANT_URL"] = settings.qdrant_url
    if settings.task is not None:
        environment["MELO_TASK"] = settings.task
    if settings.upstream is not None:
        environment["MELO_UPSTREAM"] = str(settings.upstream.absolute())
    content = hashlib.sha256("\x1f".join([reports, backbone, *sorted(environment.values())]).encode()).hexdigest()
    return {
        "entrypoint": "melo run --json",
        "submission_id": f"melo-{day.isoformat()}-{content[:12]}",
        "runtime_env": {"env_vars": environment | {"MELO_REPORTS": reports, "MELO_BACKBONE": backbone}},
        "metadata": {"reports": reports, "backbone": backbone},
    }


def submit(address: str, wanted: dict[str, Any]) -> tuple[str, bool]:
    """Sends a job to a cluster's dashboard.

    Args:
        address: http(s) URL of the dashboard.
        wanted: from ``job``.

    Returns:
        Its id, and whether it was new.

    Raises:
        SpreadError: no dashboard answers there, or it refuses.
    """
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    patience = time.monotonic() + AGENT_SECONDS
    while True:
        try:
            client = JobSubmissionClient(address)
            if any(known.submission_id == wanted["submission_id"] for known in client.list_jobs()):
                return wanted["submission_id"], False
            return client.submit_job(**wanted), True
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            if "No available agent" in str(error) and time.monotonic() < patience:
                time.sleep(1)  # a dashboard answers some seconds before its node can start jobs
                continue
            raise SpreadError(f"the Ray dashboard at {address} did not take the job: {error}") from error
