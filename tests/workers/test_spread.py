"""Work is shared, replaced actors take over, and what can't be had is an error at once."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest
import ray
from ray.exceptions import ObjectLostError

from pipeline.settings import Settings
from workers.connect import connected
from workers.spread import Crew, SpreadError, crew_of

pytestmark = pytest.mark.usefixtures("cluster")


class Worker:
    """Squares numbers; dies once where it is told to."""

    def __init__(self, place: int) -> None:
        self.place = place

    def square(self, number: int, die: str | None = None) -> int:
        if die is not None and not Path(die).exists():
            Path(die).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    def environment(self, name: str) -> str:
        return os.environ.get(name, "")

    def where(self, seconds: float) -> tuple[int, int]:
        time.sleep(seconds)
        return self.place, os.getpid()


def crew(count: int = 1, **options: float) -> Crew:
    return Crew(Worker, lambda place: (place,), count, {"num_cpus": options.pop("num_cpus", 1)}, **options)  # type: ignore[arg-type]


def test_every_call_has_its_number_whoever_did_it() -> None:
    with crew(2) as workers:
        found = dict(workers.share("square", [(n,) for n in range(20)]))
        places = {place for _, (place, _) in workers.share("where", [(0.2,)] * 4)}
    assert found == {n: n * n for n in range(20)}
    assert places == {0, 1}


def test_the_first_actor_alone_is_called() -> None:
    with crew(2) as workers:
        assert {workers.call("where", 0.0)[0] for _ in range(4)} == {0}


@pytest.mark.parametrize("count", [1, 2])
def test_what_a_killed_actor_was_doing_is_done_by_another(tmp_path: Path, count: int) -> None:
    calls = [(n, str(tmp_path / f"{n}") if n in (3, 8) else None) for n in range(12)]
    with crew(count, lives=4) as workers:
        assert dict(workers.share("square", calls)) == {n: n * n for n in range(12)}
        assert workers.lives < 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "8"]


def test_an_actor_that_dies_every_time_is_an_error() -> None:
    class Mortal:
        def live(self) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    with (
        Crew(Mortal, lambda place: (), 1, {"num_cpus": 1}, lives=1) as workers,
        pytest.raises(SpreadError, match="Mortal died too often"),
    ):
        workers.call("live")


def test_what_was_lost_with_a_node_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    get, losses = ray.get, [ObjectLostError("00" * 28, None, "")]

    def losing(ref: ray.ObjectRef, timeout: float) -> object:
        if losses:
            raise losses.pop()
        return get(ref, timeout=timeout)

    with crew() as workers:
        monkeypatch.setattr(ray, "get", losing)
        assert dict(workers.share("square", [(n,) for n in range(4)])) == {n: n * n for n in range(4)}
        assert workers.lives == 19


def test_an_error_of_the_work_itself_is_raised() -> None:
    with crew() as workers, pytest.raises(TypeError):
        workers.call("square", "text")


def test_a_call_that_takes_too_long_is_an_error() -> None:
    with crew(patience=3.0) as workers:
        workers.call("square", 1)  # starting takes longer than working
        with pytest.raises(SpreadError, match=r"Worker\.where gave no answer in 3 s"):
            workers.call("where", 30.0)


def test_what_the_cluster_lacks_is_an_error_and_no_endless_wait() -> None:
    with pytest.raises(SpreadError, match="9 Worker need 9 CPU"), crew(9):
        pass
    gpus = Crew(Worker, lambda place: (place,), 2, {"num_gpus": 1})
    with pytest.raises(SpreadError, match="2 Worker need 2 GPU, but the cluster has 1"), gpus:
        pass


def test_an_actor_gets_the_gpus_that_the_settings_give_it() -> None:
    for gpus, visible in ((1, "0"), (0, "")):
        with crew_of(Settings(), Worker, lambda place: (place,), 1, gpus) as workers:
            assert workers.call("environment", "CUDA_VISIBLE_DEVICES") == visible


def test_nodes_that_do_not_come_in_time_are_an_error_and_leave_no_actor_waiting() -> None:
    start = time.monotonic()
    with pytest.raises(SpreadError, match="MELO_NODE_PATIENCE"), crew(9, node_patience=2.0):
        pass
    assert time.monotonic() - start > 2
    with crew(2) as workers:
        assert workers.call("square", 3) == 9


def test_a_cluster_that_is_not_there_is_named_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(SpreadError, match=address), connected(address):
            pass
        assert time.monotonic() - start < 10
