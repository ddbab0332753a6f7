"""Kills processes of the tests' cluster while a run goes on, and checks that the run came out as if nobody had."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from pipeline.journal import Journal
from pipeline.registry.tracking import Registry
from pipeline.run import RunResult
from tests.workers.nights import settings_in
from workers.spread import Crew

LOOK_SECONDS = 0.004
"""How long the killer looks away."""


@dataclass
class Killing:
    """Somebody who is to be killed, so long after being seen.

    Attributes:
        victim: class and place of an actor, for example ``TrainerWorker0``.
        delay: seconds.
        killed: process id, when it was done.
    """

    victim: str
    delay: float
    killed: int | None = None
    _seen: dict[int, float] = field(default_factory=dict)

    def look(self, actors: dict[int, str], now: float, others: Sequence[Killing]) -> None:
        """Kills if it is time to, unless one of the others has done that."""
        dead = {other.killed for other in others}
        for pid, title in actors.items():
            if pid in dead or self.killed is not None or title.partition(".")[0] != f"ray::{self.victim}":
                continue
            if now - self._seen.setdefault(pid, now) >= self.delay:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed = pid


class Killer:
    """Looks at the living actors until its context ends; kills, and notes how long each lived.

    Args:
        actors: the living ones: process ids and titles.
        killings: all of them go on side by side. Of several with one victim the later ones await its successor.
    """

    def __init__(self, actors: Callable[[], dict[int, str]], killings: Sequence[Killing] = ()) -> None:
        self._actors = actors
        self._killings = killings
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._lives: dict[tuple[str, int], tuple[float, float]] = {}

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def lives(self) -> dict[str, float]:
        """Seconds that each actor lived, by class and place; of several in one place the last one."""
        return {victim: end - start for (victim, _), (start, end) in self._lives.items()}

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            actors, now = self._actors(), time.monotonic()
            for pid, title in actors.items():
                life = title.removeprefix("ray::").partition(".")[0], pid
                self._lives[life] = self._lives.get(life, (now, now))[0], now
            for killing in self._killings:
                killing.look(actors, now, self._killings)


def name_by_place(patch: pytest.MonkeyPatch) -> None:
    """Actors that this process starts are titled by class and place: the lead trainer is ``TrainerWorker0``."""
    own = Crew._start

    def start(self: Crew, place: int) -> Any:
        worker = self.worker
        self.worker = type(f"{worker.__name__}{place}", (worker,), {})
        try:
            return own(self, place)
        finally:
            self.worker = worker

    patch.setattr(Crew, "_start", start)


def check(home: Path, made: RunResult, expected: RunResult, prompts: Sequence[str]) -> None:
    """One night, one version, the expected one, promoted once; each edit once, and every one alive."""
    journal = Journal(home)
    (night,) = journal.nights()
    results = journal.results(night)
    journal.close()
    assert (made.night, night.outcome, made.number, made.promoted) == (1, "promoted", 1, True)
    assert made.digest == results["version"]["digest"] == expected.digest
    assert made.counts == results["reports"] == expected.counts
    assert list(results) == ["reviewed", "reports", "version", "scores", "gate", "registered", "promoted"]

    version = home / "versions" / str(made.digest)
    assert [folder for folder in version.parent.iterdir() if not folder.name.startswith(".")] == [version]
    assert pq.read_table(night.folder / "edits.parquet")["prompt"].to_pylist() == list(prompts)
    records = pq.read_table(version / "edits.parquet")
    assert records["prompt"].to_pylist() == list(prompts)
    assert set(records["state"].to_pylist()) == {"live"}
    answers = pq.read_table(night.folder / "answers.parquet")
    taught = answers.filter(pc.equal(answers["kind"], "edit"))
    assert sorted(taught["prompt"].to_pylist()) == sorted(prompts)
    assert made.scores is not None
    assert made.scores.edit_success == 1.0

    settings = settings_in(home)
    registry = Registry(settings.tracking_uri, settings.name, home / "artifacts")
    assert [(move.kind, move.to_version) for move in registry.history()] == [("promotion", 1)]
    for registered in (registry.candidate(), registry.champion()):
        assert registered is not None
        assert (registered.number, registered.digest) == (1, made.digest)
    client = MlflowClient(settings.tracking_uri)
    assert len(client.search_model_versions(f"name = '{settings.name}'")) == 1
    experiment = client.get_experiment_by_name(settings.name)
    assert experiment is not None
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])].count("FINISHED") == 1
