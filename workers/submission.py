"""Big backlogs as Ray jobs: one id for one day and one content, so that sending twice is sending once."""

from __future__ import annotations

import hashlib
import time
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipeline.credentials import CredentialError, has_user
from pipeline.settings import Settings, is_secret
from workers.authentication import check_dashboard, refused
from workers.spread import SpreadError

AGENT_SECONDS = 30.0
"""How long a cluster that has just begun may take until it can start jobs."""

GONE_SECONDS = 60.0
"""How long a dashboard may be silent while its job is waited for."""


def job(settings: Settings, reports: str, backbone: str, day: date) -> dict[str, Any]:
    """The job that reads a backlog on a cluster: arguments of ``JobSubmissionClient.submit_job``.

    A job runs in a folder of its own, so nothing in it may be relative: home and the MLflow store are absolute. Whoever
    reads the dashboard reads the job, so no secret is in it: its processes find them in their node's environment.

    Args:
        settings: of the run.
        reports: where the cluster finds them; a local path has to be one on its nodes too.
        backbone: likewise.
        day: part of the id.

    Raises:
        CredentialError: a URL among them holds a user name or a password.
    """
    fixed = {"reports": reports, "backbone": backbone, "ray_address": "auto", "mlflow_uri": settings.tracking_uri}
    values = {name: getattr(settings, name) for name in Settings.model_fields} | fixed
    environment = {
        str(field.validation_alias or f"MELO_{name.upper()}"): _told(values[name])
        for name, field in Settings.model_fields.items()
        if values[name] is not None and not is_secret(field)
    }
    for name, value in environment.items():
        if has_user(value):
            raise CredentialError(
                f"{name} holds a user name or a password, which everybody who reads the cluster's dashboard would "
                "see: take it out of the URL, and set it in the environment of the cluster's nodes, for instance as "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
    content = hashlib.sha256("\x1f".join(f"{name}={environment[name]}" for name in sorted(environment)).encode())
    return {
        "entrypoint": "melo run --json",
        "submission_id": f"melo-{day.isoformat()}-{content.hexdigest()[:12]}",
        "runtime_env": {"env_vars": environment},
        "metadata": {"reports": reports, "backbone": backbone},
    }


def _told(value: Any) -> str:
    """A setting as the environment tells it, wherever it is read."""
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    return str(value.absolute() if isinstance(value, Path) else value)


def submit(address: str, wanted: dict[str, Any]) -> tuple[str, bool]:
    """Sends a job to a cluster's dashboard.

    Args:
        address: http(s) URL of the dashboard.
        wanted: from ``job``.

    Returns:
        Its id, and whether it was new.

    Raises:
        SpreadError: no dashboard answers there, or it refuses.
        CredentialError: the token would go to another machine unencrypted.
    """
    from ray.exceptions import AuthenticationError, RayError
    from ray.job_submission import JobSubmissionClient

    check_dashboard(address)
    patience = time.monotonic() + AGENT_SECONDS
    while True:
        try:
            client = JobSubmissionClient(address)
            if any(known.submission_id == wanted["submission_id"] for known in client.list_jobs()):
                return wanted["submission_id"], False
            return client.submit_job(**wanted), True
        except AuthenticationError as error:
            raise refused(address) from error
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            if "No available agent" in str(error) and time.monotonic() < patience:
                time.sleep(1)  # a dashboard answers some seconds before its node can start jobs
                continue
            raise SpreadError(f"the Ray dashboard at {address} did not take the job: {error}") from error


def outcome(address: str, submitted: str, every: float = 5.0) -> tuple[int, str]:
    """Waits until a job has ended.

    Args:
        address: http(s) URL of the dashboard.
        submitted: id of the job.
        every: seconds between two looks.

    Returns:
        Exit code of its run (1 where it came to none), and what it printed.

    Raises:
        SpreadError: the dashboard does not answer any more, for longer than a minute.
    """
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    client, seen = JobSubmissionClient(address), time.monotonic()
    while True:
        try:
            job = client.get_job_info(submitted)
            seen = time.monotonic()
            if job.status.is_terminal():
                code = job.driver_exit_code
                return 1 if code is None else code, client.get_job_logs(submitted)
        except (ConnectionError, RuntimeError, RayError) as error:
            if time.monotonic() - seen > GONE_SECONDS:
                raise SpreadError(
                    f"the Ray dashboard at {address} is gone, and with it what became of {submitted}: look for it with "
                    f"`ray job status {submitted}` when it is back"
                ) from error
        time.sleep(every)
