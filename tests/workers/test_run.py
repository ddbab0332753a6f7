"""The whole run on a tiny model: reports in, a promoted version out; the same one whatever dies on the way."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.editing.backbone import BackboneError
from pipeline.editing.index.points import IndexHomeError
from pipeline.editing.model import EditedModel
from pipeline.editlog import UNDO
from pipeline.evaluation.kinds import DERIVED
from pipeline.journal import BusyError, Journal, Night
from pipeline.registry.store import RegistryError
from pipeline.registry.tracking import Registry
from pipeline.review import ReviewQueue
from pipeline.run import run
from pipeline.sources import SourceError
from pipeline.telling import QUIET
from tests.reviewing import span
from tests.workers.nights import FACTS, do, settings_in, write
from workers.evaluator import EvaluatorWorker
from workers.trainer import TrainerWorker

pytestmark = pytest.mark.usefixtures("cluster")


def derived(folder: Path) -> dict[str, set[str]]:
    """Prompts of a night's derived questions, by kind."""
    answers = pq.read_table(folder / "answers.parquet", columns=["kind", "prompt"]).to_pylist()
    return {kind: {row["prompt"] for row in answers if row["kind"] == kind} for kind in DERIVED}


def test_reports_become_a_champion_and_a_second_night_builds_on_it(tmp_path: Path, backbone: Path) -> None:
    first, *others = FACTS.items()
    source = write(tmp_path / "reports.jsonl", dict([first]), '{"prompt": "broken', json.dumps({"prompt": "no target"}))
    made = do(tmp_path / "home", source, backbone)
    read = {"reports": 3, "quarantine": 2, "review": 0, "confirmed": 0}
    assert made.counts == read | {"edits": 1, "duplicates": 0, "contradictions": 0}
    assert made.scores is not None
    assert made.scores.edit_success == 1.0
    assert made.verdict is not None
    assert made.verdict.passed

    again = do(tmp_path / "home", source, backbone)
    assert (again.digest, again.counts["edits"], again.counts["duplicates"]) == (None, 0, 1)
    assert {kind for kind, prompts in derived(made.folder).items() if prompts} == {"typo", "wrapped", "unrelated"}
    assert (made.folder / "scope.png").is_file()

    more = do(tmp_path / "home", write(tmp_path / "more.jsonl", dict(others)), backbone)
    settings = settings_in(tmp_path / "home")
    registry = Registry(settings.tracking_uri, settings.name, tmp_path / "home" / "artifacts")
    champion = registry.champion()
    assert champion is not None
    assert (champion.number, champion.digest) == (2, more.digest)
    assert derived(more.folder)["typo"].isdisjoint(derived(made.folder)["typo"])  # fresh ones every night
    assert not any(derived(do(tmp_path / "none", source, backbone, probes=0).folder).values())
    assert [move.to_version for move in registry.history()] == [1, 2]
    pages = [registry.page(number) for number in (1, 2)]
    assert pages == [(night.folder / "report.html").read_text() for night in (made, more)]
    assert ["on top of version 1, the champion" in page for page in pages] == [False, True]
    model = EditedModel.load(champion.folder, index="memory")
    assert model.generate(list(FACTS)) == list(FACTS.values())
    assert model.version == 2

    edit_id = next(edit_id for edit_id, record in model.records.items() if record.edit.prompt == first[0])
    undone = run(settings, UNDO + edit_id, str(backbone), QUIET)
    assert undone.scores is not None
    assert undone.scores.counts["edit"] == len(others)
    without = EditedModel.load(tmp_path / "home" / "versions" / str(undone.digest), index="memory")
    assert without.records[edit_id].state == "undone"
    assert without.route([first[0]])[0].block is None
    assert without.generate([prompt for prompt, _ in others]) == [target for _, target in others]
    assert do(tmp_path / "home", source, backbone).digest is None  # what was undone is not taught again
    journal = Journal(tmp_path / "home")
    outcomes = [night.outcome for night in journal.nights()]
    assert outcomes == ["promoted", "nothing new", "promoted", "promoted", "nothing new"]


def test_what_a_reviewer_answers_is_learned_the_next_night(tmp_path: Path, backbone: Path) -> None:
    home, (first, (prompt, target), *_) = tmp_path / "home", FACTS.items()
    source = write(tmp_path / "reports.jsonl", dict([first]), json.dumps(span(1, prompt=prompt)))
    made = do(home, source, backbone)
    assert (made.counts["edits"], made.counts["review"]) == (1, 1)
    journal = Journal(home)
    queue = ReviewQueue(journal)
    queue.answer(queue.waiting()[0], target, "", "grace")
    again = do(home, source, backbone)
    assert (again.counts["edits"], again.counts["review"], again.counts["duplicates"]) == (1, 0, 1)
    assert again.promoted
    model = EditedModel.load(home / "versions" / str(again.digest), index="memory")
    assert model.generate([first[0], prompt]) == [first[1], target]
    assert queue.waiting() == []
    journal.close()


