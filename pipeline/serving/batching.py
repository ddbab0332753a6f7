"""Requests that come side by side are answered side by side.

One thread answers. While it does, requests wait; then all that ask for the same way to generate go together, up to a
number of prompts. Nothing waits for others to come: alone a request is answered at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from pipeline.editing.edit import Route
from pipeline.serving.champion import Champion

PROMPTS = 32
"""Answered side by side at most, but for one request that has more."""

NO_CHAMPION = "there is no champion yet: melo run makes one"

Arguments = tuple[tuple[str, Any], ...]
"""Of ``generate``, sorted by name, so that equal ones are equal."""


class NotReadyError(RuntimeError):
    """There is no champion yet, or serving has ended."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request gets.

    Attributes:
        number: of the version that answered all of it.
        digest: of that version.
        answers: an answer and a route a prompt.
        edits: the prompts that the edits were taught with which spoke, by edit id.
    """

    number: int
    digest: str
    answers: list[tuple[str, Route]]
    edits: dict[str, str]


@dataclass(eq=False, slots=True)
class _Job:
    prompts: list[str]
    arguments: Arguments
    answer: Future[Answered] = field(default_factory=Future)


class Batcher:
    """Answers requests of any number of threads, on one of its own.

    Args:
        champion: answers.
        told: how many prompts go together, each time.
    """

    def __init__(self, champion: Champion, told: Callable[[int], None] = lambda prompts: None) -> None:
        self._champion = champion
        self._told = told
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)
        self._thread.start()

    def submit(self, prompts: list[str], arguments: dict[str, Any]) -> Future[Answered]:
        """The answer, once it is there. Cancelled before its turn, a request costs nothing.

        The future's errors: ``NotReadyError``, and what ``EditedModel.respond`` raises.
        """
        job = _Job(prompts, tuple(sorted(arguments.items())))
        with self._changed:
            if self._over:
                job.answer.set_exception(NotReadyError("serving has ended"))
            else:
                self._waiting.append(job)
                self._changed.notify()
        return job.answer

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._waiting)

    def close(self) -> None:
        """Answers what waits, and nothing that comes later."""
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while jobs := self._next():
            jobs = [job for job in jobs if job.answer.set_running_or_notify_cancel()]
            if jobs:
                self._answer(jobs)

    def _next(self) -> list[_Job]:
        """The first that waits and those that can go with it; none once all is over."""
        with self._changed:
            while not (self._waiting or self._over):
                self._changed.wait()
            if not self._waiting:
                return []
            chosen = [self._waiting.popleft()]
            count = len(chosen[0].prompts)
            for job in list(self._waiting):
                if job.arguments == chosen[0].arguments and count + len(job.prompts) <= PROMPTS:
                    self._waiting.remove(job)
                    chosen.append(job)
                    count += len(job.prompts)
            return chosen

    def _answer(self, jobs: list[_Job]) -> None:
        try:
            with self._champion.held() as served:
                if served is None:
                    raise NotReadyError(NO_CHAMPION)
                prompts = [prompt for job in jobs for prompt in job.prompts]
                self._told(len(prompts))
                said = served.model.respond(prompts, **dict(jobs[0].arguments))
                records = served.model.records
                spoke = {route.edit_id for _, route in said if route.edit_id is not None}
                taught = {edit_id: records[edit_id].edit.prompt for edit_id in spoke}
            for job in jobs:
                own, said = said[: len(job.prompts)], said[len(job.prompts) :]
                edits = {route.edit_id: taught[route.edit_id] for _, route in own if route.edit_id is not None}
                job.answer.set_result(Answered(served.number, served.digest, own, edits))
        except Exception as error:  # told to who asked, and the next ones get their turn
            if len(jobs) == 1:
                jobs[0].answer.set_exception(error)
                return
            for job in jobs:  # one request that cannot be answered is no reason to refuse the others
                self._answer([job])
