"""Ray, MLflow, Qdrant and the server of answers: away, refusing, damaged, of another time or version."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from pipeline.doctor import servers
from pipeline.doctor.examination import within
from pipeline.registry.tracking import Registry
from pipeline.settings import Settings
from tests.doctor.telling import only, states
from tests.registry.conftest import Version, backbone, versions  # noqa: F401

Stand = Callable[..., str]


@pytest.fixture
def stand() -> Iterator[Stand]:
    """Stands a server there that gives one answer to everything: (status, content, date) -> URL."""
    running = []

    def start(status: int, content: Any, date: str | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(content).encode()
                self.send_response_only(status)
                self.send_header("Date", date or self.date_time_string())
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def nobody() -> Iterator[str]:
    """``host:port`` at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory, versions: list[Version]) -> Path:  # noqa: F811
    """A home whose registry has a champion."""
    home = tmp_path_factory.mktemp("home")
    registry = Registry(f"sqlite:///{home}/mlflow.db", "melo", home / "artifacts")
    registry.promote(registry.register(**versions[0].arguments()), "somebody", "it was right", {})
    return home


def test_gpus_on_a_machine_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    finding = only(servers.ray, Settings(trainers=2, trainer_gpus=1))
    assert finding.state == "problem"
    assert finding.told == "trainers or evaluators want 2 GPUs, and this machine has 0"
    assert "MELO_TRAINER_GPUS" in finding.advice
    assert only(servers.ray, Settings(trainers=10_000)).state == "problem"
    assert only(servers.ray, Settings()).state == "ok"


def test_a_cluster_that_is_away(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # the other tests' Ray would be used
    finding = only(servers.ray, Settings(ray_address=nobody))
    assert (finding.state, f"no Ray cluster answers at {nobody}" in finding.told) == ("problem", True)


def test_a_registry_that_is_away(nobody: str, settings: Settings) -> None:
    finding = only(servers.mlflow, settings.model_copy(update={"mlflow_uri": f"http://{nobody}"}))
    assert (finding.state, f"no MLflow server answers at http://{nobody}" in finding.told) == ("problem", True)
    assert only(servers.mlflow, settings).state == "ok"  # nothing named, nothing made yet
    assert not settings.home.exists()


def test_a_champion_that_is_whole_and_one_that_is_damaged(promoted: Path) -> None:
    settings = Settings(home=promoted)
    expected = [("mlflow", "ok"), ("artifacts", "ok"), ("champion", "ok"), ("candidate", "ok")]
    assert states(servers.mlflow(settings)) == expected
    (blocks,) = promoted.glob("artifacts/**/blocks.safetensors")
    content = blocks.read_bytes()
    blocks.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        *_, finding = within("mlflow", servers.mlflow, settings, 60)
        assert (finding.state, "version 1 of melo" in finding.told, "is damaged" in finding.told) == (
            "problem",
            True,
            True,
        )
    finally:
        blocks.write_bytes(content)
    assert not list(promoted.glob("artifacts/**/melo-doctor-*"))


def test_an_artifact_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("in the way")
    (finding,) = servers._artifacts((tmp_path / "artifacts" / "melo").as_uri(), f"sqlite:///{tmp_path}/mlflow.db")
    assert (finding.state, "cannot be written" in finding.told) == ("problem", True)


def test_an_index_that_is_away_or_refuses(nobody: str, stand: Stand, settings: Settings) -> None:
    assert only(servers.qdrant, settings).state == "ok"
    finding = only(servers.qdrant, settings.model_copy(update={"qdrant_url": f"http://{nobody}"}))
    assert (finding.state, nobody in finding.told) == ("problem", True)
    finding = only(servers.qdrant, settings.model_copy(update={"qdrant_url": stand(401, {})}))
    assert (finding.state, "QDRANT_API_KEY is not set" in finding.told) == ("problem", True)


def test_an_index_that_is_there(stand: Stand, settings: Settings) -> None:
    answer = {"result": {"exists": False}, "status": "ok", "time": 0.0}
    found = servers.qdrant(settings.model_copy(update={"qdrant_url": stand(200, answer)}))
    assert states(found) == [("qdrant", "ok")]


def test_a_clock_that_is_wrong(stand: Stand) -> None:
    assert list(servers.clock("mlflow", stand(200, {}))) == []
    (finding,) = servers.clock("mlflow", stand(200, {}, "Mon, 01 Jan 2024 00:00:00 GMT"))
    assert (finding.state, "time server" in finding.advice) == ("problem", True)


@pytest.mark.parametrize(
    ("status", "content", "state", "told"),
    [
        (503, {"status": "no champion yet"}, "warning", "has no champion to serve yet"),
        (404, {}, "problem", "it is no melo serve"),
        (200, {"version": 7}, "problem", "serves version 7, and the champion is 1"),
        (200, {"version": 1}, "ok", "serves version 1, the champion"),
    ],
)
def test_what_serves(stand: Stand, promoted: Path, status: int, content: Any, state: str, told: str) -> None:
    (finding,) = servers.serving(Settings(home=promoted), stand(status, content))
    assert (finding.state, told in finding.told) == (state, True), finding


def test_nobody_has_to_serve(nobody: str, settings: Settings) -> None:
    (finding,) = servers.serving(settings, f"http://{nobody}")
    assert finding.state == "ok"


def test_a_server_that_listens_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def listening(*places: tuple[str, int]) -> None:
        found = [SimpleNamespace(laddr=psutil._ntuples.addr(*place), status=psutil.CONN_LISTEN) for place in places]
        monkeypatch.setattr(psutil, "net_connections", lambda kind: found)

    listening(("127.0.0.1", 6333), ("::1", 5000), ("0.0.0.0", 22))
    assert only(servers.addresses, Settings()).state == "ok"
    listening(("0.0.0.0", 6333), ("127.0.0.1", 5000))
    finding = only(servers.addresses, Settings())
    assert finding.state == "warning"
    assert finding.told == "port 6333 (Qdrant) listens at 0.0.0.0, not on loopback alone"
    listening(("::", 9999))
    assert only(servers.addresses, Settings(mlflow_uri="http://127.0.0.1:9999")).state == "warning"