def test_a_gate_that_fails_keeps_the_champion_and_the_next_night_takes_the_edits_up(
    tmp_path: Path, backbone: Path
) -> None:
    home, (first, *others) = tmp_path / "home", FACTS.items()
    strict = {"gate": {"seconds_per_question": 1e-9}}
    kept = do(home, write(tmp_path / "a.jsonl", dict([first])), backbone, **strict)
    assert kept.verdict is not None
    assert not kept.verdict.passed
    assert kept.verdict.reasons
    settings = settings_in(home)
    registry = Registry(settings.tracking_uri, settings.name, home / "artifacts")
    candidate = registry.candidate()
    assert registry.champion() is None
    assert candidate is not None
    assert candidate.tags["gate"] == "failed"
    assert candidate.tags["reasons"] == "; ".join(kept.verdict.reasons)

    made = do(home, write(tmp_path / "b.jsonl", dict(others[:1])), backbone)
    assert made.verdict is not None
    assert made.verdict.passed
    known = pq.read_table(home / "versions" / str(made.digest) / "edits.parquet")
    assert known["prompt"].to_pylist() == [first[0], others[0][0]]


def test_an_edit_that_the_model_cannot_take_costs_no_other(tmp_path: Path, backbone: Path) -> None:
    facts = dict(list(FACTS.items())[:2]) | {"What does nobody know?": "<unk>"}
    made = do(tmp_path / "home", write(tmp_path / "a.jsonl", facts), backbone)
    assert made.refused is not None
    assert len(made.refused) == 1
    assert "special ones" in next(iter(made.refused.values()))
    assert made.scores is not None
    assert made.scores.counts["edit"] == 2


