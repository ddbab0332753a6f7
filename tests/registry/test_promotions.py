"""What a history answers, and how it is kept when the promoter is killed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.registry import promotions
from pipeline.registry.promotions import Kind, Promotion, Promotions, before, in_use
from pipeline.registry.tracking import Registry
from tests.registry.conftest import Version

START = datetime(2026, 1, 1, tzinfo=UTC)


class Killed(BaseException):
    """Nothing catches it, so nothing is tidied up: what is in the store is what a SIGKILL leaves there."""


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Callable[[Registry, str], pytest.MonkeyPatch]:
    """Makes a registry die when it calls a method of MLflow's client; undo() brings it back."""

    def arm(registry: Registry, method: str) -> pytest.MonkeyPatch:
        def die(*_: Any, **__: Any) -> None:
            raise Killed

        monkeypatch.setattr(registry._client, method, die)
        return monkeypatch

    return arm


def moves(*made: tuple[Kind, int | None, int]) -> list[Promotion]:
    return [Promotion(*move, START + timedelta(hours=hour), "me", "", {}) for hour, move in enumerate(made)]


def shape(history: list[Promotion]) -> list[tuple[Kind, int | None, int]]:
    return [(move.kind, move.from_version, move.to_version) for move in history]


def test_in_use_is_the_last_move_until_then() -> None:
    history = moves(("promotion", None, 1), ("promotion", 1, 4), ("rollback", 4, 1))
    hours = (-1, 0, 0.5, 1, 1.999, 2, 1000)
    found = [in_use(history, START + timedelta(hours=hour)) for hour in hours]
    assert found == [None, 1, 1, 4, 4, 1, 1]
    assert in_use([], START) is None


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        in_use(moves(("promotion", None, 1)), datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("made", "target"),
    [
        ([], None),
        ([("promotion", None, 1)], None),
        ([("promotion", None, 1), ("promotion", 1, 2)], 1),
        ([("promotion", None, 1), ("promotion", 1, 2), ("promotion", 2, 3), ("rollback", 3, 2)], 1),
        ([("promotion", None, 1), ("promotion", 1, 2), ("rollback", 2, 1)], None),
        ([("promotion", None, 1), ("promotion", 1, 2), ("rollback", 2, 1), ("promotion", 1, 3)], 1),
        ([("promotion", None, 1), ("found", 1, 5), ("promotion", 5, 6)], 5),
    ],
)
def test_a_rollback_leads_to_what_the_champion_replaced(
    made: list[tuple[Kind, int | None, int]], target: int | None
) -> None:
    assert before(moves(*made)) == target


def test_promotions_and_rollbacks_are_recorded(registry: Registry, versions: list[Version]) -> None:
    began = datetime.now(UTC) - timedelta(milliseconds=1)  # history is to the millisecond
    for version in versions:
        registry.register(**version.arguments())
    assert registry.history() == [] and registry.champion() is None and registry.in_use(datetime.now(UTC)) is None
    registry.promote(1, "gate", "first", {"edit_success": 1.0, "perplexity": float("inf")})
    registry.promote(2, "anna", "better ✓", {})
    last = registry.promote(3, "gate", "better still", {"edit_success": 0.5})
    assert shape(registry.history()) == [("promotion", None, 1), ("promotion", 1, 2), ("promotion", 2, 3)]
    assert registry.history()[-1] == last
    assert [(move.by, move.why) for move in registry.history()] == [
        ("gate", "first"),
        ("anna", "better ✓"),
        ("gate", "better still"),
    ]
    assert registry.history()[0].figures == {"edit_success": 1.0, "perplexity": float("inf")}
    whens = [move.when for move in registry.history()]
    assert began <= whens[0] < whens[1] < whens[2] <= datetime.now(UTC)
    assert [registry.in_use(when) for when in [began, *whens]] == [None, 1, 2, 3]

    assert registry.rollback("ben", "complaints").to_version == 2
    assert registry.rollback("ben", "more of them").to_version == 1
    assert registry.history()[-1].figures == registry.figures(1) != {}
    champion = registry.champion()
    assert champion is not None and (champion.number, champion.digest) == (1, versions[0].digest)
    assert registry.in_use(datetime.now(UTC)) == 1
    assert registry.in_use(whens[2]) == 3  # rollbacks do not change the past


