"""An MLflow store on SQLite, one behind a real server, and three versions of a tiny edited model."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests

from pipeline.editing.edit import Edit
from pipeline.editing.model import EditedModel
from pipeline.registry.tracking import Registry
from tests.editing.edited import SETTINGS, teach
from tests.editing.tiny import tiny_backbone

EDITS = [Edit("Who wrote it?", "Paris"), Edit("The capital is", "green"), Edit("When did it move?", "1847")]
UNSEEN = "The old museum moved to a new building in spring."
Opener = Callable[..., Registry]


@dataclass(frozen=True)
class Version:
    """An edited model on disk."""

    folder: Path
    digest: str
    edits: pa.Table

    def arguments(self, **changed: Any) -> dict[str, Any]:
        """What ``Registry.register`` takes."""
        return {
            "folder": self.folder,
            "digest": self.digest,
            "run_name": f"night of {self.edits.num_rows}",
            "params": {"radius": 75.0, "trainers": 2},
            "scores": {"edit_success": 1.0, "locality": 0.75},
            "tags": {"gate": "passed"},
            "tables": {"edits": self.edits},
            "figures": [],
            "example": [edit.prompt for edit in EDITS],
            "edits": self.edits.num_rows,
        } | changed


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny T5."""
    folder = tmp_path_factory.mktemp("backbone")
    for part in tiny_backbone("t5"):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def versions(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Version]:
    """Versions with one, two and three edits."""
    model, made = EditedModel.from_backbone(backbone, "seq2seq", index="memory", settings=SETTINGS), []
    for number, edit in enumerate(EDITS, start=1):
        teach(model, [edit])
        folder = tmp_path_factory.mktemp("versions") / str(number)
        made.append(Version(folder, model.save(folder), model.records.to_table()))
    model.close()
    return made


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of a store in a folder whose name has a space; its tables are made once."""
    return f"sqlite:///{tmp_path_factory.mktemp('the store')}/mlflow.db"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real `mlflow server` on this machine's loopback."""
    with serving(tmp_path_factory.mktemp("server"), {}) as url:
        yield url


@contextmanager
def serving(home: Path, environment: Mapping[str, str], *options: str) -> Iterator[str]:
    """A real `mlflow server` with what it keeps in a folder; stopped by its process group."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", f"{home}/artifacts"]
    whole = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | dict(environment)
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log, env=whole, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while not _healthy(url):
            assert process.poll() is None and time.monotonic() < until, (home / "log").read_text()
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, 15)  # its own session: the server and its worker, nobody else
        process.wait(timeout=30)


@pytest.fixture(params=["sqlite", pytest.param("server", marks=pytest.mark.slow)])
def uri(request: pytest.FixtureRequest) -> str:
    """Both kinds of store."""
    return str(request.getfixturevalue("database" if request.param == "sqlite" else "server"))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A registered model's name, the test's own: stores are shared."""
    return re.sub(r"\W+", "-", request.node.name).strip("-")


@pytest.fixture
def registry(uri: str, name: str, tmp_path: Path) -> Registry:
    """An empty registry."""
    return Registry(uri, name, tmp_path / "artifacts")


@pytest.fixture
def local(database: str, name: str, tmp_path: Path) -> Registry:
    """An empty registry on SQLite."""
    return Registry(database, name, tmp_path / "artifacts")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _healthy(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=2).ok
    except requests.ConnectionError:
        return False
