"""How a run is spread over Ray: actors are made, given numbered work, and replaced when they die.

Nothing is derived from the order of calls. Every piece of work has a number, its result is the same whoever did it,
and what a dead actor was doing is given to another one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, ObjectLostError, RayActorError, RayError, RayTaskError
from structlog.contextvars import get_contextvars

from pipeline import metrics
from pipeline.errors import MeloError
from pipeline.logs import LOG, Form, night_folder
from pipeline.settings import Settings
from workers.actor import Actor, kind_of
from workers.metering import count

IN_FLIGHT = 2
"""Calls that wait at one actor: the next is there when one ends, and no more is held in memory."""


class SpreadError(MeloError, RuntimeError):
    """Ray is not there, has too little, or lost one actor too often."""


@dataclass
class Crew:
    """Equal actors that share work.

    Args:
        worker: the class that each wraps. Its constructor does nothing that may fail: Ray tells that from a dying
            actor by a text alone.
        arguments: of its constructor, by the actor's place: 0, 1, ...
        count: actors.
        resources: Ray's options of each: ``num_cpus``, ``num_gpus``.
        patience: seconds that one call may take, starting the actor included.
        node_patience: seconds that an autoscaling cluster may take to add the nodes that are needed.
        lives: how often an actor may be replaced in all.
        log: form of the actors' lines on stderr.

    Raises:
        SpreadError: on entering, when the cluster lacks what the actors need and does not get it in time.
    """

    worker: type
    arguments: Callable[[int], tuple[Any, ...]]
    count: int = 1
    resources: Mapping[str, float] = field(default_factory=dict)
    patience: float = 3600.0
    node_patience: float = 0.0
    lives: int = 20
    log: Form = "text"
    _actors: list[ActorHandle[Any]] = field(default_factory=list)

    def __enter__(self) -> Crew:
        if self.node_patience == 0:
            self._check_resources()  # Ray waits for ever for what it doesn't have, and says nothing
        self._actors = [self._start(place) for place in range(self.count)]
        deadline = time.monotonic() + self.node_patience
        while True:
            try:
                self._check_resources()
                return self
            except SpreadError:
                if time.monotonic() > deadline:
                    self.__exit__()
                    raise
            time.sleep(1)  # actors that wait are what an autoscaler adds nodes for

    def __exit__(self, *_: object) -> None:
        for actor in self._actors:
            ray.kill(actor)

    def call(self, method: str, *arguments: Any) -> Any:
        """One call of the first actor; again, of its successor, when it dies."""
        return next(iter(self.share(method, [arguments], first=True)))[1]

    def share(
        self,
        method: str,
        calls: Sequence[tuple[Any, ...]],
        first: bool = False,
    ) -> Iterator[tuple[int, Any]]:
        """Gives calls to whoever is free.

        Args:
            method: of the worker.
            calls: arguments of each.
            first: only the first actor may have them.

        Yields:
            Number and result of each call, as they end.

        Raises:
            SpreadError: a call took longer than ``patience``, or actors died more often than ``lives``.
            Exception: what a worker raised.
        """
        waiting = deque(range(len(calls)))
        flying: dict[ray.ObjectRef, tuple[int, int]] = {}
        places = range(1 if first else self.count)
        load = dict.fromkeys(places, 0)
        while waiting or flying:
            while waiting and load[place := min(places, key=load.__getitem__)] < IN_FLIGHT:
                number = waiting.popleft()
                flying[getattr(self._actors[place], method).remote(*calls[number])] = number, place
                load[place] += 1
            ready, _ = ray.wait(list(flying), num_returns=1, timeout=self.patience)
            if not ready:
                raise SpreadError(
                    f"{self.worker.__name__}.{method} gave no answer in {self.patience:.0f} s: look at the actor's "
                    "log, or allow more time in the settings"
                )
            number, place = flying.pop(ready[0])
            load[place] -= 1
            try:
                result = ray.get(ready[0], timeout=self.patience)
            except RayTaskError as error:
                LOG.error("actor failed", actor=self._name(place), method=method, error=str(error.cause))
                raise error.cause from error  # what the worker raised, as if it had been called here
            except (RayActorError, ObjectLostError, GetTimeoutError) as error:  # the last two when a node has died
                waiting.appendleft(number)
                self._replace(place, ready[0], flying, waiting, load, error)
                continue
            except RayError as error:
                raise SpreadError(f"{self.worker.__name__}.{method} did not come back: {error}") from error
            yield number, result

    def _replace(
        self,
        place: int,
        lost: ray.ObjectRef,
        flying: dict[ray.ObjectRef, tuple[int, int]],
        waiting: deque[int],
        load: dict[int, int],
        error: Exception,
    ) -> None:
        """Puts a new actor in a dead one's place, and takes back what that one was given."""
        if self.lives == 0:
            raise SpreadError(f"{self.worker.__name__} died too often, the last time with: {error}") from error
        self.lives -= 1
        ray.kill(self._actors[place])
        taken_back = [ref for ref, (_, where) in flying.items() if where == place]
        for ref in taken_back:
            waiting.appendleft(flying.pop(ref)[0])
        LOG.warning("actor replaced", actor=self._name(place), calls=1 + len(taken_back), error=str(error))
        count(metrics.REPLACED, actor=kind_of(self.worker))
        count(metrics.RETRIED, 1 + len(taken_back), actor=kind_of(self.worker))
        load[place] = 0
        self._actors[place] = self._start(place)

    def _start(self, place: int) -> ActorHandle[Any]:
        actor: Any = ray.remote(self.worker)
        started = actor.options(max_restarts=0, max_task_retries=0, **self.resources).remote(*self.arguments(place))
        if issubclass(self.worker, Actor):
            started.introduce.remote(self._name(place), self.log, night_folder(), get_contextvars())
        count(metrics.STARTED, actor=kind_of(self.worker))
        return cast("ActorHandle[Any]", started)

    def _name(self, place: int) -> str:
        return f"{kind_of(self.worker)}-{place}"

    def _check_resources(self) -> None:
        there = ray.cluster_resources()
        for name, key in (("num_gpus", "GPU"), ("num_cpus", "CPU")):
            wanted = self.count * self.resources.get(name, 0)
            if wanted > there.get(key, 0):
                raise SpreadError(
                    f"{self.count} {self.worker.__name__} need {wanted:g} {key}, but the cluster has "
                    f"{there.get(key, 0):g}: ask for fewer in the settings, add nodes, or give the cluster time to "
                    "add them (MELO_NODE_PATIENCE)"
                )


def crew_of(
    settings: Settings, worker: type, arguments: Callable[[int], tuple[Any, ...]], count: int, gpus: float = 0
) -> Crew:
    """Actors as the settings want them, one CPU each; see ``Crew``."""
    resources = {"num_cpus": 1, "num_gpus": gpus}
    return Crew(worker, arguments, count, resources, settings.patience, settings.node_patience, log=settings.log)
