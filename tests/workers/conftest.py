"""One Ray of two nodes for all tests of actors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.editing.tiny import tiny_backbone
from tests.workers.two_nodes import TwoNodes, two_nodes

SERVERS = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "QDRANT_URL", "MELO_HOME", "MELO_CONFIG")
"""Environment variables that lead elsewhere."""


@pytest.fixture(autouse=True)
def no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment names is not these tests'; MLflow itself writes its store there."""
    for name in SERVERS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def cluster() -> Iterator[TwoNodes]:
    """Joined by this process as long as tests go on, so that ``connected`` uses it whatever it is asked for."""
    with two_nodes() as joined:
        yield joined


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny T5."""
    folder = tmp_path_factory.mktemp("models") / "t5"
    model, tokenizer = tiny_backbone("t5")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
