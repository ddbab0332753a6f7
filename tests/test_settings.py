"""Where settings come from: arguments before the environment before the file, servers by either of their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings import Settings


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of settings, and nothing in the environment."""
    for name in ("MELO_HOME", "MELO_NAME", "RAY_ADDRESS", "QDRANT_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "melo.yaml"
    lines = "home: state", "name: ours", "mlflow_uri: http://file", "qdrant_url: http://qdrant", "gate: {success: 0.8}"
    path.write_text("\n".join(lines))
    monkeypatch.setenv("MELO_CONFIG", str(path))
    return path


def test_a_file_is_read() -> None:
    settings = Settings()
    assert (settings.home, settings.name, settings.gate.success) == (Path("state"), "ours", 0.8)
    assert (settings.mlflow_uri, settings.qdrant_url, settings.ray_address) == ("http://file", "http://qdrant", None)


def test_the_environment_prevails_over_the_file_and_arguments_over_both(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MELO_NAME", "theirs"), ("MLFLOW_TRACKING_URI", "http://env"), ("MELO_GATE__SUCCESS", "0.7")):
        monkeypatch.setenv(name, value)
    assert (Settings().name, Settings().mlflow_uri, Settings().gate.success) == ("theirs", "http://env", 0.7)
    given = Settings(name="mine", mlflow_uri=None, qdrant_url="http://given")
    assert (given.name, given.mlflow_uri, given.qdrant_url) == ("mine", None, "http://given")


def test_without_a_server_the_store_is_under_home_and_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(mlflow_uri=None).tracking_uri == f"sqlite:///{tmp_path}/state/mlflow.db"
