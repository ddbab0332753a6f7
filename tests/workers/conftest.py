"""One embedded Ray for all tests of actors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workers.connect import connected


@pytest.fixture(autouse=True)
def no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment names is not these tests'; MLflow itself writes its store there."""
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "QDRANT_URL", "MELO_HOME", "MELO_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def embedded_ray() -> Iterator[None]:
    with connected(None, cpus=4):
        yield
