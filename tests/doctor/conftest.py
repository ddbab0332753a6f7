"""A home with nothing in the environment that leads elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.settings import Settings


@pytest.fixture(autouse=True)
def nothing_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("MELO_", "QDRANT", "MLFLOW_TRACKING", "RAY_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")