def test_the_champion_is_promoted_once(local: Registry, versions: list[Version]) -> None:
    local.register(**versions[0].arguments())
    first = local.promote(1, "gate", "good", {})
    assert local.promote(1, "gate", "good", {}) == first
    assert local.history() == [first]


def test_killed_before_the_alias_moved(
    local: Registry, versions: list[Version], kill: Callable[[Registry, str], pytest.MonkeyPatch]
) -> None:
    for version in versions[:2]:
        local.register(**version.arguments())
    local.promote(1, "gate", "first", {})
    patch = kill(local, "set_registered_model_alias")
    with pytest.raises(Killed):
        local.promote(2, "gate", "better", {})
    patch.undo()
    assert shape(local.history()) == [("promotion", None, 1)]
    local.promote(2, "gate", "better", {})
    assert shape(local.history()) == [("promotion", None, 1), ("promotion", 1, 2)]


@pytest.mark.parametrize("again", [True, False])
def test_killed_after_the_alias_moved(
    local: Registry, versions: list[Version], kill: Callable[[Registry, str], pytest.MonkeyPatch], again: bool
) -> None:
    for version in versions[:2]:
        local.register(**version.arguments())
    local.promote(1, "gate", "first", {})
    patch = kill(local, "set_terminated")
    with pytest.raises(Killed):
        local.promote(2, "gate", "better", {"f1": 0.25})
    patch.undo()
    if again:  # as a run that goes on after the crash does
        local.promote(2, "gate", "better", {"f1": 0.25})
    assert shape(local.history()) == [("promotion", None, 1), ("promotion", 1, 2)]
    assert local.history()[-1].figures == {"f1": 0.25}
    assert local.rollback("ben", "complaints").to_version == 1


def test_an_alias_moved_by_hand_is_noticed(local: Registry, versions: list[Version]) -> None:
    for version in versions[:2]:
        local.register(**version.arguments())
    local.promote(1, "gate", "first", {})
    local._client.set_registered_model_alias(local.name, "champion", "2")
    assert shape(local.history()) == [("promotion", None, 1), ("found", 1, 2)]
    assert local.history()[-1].by == "unknown"
    assert len(local.history()) == 2
    assert local.rollback("ben", "who was that?").to_version == 1


def test_a_promotion_meanwhile_is_no_hand_in_mlflow(local: Registry, versions: list[Version]) -> None:
    for number, version in enumerate(versions[:2], start=1):
        local.register(**version.arguments())
        local.promote(number, "gate", "good", {})
    experiment = local._client.get_experiment_by_name(f"{local.name}-promotions")
    assert experiment is not None
    seen = iter([1, 2, 2])  # the alias moves after it was read first
    watching = Promotions(local._client, experiment.experiment_id, lambda: next(seen))
    assert shape(watching.history()) == [("promotion", None, 1), ("promotion", 1, 2)]


def test_order_survives_a_clock_set_back(
    local: Registry, versions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in versions[:2]:
        local.register(**version.arguments())
    local.promote(1, "gate", "first", {})
    monkeypatch.setattr(promotions.time, "time", lambda: 1_000_000_000.0)
    local.promote(2, "gate", "better", {})
    monkeypatch.undo()
    assert shape(local.history()) == [("promotion", None, 1), ("promotion", 1, 2)]
    assert local.history()[0].when < local.history()[1].when


def test_what_others_log_beside_the_history_is_passed_over(local: Registry, versions: list[Version]) -> None:
    local.register(**versions[0].arguments())
    local.promote(1, "gate", "first", {})
    experiment = local._client.get_experiment_by_name(f"{local.name}-promotions")
    assert experiment is not None
    stray = local._client.create_run(experiment.experiment_id)
    assert shape(local.history()) == [("promotion", None, 1)]
    assert local._client.get_run(stray.info.run_id).info.status == "RUNNING"


def test_a_long_reason_is_cut_and_not_lost(local: Registry, versions: list[Version]) -> None:
    local.register(**versions[0].arguments())
    why = "locality 0.5 < 0.9; " * 1000
    assert local.promote(1, "gate", why, {}).why == why[: promotions.WHY_CHARACTERS]
