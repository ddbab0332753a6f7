"""What the server tells of its requests: a line each, and its metrics."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from pipeline.logs import NIGHT_LOG, night_log
from pipeline.metrics import SERVING
from pipeline.serving.app import make_app
from pipeline.serving.champion import Champion
from tests.serving.test_app import ASKED, OTHER, Shelf, champion_of, saved


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return saved(tmp_path_factory.mktemp("versions"), "t5", "Ada", "Bob")


@pytest.fixture
def champion(versions: list[Path]) -> Champion:
    shelf = Shelf(*versions)
    shelf.number = 1
    return champion_of(shelf, "t5")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    with night_log(tmp_path):
        yield tmp_path / NIGHT_LOG


def lines(log: Path, event: str = "request") -> list[dict[str, Any]]:
    return [found for line in log.read_text().splitlines() if (found := json.loads(line))["event"] == event]


def values(client: TestClient) -> dict[str, float]:
    """Samples by name and the values of their labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {" ".join([s.name, *s.labels.values()]): s.value for family in families for s in family.samples}


def test_a_request_is_a_line_with_its_id_and_who_spoke(champion: Champion, log: Path) -> None:
    with TestClient(make_app(champion)) as client:
        found = client.post("/v1/answers", json={"prompts": [ASKED, OTHER]}, headers={"X-Request-ID": "mine-1"})
        assert found.headers["X-Request-ID"] == "mine-1"
        forged = client.post("/v1/answers", json={"prompts": [ASKED]}, headers={"X-Request-ID": 'a"{} b'})
        assert len(forged.headers["X-Request-ID"]) == 32
        client.get("/nowhere/%0A%7B%22event%22")
        client.post("/v1/answers", json={"prompts": [ASKED], "stream": True})
        client.get("/health")
    one, two, lost, stream = lines(log)
    edit_id = found.json()["answers"][0]["edit_id"]
    assert (one["request_id"], one["version"], one["edit_ids"]) == ("mine-1", 1, [edit_id])
    assert (one["status"], one["prompts"], one["level"]) == (200, 2, "info")
    assert one["seconds"] > 0
    assert two["request_id"] == forged.headers["X-Request-ID"]
    assert (lost["status"], lost["path"]) == (404, '/nowhere/\n{"event"')
    assert (stream["form"], stream["edit_ids"]) == ("stream", [edit_id])
    assert ASKED not in log.read_text()


def test_prompts_are_written_down_on_request_alone_and_break_no_line(champion: Champion, log: Path) -> None:
    evil = 'Who?\n{"event": "request", "status": 200}\r\u2028\u2029\x85\x00\x1b[2J\u202e'
    with TestClient(make_app(champion, log_prompts=True)) as client:
        assert client.post("/v1/answers", json={"prompts": [evil, OTHER]}).status_code == 200
    (line,) = lines(log)
    assert line["prompts"] == [evil, OTHER]
    assert log.read_bytes().isascii()
    assert log.read_text().splitlines() == log.read_text().rstrip("\n").split("\n")


def test_a_fault_of_ours_is_told_with_its_trace_and_not_to_strangers(champion: Champion, log: Path) -> None:
    with TestClient(make_app(champion)) as client:
        served = champion.served
        assert served is not None

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("out of luck")

        served.model.respond = broken  # type: ignore[method-assign, assignment]
        found = client.post("/v1/answers", json={"prompts": [ASKED]})
        assert (found.status_code, "luck" in found.text) == (500, False)
        assert values(client)["melo_serve_requests_total 500"] == 1
    (failed,) = lines(log, "failed")
    assert failed["request_id"] == found.headers["X-Request-ID"] == lines(log)[0]["request_id"]
    assert failed["exception"][0]["exc_value"] == "out of luck"


def test_metrics_count_what_happened(champion: Champion, versions: list[Path]) -> None:
    shelf: Any = champion._registry
    with TestClient(make_app(champion)) as client:
        before = values(client)
        assert (before["melo_serve_ready"], before["melo_serve_prompts_total edit"]) == (1, 0)
        client.post("/v1/answers", json={"prompts": [ASKED, OTHER]})
        client.post("/v1/answers", json={"prompts": [ASKED], "stream": True})
        client.post("/v1/answers", json={})
        shelf.number = 2
        champion.refresh()
        shelf.fails = True
        champion.refresh()
        after = values(client)
        wanted = {
            "melo_serve_requests_total 200": 2,
            "melo_serve_requests_total 422": 1,
            "melo_serve_prompts_total edit": 2,
            "melo_serve_prompts_total backbone": 1,
            "melo_serve_request_seconds_count stream": 1,
            "melo_serve_batch_prompts_sum": 2,
            "melo_serve_queue_requests": 0,
            "melo_serve_streams": 0,
            "melo_serve_version": 2,
            "melo_serve_champion": 2,
            "melo_serve_edits": 1,
            "melo_serve_swaps_total": 2,
            "melo_serve_take_ins_failed_total": 1,
        }
        assert {name: after.get(name) for name in wanted} == wanted
        named = {name.split()[0] for name in after if not name.split()[0].endswith("_created")}
        assert named == {name for metric in SERVING for name in metric.series()}
        assert "edit_id" not in client.get("/metrics").text


def test_root_has_no_handlers_left(champion: Champion, tmp_path: Path) -> None:
    before = list(logging.getLogger().handlers)
    with night_log(tmp_path):
        assert len(logging.getLogger().handlers) == len(before) + 1
    assert logging.getLogger().handlers == before
