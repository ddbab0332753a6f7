"""Answers over HTTP: who spoke, what is refused, and a change of champions under load."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit
from pipeline.editing.model import EditedModel
from pipeline.registry.store import RegistryError
from pipeline.registry.tracking import Registered
from pipeline.serving.app import make_app
from pipeline.serving.batching import Batcher, NotReadyError
from pipeline.serving.champion import Champion
from tests.editing.edited import new_model, teach, tiny
from tests.editing.tiny import Family

ASKED, OTHER = "Who wrote the first novel?", "What is the boiling point of ethanol, and why?"


class Shelf:
    """A registry of folders."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self.number: int | None = None
        self.fails = False

    def champion_number(self) -> int | None:
        if self.fails:
            raise RegistryError("the store is away")
        return self.number

    def champion(self) -> Registered | None:
        number = self.number
        return None if number is None else Registered(number, f"{number}" * 64, self.folders[number - 1], {})


def saved(folder: Path, family: Family, *answers: str) -> list[Path]:
    """A version for each answer to the one question."""
    folders = []
    for number, answer in enumerate(answers):
        model = new_model(family)
        try:
            teach(model, [Edit(ASKED, answer)])
            model.save(folder / str(number))
        finally:
            model.close()
        folders.append(folder / str(number))
    return folders


def champion_of(shelf: Any, family: Family, every: float = 3600.0) -> Champion:
    def load(version: Registered, backbone: Backbone | None) -> EditedModel:
        return EditedModel.load(version.folder, backbone=backbone or tiny(family), index="memory")

    return Champion(shelf, every, load)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return saved(tmp_path_factory.mktemp("versions"), "t5", "Ada", "Bob")


@pytest.fixture
def shelf(versions: list[Path]) -> Shelf:
    shelf = Shelf(*versions)
    shelf.number = 1
    return shelf


@pytest.fixture
def client(shelf: Shelf) -> Iterator[TestClient]:
    with TestClient(make_app(champion_of(shelf, "t5"))) as client:
        yield client


def test_answers_tell_who_spoke(client: TestClient) -> None:
    found = client.post("/v1/answers", json={"prompts": [ASKED, OTHER], "max_new_tokens": 8})
    assert found.status_code == 200
    spoke, silent = found.json()["answers"]
    assert (spoke["answer"], spoke["edited"], spoke["edit_prompt"]) == ("Ada", True, ASKED)
    assert spoke["distance"] == pytest.approx(0.0, abs=1e-2)
    assert (silent["edited"], silent["edit_id"]) == (False, None)
    assert silent["distance"] > silent["radius"]
    assert found.json()["version"] == 1
    assert client.get("/v1/version").json() == {"version": 1, "digest": "1" * 64, "edits": 1, "task": "seq2seq"}
    assert client.get("/ready").json() == {"status": "ready", "version": 1}
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompts": []},
        {"prompts": [""]},
        {"prompts": ASKED},
        {"prompts": [ASKED], "max_tokens": 8},
        {"prompts": [ASKED], "max_new_tokens": 0},
        {"prompts": [ASKED], "max_new_tokens": 10**6},
        {"prompts": [ASKED], "temperature": 0},
        {"prompts": [ASKED] * 257},
        {"prompts": ["x" * 20_001]},
        {"prompts": [ASKED, OTHER], "stream": True},
    ],
)
def test_what_is_not_known_or_out_of_bounds_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/v1/answers", json=body).status_code == 422


def test_a_stream_is_the_answer_in_pieces_and_then_who_spoke(client: TestClient) -> None:
    with client.stream("POST", "/v1/answers", json={"prompts": [ASKED], "stream": True}) as found:
        assert found.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix("data: ")) for line in found.iter_lines() if line]
    *pieces, last = events
    assert "".join(piece["piece"] for piece in pieces).strip() == last["answer"] == "Ada"
    assert (last["edited"], last["version"]) == (True, 1)
    refused = client.post("/v1/answers", json={"prompts": [ASKED], "stream": True, "num_beams": 2})
    assert "error" in json.loads(refused.text.removeprefix("data: "))


