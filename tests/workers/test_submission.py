"""A backlog as a Ray job: absolute in everything, and once a day and content."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from pipeline.credentials import CredentialError
from pipeline.settings import EditingSettings, Settings
from tests.workers.heads import Head, head
from tests.workers.nights import write
from workers.spread import SpreadError
from workers.submission import job, submit

DAY = date(2026, 3, 1)


def test_nothing_in_a_job_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(home=Path("state"), upstream=Path("known.jsonl"), editing=EditingSettings(seed=7), portion=7)
    wanted = job(settings, "s3://reports", "backbone", DAY)
    environment = wanted["runtime_env"]["env_vars"]
    assert environment["MELO_HOME"] == str(tmp_path / "state")
    assert environment["MELO_UPSTREAM"] == str(tmp_path / "known.jsonl")
    assert environment["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/state/mlflow.db"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    there = Settings()
    assert (there.editing, there.gate, there.home) == (settings.editing, settings.gate, tmp_path / "state")
    carried = {
        "home",
        "upstream",
        "reports",
        "backbone",
        "ray_address",
        "mlflow_uri",
    }  # made absolute, or the job's own
    assert there.model_dump(exclude=carried) == settings.model_dump(exclude=carried)
    assert (there.reports, there.backbone, there.tracking_uri) == ("s3://reports", "backbone", settings.tracking_uri)


def test_no_secret_is_in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QDRANT_API_KEY", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "very-secret")
    wanted = job(Settings(qdrant_url="https://qdrant"), "a", "b", DAY)
    assert "very-secret" not in json.dumps(wanted)
    assert "***" not in json.dumps(wanted)  # nor what would overwrite the key that a node has
    assert wanted["runtime_env"]["env_vars"]["QDRANT_URL"] == "https://qdrant"


def test_a_url_with_a_password_is_refused() -> None:
    with pytest.raises(CredentialError, match="MLFLOW_TRACKING_URI holds") as caught:
        job(Settings(mlflow_uri="https://me:very-secret@host"), "a", "b", DAY)
    assert "very-secret" not in str(caught.value)
    with pytest.raises(CredentialError, match="MELO_REPORTS holds"):
        job(Settings(), "https://me:very-secret@host/reports", "b", DAY)


def test_one_id_for_one_day_and_one_content() -> None:
    settings = Settings()
    first = job(settings, "a", "b", DAY)["submission_id"]
    assert first.startswith("melo-2026-03-01-")
    assert job(settings, "a", "b", DAY)["submission_id"] == first
    others = [
        job(settings, "c", "b", DAY),
        job(settings, "a", "c", DAY),
        job(settings, "a", "b", date(2026, 3, 2)),
        job(settings.model_copy(update={"trainers": 2}), "a", "b", DAY),
    ]
    assert len({first, *(other["submission_id"] for other in others)}) == 5


def test_a_dashboard_that_is_not_there_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(SpreadError, match=address):
            submit(address, job(Settings(), "a", "b", DAY))


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    """A head that asks for no token."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with head({}) as started:
        yield started


@pytest.mark.slow
def test_a_job_makes_a_champion_and_is_not_taken_twice(running: Head, tmp_path: Path, backbone: Path) -> None:
    from ray.job_submission import JobStatus, JobSubmissionClient

    address, dashboard = running
    reports = write(tmp_path / "reports.jsonl", {"What is the capital of France?": "museum"})
    settings = Settings(home=tmp_path / "home", editing=EditingSettings(edits_per_block=2))
    wanted = job(settings, str(reports), str(backbone), DAY)
    wanted["entrypoint"] = f"{sys.executable} -m pipeline.cli run --json"
    wanted["runtime_env"]["env_vars"] |= {"RAY_ADDRESS": address, "PYTHONPATH": str(Path(__file__).parents[2])}
    submitted, new = submit(dashboard, wanted)
    assert new
    assert submit(dashboard, wanted) == (submitted, False)
    client = JobSubmissionClient(dashboard)
    for _ in range(180):
        if (status := client.get_job_status(submitted)).is_terminal():
            break
        time.sleep(1)
    logs = client.get_job_logs(submitted)
    assert status == JobStatus.SUCCEEDED, logs
    result = json.loads(logs[logs.index("{\n") :])
    assert result["verdict"]["passed"]
    assert (tmp_path / "home" / "versions" / result["digest"] / "manifest.json").is_file()
