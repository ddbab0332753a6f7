"""Whoever is killed and whenever, the run ends with the version of an undisturbed one: every edit in it, and once.

Every run is disturbed by SIGKILLs at moments that are drawn, by the number in the test's name, from all of the time
that the victim lived in the undisturbed run. A kill that comes too late is drawn again.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.journal import Journal
from pipeline.registry.store import connect
from pipeline.run import RunResult
from tests.workers.conftest import SERVERS
from tests.workers.killing import LOOK_SECONDS, Killer, Killing, check, name_by_place
from tests.workers.nights import MANY, PIECES, do, write
from tests.workers.two_nodes import TwoNodes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

DRIVER, INGESTION, EVALUATOR = "driver", "IngestionWorker0", "EvaluatorWorker0"
LEAD, OTHER = "TrainerWorker0", "TrainerWorker1"
VICTIMS = {
    "ingestion": (INGESTION,),
    "lead": (LEAD,),
    "other": (OTHER,),
    "evaluator": (EVALUATOR,),
    "all": (INGESTION, LEAD, OTHER, EVALUATOR, LEAD),
}
ACTORS_KILLED = [
    *(("ingestion", number) for number in range(4)),
    *(("lead", number) for number in range(6)),
    *(("other", number) for number in range(4)),
    *(("evaluator", number) for number in range(4)),
    *(("all", number) for number in range(2)),
]
DRIVERS_KILLED = [*((1, number) for number in range(6)), *((2, number) for number in range(3))]
DRAWS = 10
"""A kill comes too late at times, but not as often as that."""


class Nights:
    """Two undisturbed runs, and what others are made from and compared with.

    Args:
        cluster: runs all.
        folder: for the homes.
        backbone: folder of a model.

    Attributes:
        lives: seconds that each actor lived in a run of two trainers that was not disturbed, and the ``driver``.
        hits: how many kills hit, by the name of the run.
    """

    def __init__(self, cluster: TwoNodes, folder: Path, backbone: Path) -> None:
        self.cluster = cluster
        self._folder = folder
        self._source = write(folder / "reports.jsonl", MANY, *['{"prompt": "broken'] * 5000)
        self._backbone = backbone
        connect(f"sqlite:///{folder / 'mlflow.db'}")
        self.hits: dict[str, int] = {}
        self.lives: dict[str, float] = {}
        self._calm = self.run(self.home("calm"), trainers=1)
        home, start = self.home("watched"), time.monotonic()
        with Killer(cluster.actors) as watch:
            made = self.run(home)
        self.lives = watch.lives() | {DRIVER: time.monotonic() - start}
        self.check(home, made)

    def home(self, name: str) -> Path:
        """A new home, in which MLflow has its tables already."""
        home = self._folder / name
        home.mkdir()
        shutil.copy(self._folder / "mlflow.db", home)
        return home

    def run(self, home: Path, trainers: int = 2) -> RunResult:
        """A run that this process drives."""
        return do(home, self._source, self._backbone, trainers=trainers, **PIECES)

    def check(self, home: Path, made: RunResult) -> None:
        """See ``tests.workers.killing.check``."""
        check(home, made, self._calm, list(MANY))

    def kill_driver(self, home: Path, draw: random.Random) -> bool:
        """Has another process drive a run, or go on with one, and kills it; whether before the night had ended."""
        argv = [str(Path(__file__).with_name("driver.py")), str(home), str(self._source), str(self._backbone)]
        begun = home / "nights" / "000001"
        new = not begun.is_dir()
        process = self.cluster.forking.fork(argv, os.environ | {"RAY_ADDRESS": self.cluster.address})
        while not begun.is_dir():
            assert not process.wait(LOOK_SECONDS), "the driver ended before its night began"
        start, delay = time.monotonic(), draw.uniform(0, self.lives[DRIVER])
        late = process.wait(delay)
        if not late:
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait(60)
        elif new:
            self.lives[DRIVER] = time.monotonic() - start
        journal = Journal(home)
        (night,) = journal.nights()
        journal.close()
        print(f"{process.pid}: {delay:.2f} s, {'not ' if late else ''}killed, outcome {night.outcome}")
        assert night.outcome == "promoted" or not (late or night.ended), "the driver gave up"
        return night.ended is None


@pytest.fixture(scope="module")
def nights(cluster: TwoNodes, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    with pytest.MonkeyPatch.context() as patch:
        for name in SERVERS:
            patch.delenv(name, raising=False)
        name_by_place(patch)
        yield Nights(cluster, tmp_path_factory.mktemp("nights"), backbone)


@pytest.mark.parametrize(("who", "number"), ACTORS_KILLED)
def test_an_actor_is_killed(nights: Nights, who: str, number: int) -> None:
    name = f"{who} {number}"
    draw = random.Random(name)
    for again in range(DRAWS):
        killings = [Killing(victim, draw.uniform(0, nights.lives[victim])) for victim in VICTIMS[who]]
        home = nights.home(f"{name} {again}")
        with Killer(nights.cluster.actors, killings) as killer:
            made = nights.run(home)
        print(killings)  # shown when the next line fails
        nights.check(home, made)
        missed = [killing.victim for killing in killings if killing.killed is None]
        if not missed:
            nights.hits[name] = len(killings)
            return
        nights.lives |= {victim: killer.lives()[victim] for victim in missed}
    pytest.fail(f"{DRAWS} times a kill came too late, the last time of {missed}")


@pytest.mark.parametrize(("kills", "number"), DRIVERS_KILLED)
def test_the_driver_is_killed(nights: Nights, kills: int, number: int) -> None:
    name = f"{DRIVER} {kills} {number}"
    draw = random.Random(name)
    for again in range(DRAWS):
        home = nights.home(f"{name} {again}")
        if all(nights.kill_driver(home, draw) for _ in range(kills)):
            nights.check(home, nights.run(home))
            nights.hits[name] = kills
            return
    pytest.fail(f"{DRAWS} times a kill came too late")


def test_at_least_twenty_runs_were_hit(nights: Nights) -> None:
    if len(nights.hits) < len(ACTORS_KILLED) + len(DRIVERS_KILLED):
        pytest.skip("not all of the runs above were made")
    print(f"{sum(nights.hits.values())} kills hit living processes in {len(nights.hits)} runs")
    assert len(nights.hits) >= 20