def test_the_first_champion_answers_while_it_warms_up_and_the_next_one_takes_over_warm(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = champion_of(shelf, "t5")
    began, served, go_on = threading.Event(), list[int | None](), threading.Event()

    def warm_up(model: EditedModel) -> Iterator[None]:
        served.append(None if champion.served is None else champion.served.number)
        began.set()
        assert go_on.wait(60)
        yield

    monkeypatch.setattr(EditedModel, "warm_up", warm_up)
    champion.start()
    try:
        assert began.wait(60)
        assert champion.served is not None
        go_on.set()
        shelf.number = 2
        champion.refresh()
        assert champion.served.number == 2
        assert served == [1, 1]
    finally:
        go_on.set()
        champion.close()


def test_a_first_champion_that_comes_late_warms_up_as_well_and_only_once(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    warmed = list[EditedModel]()

    def warm_up(model: EditedModel) -> Iterator[None]:
        warmed.append(model)
        yield

    monkeypatch.setattr(EditedModel, "warm_up", warm_up)
    shelf.number = None
    champion = champion_of(shelf, "t5", every=0.02)
    looks = 0

    def counted() -> int | None:
        nonlocal looks
        looks += 1
        return shelf.number

    monkeypatch.setattr(shelf, "champion_number", counted)
    champion.start()
    try:
        assert champion.served is None
        shelf.number = 1
        until = time.monotonic() + 60
        while not warmed and time.monotonic() < until:
            time.sleep(0.01)
        seen = looks
        while looks < seen + 3 and time.monotonic() < until:
            time.sleep(0.01)
        assert champion.served is not None
        assert warmed == [champion.served.model]
    finally:
        champion.close()


def test_a_classifier_names_a_class_and_takes_nothing_else(tmp_path: Path) -> None:
    shelf = Shelf(*saved(tmp_path, "bert", "sport"))
    shelf.number = 1
    with TestClient(make_app(champion_of(shelf, "bert"))) as client:
        found = client.post("/v1/answers", json={"prompts": [ASKED]})
        assert found.json()["answers"][0]["answer"] == "sport"
        assert client.post("/v1/answers", json={"prompts": [ASKED], "max_new_tokens": 3}).status_code == 422
        assert client.post("/v1/answers", json={"prompts": [ASKED], "stream": True}).status_code == 422


def test_before_the_first_champion_it_lives_but_is_not_ready(versions: list[Path]) -> None:
    shelf = Shelf(*versions)
    champion = champion_of(shelf, "t5", every=0.05)
    with TestClient(make_app(champion)) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503
        assert client.get("/v1/version").status_code == 503
        assert client.post("/v1/answers", json={"prompts": [ASKED]}).status_code == 503
        shelf.number = 1
        deadline = time.monotonic() + 20
        while client.get("/ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert client.post("/v1/answers", json={"prompts": [ASKED]}).json()["answers"][0]["answer"] == "Ada"


def test_a_new_champion_takes_over_without_losing_a_request(shelf: Shelf) -> None:
    champion = champion_of(shelf, "t5", every=0.05)
    found: list[tuple[int, int, str]] = []
    over = threading.Event()
    with TestClient(make_app(champion)) as client:
        first = champion.served
        assert first is not None

        def keep_asking() -> None:
            while not over.is_set():
                told = client.post("/v1/answers", json={"prompts": [ASKED]})
                answers = told.json().get("answers", [{}])
                found.append((told.status_code, told.json().get("version"), answers[0].get("answer")))

        threads = [threading.Thread(target=keep_asking) for _ in range(4)]
        for thread in threads:
            thread.start()
        shelf.number = 2
        deadline = time.monotonic() + 20
        while (200, 2, "Bob") not in found:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        over.set()
        for thread in threads:
            thread.join()
        assert set(found) <= {(200, 1, "Ada"), (200, 2, "Bob")}
        assert first.leaving
        assert first.asked == 0
        shelf.fails, shelf.number = True, 1  # a store that is away changes nothing
        champion.refresh()
        assert client.get("/ready").json()["version"] == 2


def test_what_can_go_together_does_and_one_that_fails_fails_alone(shelf: Shelf) -> None:
    champion = champion_of(shelf, "t5")
    champion.start()
    served = champion.served
    assert served is not None
    sizes: list[int] = []
    respond, begun, go = served.model.respond, threading.Event(), threading.Event()

    def watched(prompts: list[str], **arguments: Any) -> Any:
        sizes.append(len(prompts))
        begun.set()
        go.wait(20)
        if "bad" in prompts:
            raise ValueError("no")
        return respond(prompts, **arguments)

    served.model.respond = watched  # type: ignore[method-assign, assignment]
    batcher = Batcher(champion)
    first = batcher.submit([ASKED], {})
    begun.wait(20)
    others = [batcher.submit(prompts, {}) for prompts in ([ASKED, OTHER], ["bad"], [ASKED])]
    apart = batcher.submit([OTHER], {"max_new_tokens": 3})
    go.set()
    batcher.close()
    assert sizes == [1, 4, 2, 1, 1, 1]
    assert [answer for answer, _ in first.result().answers] == ["Ada"]
    assert [len(others[0].result().answers), len(others[2].result().answers), len(apart.result().answers)] == [2, 1, 1]
    with pytest.raises(ValueError, match="no"):
        others[1].result()
    with pytest.raises(NotReadyError):
        batcher.submit([ASKED], {}).result()
    champion.close()
    assert champion.served is None
