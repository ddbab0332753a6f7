"""Which version was in use when, and who changed that, why and on what figures.

Every move of the alias ``champion`` is a run of an MLflow experiment of its own: written before the alias moves
(status RUNNING), ended after it (FINISHED). They live in MLflow and not beside the journal, so that they are where the
alias is: whoever sees the champion, from whatever machine, sees how it came to be it. A run's tags are written with
the run in one transaction. A crash between the two writes leaves a RUNNING run, which the next reader settles by where
the alias points: FINISHED if it moved, FAILED if it did not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, cast, get_args

from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.registry.store import NOT_FINITE, log_scores

Kind = Literal["promotion", "rollback", "found"]
WHY_CHARACTERS = 4000
"""MLflow holds no longer tags than twice that."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """One move of the champion.

    Attributes:
        kind: ``promotion``, ``rollback``, or ``found``: the alias was moved in MLflow itself, and that was noticed.
        from_version: what was in use before; None the first time.
        to_version: what is in use from then on.
        when: UTC, to the millisecond.
        by: who or what moved it.
        why: the reason given.
        figures: the scores it was decided on.
    """

    kind: Kind
    from_version: int | None
    to_version: int
    when: datetime
    by: str
    why: str
    figures: dict[str, float]


class Promotions:
    """The moves of one registered model's champion, append-only.

    Args:
        client: of the store.
        experiment_id: of the experiment that holds them and nothing else.
        champion: reads where the alias points.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, champion: Callable[[], int | None]) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._champion = champion

    def history(self) -> list[Promotion]:
        """All moves, the oldest first, after what a crash or a hand in MLflow left unsettled is settled."""
        champion, runs = self._champion(), self._runs()
        while (now := self._champion()) != champion:  # somebody promotes meanwhile: the two belong together
            champion, runs = now, self._runs()
        moves = [_promotion(run) for run in runs if run.info.status == "FINISHED" or self._settle(run, champion)]
        known = moves[-1].to_version if moves else None
        if champion is None or champion == known:
            return moves
        why = "the alias was moved in MLflow itself"
        return [*moves, self.move("found", known, champion, "unknown", why, {}, lambda: None)]

    def move(
        self,
        kind: Kind,
        from_version: int | None,
        to_version: int,
        by: str,
        why: str,
        figures: Mapping[str, float],
        act: Callable[[], None],
    ) -> Promotion:
        """Writes down a move around ``act``, which makes it. See ``Promotion`` for the other arguments."""
        runs = self._runs()
        latest = runs[-1].info.start_time if runs else 0
        tags = {"melo.kind": kind, "melo.to": str(to_version), "melo.by": by, "melo.why": why[:WHY_CHARACTERS]}
        if from_version is not None:
            tags["melo.from"] = str(from_version)
        run_id = self._client.create_run(
            self._experiment_id,
            start_time=max(int(time.time() * 1000), latest + 1),  # in order, even if the clock was set back
            tags=tags,
            run_name=f"{kind} {from_version or 'none'} to {to_version}",
        ).info.run_id
        log_scores(self._client, run_id, figures)
        act()
        self._client.set_terminated(run_id, "FINISHED")
        return _promotion(self._client.get_run(run_id))

    def _settle(self, run: Run, champion: int | None) -> bool:
        """Ends a run that was left open; whether its move took place. A promoter still at work ends it again itself."""
        if run.info.status != "RUNNING":
            return False
        moved = int(run.data.tags["melo.to"]) == champion
        self._client.set_terminated(run.info.run_id, "FINISHED" if moved else "FAILED")
        return moved

    def _runs(self) -> list[Run]:
        """All of our runs, by start time; what else somebody logged into the experiment is passed over."""
        runs, token = [], None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], order_by=["attributes.start_time ASC"], page_token=token
            )
            runs += [run for run in page if run.data.tags.get("melo.kind") in get_args(Kind)]
            token = page.token
            if not token:
                return runs


def in_use(history: Sequence[Promotion], at: datetime) -> int | None:
    """The version that was champion at a time; None before the first.

    Raises:
        ValueError: the time has no zone.
    """
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone, so it could mean several moments: add one")
    return next((move.to_version for move in reversed(history) if move.when <= at), None)


def before(history: Sequence[Promotion]) -> int | None:
    """The version that a rollback leads to: the one that the champion replaced. One more leads further back."""
    stack: list[int] = []
    for move in history:
        if move.kind == "rollback":
            while stack and stack[-1] != move.to_version:
                stack.pop()
        else:
            stack.append(move.to_version)
    return stack[-2] if len(stack) > 1 else None


def _promotion(run: Run) -> Promotion:
    tags = run.data.tags
    figures = dict(run.data.metrics)
    figures |= {name.removeprefix(NOT_FINITE): float(tags[name]) for name in tags if name.startswith(NOT_FINITE)}
    return Promotion(
        cast(Kind, tags["melo.kind"]),
        int(tags["melo.from"]) if "melo.from" in tags else None,
        int(tags["melo.to"]),
        datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        tags["melo.by"],
        tags["melo.why"],
        figures,
    )
