"""Teaching a night's edits: the lead trainer plans, all train, the lead takes in, a portion after the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from pipeline.editing.planning import Plan
from pipeline.telling import Advance
from pipeline.units import UnitStore
from workers.spread import Crew
from workers.trainer import LeadLostError


def teach(
    crew: Crew, edits: pa.Table, portion: int, units: Path, versions: Path, advance: Advance
) -> tuple[str, dict[str, str]]:
    """Makes the version that knows some more edits.

    The edits are cut into portions, so that what is under way at once does not grow with their number. Trained units
    are kept on disk: whoever is killed, nothing is trained twice. When the lead trainer is, its successor knows the
    night's base alone, and is led through the portions again, whose units are all there.

    Args:
        crew: of ``TrainerWorker``s; the first one leads.
        edits: schema REPORTS, in order.
        portion: edits of a portion. Part of what the version depends on, as edits per block are.
        units: folder of trained units.
        versions: folder in which the version gets its own, named by its digest.
        advance: told how many more edits are trained or refused.

    Returns:
        The version's digest, and why those that the model cannot take were left out, by edit id.
    """
    store = UnitStore(units, crew.call("circumstances"))
    portions = [edits.slice(start, portion) for start in range(0, edits.num_rows, portion)]
    told = 0

    def reach(position: int) -> None:
        nonlocal told
        if position > told:  # who is led through portions again hears of them once
            advance(position - told)
            told = position

    while True:
        refused: dict[str, str] = {}
        version = crew.call("version")
        try:
            for number, part in enumerate(portions):
                plan, unfit = crew.call("plan", part, version)
                refused |= unfit
                _train(crew, plan, store, reach, number * portion)
                version = crew.call("commit", plan)
                reach(number * portion + part.num_rows)
            return crew.call("save", version, versions), refused
        except LeadLostError:
            continue


def _train(crew: Crew, plan: Plan, store: UnitStore, reach: Advance, before: int) -> None:
    """Trains the units of a plan, round by round, but for those that were trained before.

    Args:
        crew: trains.
        plan: takes the results in.
        store: keeps them.
        reach: told how many of the night's edits were trained at least once.
        before: those of the portions before this one.
    """
    once: set[str] = set()
    while units := plan.curriculum.units():
        kept = [(unit, store.get(unit)) for unit in units]
        ended = [trained for _, trained in kept if trained is not None]
        once.update(lesson.edit_id for trained in ended for block in trained.unit.lessons for lesson in block)
        missing = [unit for unit, trained in kept if trained is None]
        for number, trained in crew.share("train", [(unit,) for unit in missing]):
            ended.append(replace(trained, unit=missing[number]))
            store.put(ended[-1])
            once.update(lesson.edit_id for block in ended[-1].unit.lessons for lesson in block)
            reach(before + len(once))
        plan.curriculum.finish(ended)