def killed_at(call: int, worker: type, method: str, trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The actor that gets the so-manieth call of ``method`` dies of it."""
    own: Callable[..., Any] = getattr(worker, method)

    def dying(self: Any, *arguments: Any) -> Any:
        with trace.open("ab") as calls:
            calls.write(b".")
        if trace.stat().st_size == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return own(self, *arguments)

    monkeypatch.setattr(worker, method, dying)


def test_the_same_version_comes_out_whatever_dies_on_the_way(
    tmp_path: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "a.jsonl", FACTS)
    undisturbed = do(tmp_path / "calm", source, backbone, portion=2).digest
    assert undisturbed is not None
    deaths = [
        (1, TrainerWorker, "plan"),
        (2, TrainerWorker, "train"),
        (2, TrainerWorker, "commit"),  # its successor has to be led through the first portion again
        (1, TrainerWorker, "save"),
        (1, EvaluatorWorker, "ask"),
    ]
    for call, worker, method in deaths:
        killed_at(call, worker, method, tmp_path / f"{method}.calls", monkeypatch)
    made = do(tmp_path / "home", source, backbone, portion=2, trainers=2)
    calls = {method: (tmp_path / f"{method}.calls").stat().st_size for _, _, method in deaths}
    assert all(calls[method] > call for call, _, method in deaths)
    assert made.digest == undisturbed
    assert made.counts["edits"] == len(FACTS)
    assert calls["train"] == 4  # three portions of one unit each, and the one that was lost: none is trained twice


class PowerCutError(BaseException):
    """Comes after the work of a step, before it is written down."""


def stopping_after(name: str) -> Callable[..., dict[str, Any]]:
    own = Journal.step

    def step(self: Journal, night: Night, step: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if step == name and name not in self.results(night):
            work()
            raise PowerCutError
        return own(self, night, step, work)

    return step


def test_a_driver_that_stopped_anywhere_goes_on_to_the_same_version(
    tmp_path: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "a.jsonl", FACTS)
    expected = do(tmp_path / "calm", source, backbone).digest
    home = tmp_path / "home"
    for name in ("reports", "version", "scores", "gate", "registered"):
        with monkeypatch.context() as patch, pytest.raises(PowerCutError):
            patch.setattr(Journal, "step", stopping_after(name))
            do(home, source, backbone)
    made = do(home, source, backbone)
    assert made.digest == expected
    assert made.number == 1
    assert made.night == 1
    assert len(list((home / "versions").iterdir())) == 1


def test_a_night_that_cannot_go_on_does_not_stand_in_the_next_ones_way(tmp_path: Path, backbone: Path) -> None:
    home, (first, second, *_) = tmp_path / "home", FACTS.items()
    with pytest.raises(SourceError, match="no file or folder"):
        do(home, tmp_path / "nowhere.jsonl", backbone)
    source = write(tmp_path / "a.jsonl", dict([first]))
    with pytest.raises(BackboneError, match="No directory /no/such/model"):
        do(home, source, Path("/no/such/model"))
    made = do(home, write(tmp_path / "b.jsonl", dict([second])), backbone)
    assert made.scores is not None
    assert made.scores.counts["edit"] == 2
    outcomes = [str(night.outcome).split(":")[0] for night in Journal(home).nights()]
    assert outcomes == ["failed", "promoted"]


def full_disk(worker: type, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the actor write no more than a few bytes to any file from then on, by order of the kernel."""
    own: Callable[..., Any] = getattr(worker, method)

    def unlucky(self: Any, *arguments: Any) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        return own(self, *arguments)

    monkeypatch.setattr(worker, method, unlucky)


def test_a_disk_that_is_full_costs_nothing_but_time(
    tmp_path: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, (first, second, third, *_) = tmp_path / "home", FACTS.items()
    before = do(home, write(tmp_path / "a.jsonl", dict([first])), backbone)
    source = write(tmp_path / "b.jsonl", dict([second]))
    with monkeypatch.context() as patch, pytest.raises(OSError, match="too large"):
        full_disk(TrainerWorker, "save", patch)
        do(home, source, backbone)
    settings = settings_in(home)
    registry = Registry(settings.tracking_uri, settings.name, home / "artifacts")
    champion = registry.champion()
    assert champion is not None
    assert champion.digest == before.digest
    assert EditedModel.load(champion.folder, index="memory").generate([first[0]]) == [first[1]]
    assert [folder.name for folder in (home / "versions").iterdir()] == [before.digest]

    other = write(tmp_path / "c.jsonl", dict([third]))
    resumed = do(home, other, backbone)
    assert (resumed.night, resumed.source, resumed.promoted) == (2, str(source), True)
    registry.rollback("somebody", "to see")
    with monkeypatch.context() as patch, pytest.raises(PowerCutError):
        patch.setattr(Journal, "step", stopping_after("gate"))
        do(home, other, backbone)
    registry.promote(2, "somebody", "it was right", {})
    late = do(home, other, backbone)
    assert late.verdict is not None
    assert (late.verdict.passed, late.promoted, late.number) == (True, False, 3)
    champion = registry.champion()
    assert champion is not None
    assert champion.number == 2


@pytest.mark.parametrize("named", ["qdrant_url", "mlflow_uri"])
def test_a_server_that_is_not_there_is_named_before_anything_begins(tmp_path: Path, backbone: Path, named: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        settings = settings_in(tmp_path / "home").model_copy(update={named: url})
        start = time.monotonic()
        with pytest.raises((IndexHomeError, RegistryError), match=url):
            run(settings, str(write(tmp_path / "a.jsonl", FACTS)), str(backbone), QUIET)
        assert time.monotonic() - start < 15
    assert Journal(tmp_path / "home").nights() == []


def test_a_home_that_was_lost_is_begun_anew_from_the_champion(tmp_path: Path, backbone: Path) -> None:
    first, second, *_ = FACTS.items()
    made = do(tmp_path / "lost", write(tmp_path / "a.jsonl", dict([first])), backbone)
    uri = settings_in(tmp_path / "lost").tracking_uri
    after = do(tmp_path / "new", write(tmp_path / "b.jsonl", dict([first, second])), backbone, mlflow_uri=uri)
    assert (after.number, after.counts["edits"], after.counts["duplicates"]) == (2, 1, 1)
    assert after.scores is not None
    assert (after.scores.counts["edit"], after.scores.edit_success) == (2, 1.0)
    model = EditedModel.load(tmp_path / "new" / "versions" / str(after.digest), index="memory")
    assert model.version == EditedModel.load(tmp_path / "lost" / "versions" / str(made.digest)).version + 1


def test_a_second_run_at_the_same_time_is_refused(tmp_path: Path, backbone: Path) -> None:
    journal = Journal(tmp_path / "home")
    with journal.at_work(), pytest.raises(BusyError, match=f"process {os.getpid()} of"):
        do(tmp_path / "home", write(tmp_path / "a.jsonl", FACTS), backbone)
