"""Looking at edits: what a version has, and the trail of one from its reports to the versions that serve it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from pipeline.commands.common import out, plain_errors, print_json, the_champion, the_registry
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.registry.tracking import Registered, Registry
    from pipeline.tellings import Telling
    from pipeline.trail import Trails


def listing(number: int | None, as_json: bool) -> None:
    """The champion's edits; or those of a version, with the reports that each rests on."""
    from pipeline import edit_screens
    from pipeline.editlog import records_of

    settings = Settings()
    reports: dict[str, list[Telling]] = {}
    with plain_errors():
        if number is None:
            rows = records_of(the_champion(settings).folder).to_pylist()
        else:
            with _trails(settings) as (registry, trails):
                rows = records_of(registry.version(number).folder).to_pylist()
                reports = trails.reports([row["edit_id"] for row in rows])
    if as_json:
        told = [row | {"reports": list(map(asdict, reports.get(row["edit_id"], ())))} for row in rows]
        print_json(rows if number is None else told)
        return
    for row in rows:
        out.print(edit_screens.edit_line(row["edit_id"], row["state"], row["prompt"], row["target"]))
        for one in reports.get(row["edit_id"], ()):
            out.print(edit_screens.telling(one))


def show(beginning: str, as_json: bool) -> None:
    """Everything about one edit."""
    from pipeline import edit_screens
    from pipeline.editlog import records_of

    settings = Settings()
    with plain_errors(), _trails(settings) as (registry, trails):
        found, record = dict.fromkeys(trails.find(beginning)), None
        champion = registry.champion()
        if champion is not None:  # it may have been made in another home
            rows = {row["edit_id"]: row for row in records_of(champion.folder).to_pylist()}
            found |= dict.fromkeys(edit for edit in rows if edit.startswith(beginning))
            record = rows.get(next(iter(found), ""))
        if len(found) != 1:
            what = f"begins the ids of {len(found)} edits: give more of it" if found else "begins the id of no edit"
            raise typer.BadParameter(f"{beginning!r} {what}; melo edits lists those of the champion")
        trail = trails.trail(next(iter(found)), record)
    if as_json:
        print_json(asdict(trail))
    else:
        out.print(edit_screens.trail(trail))


@contextmanager
def _trails(settings: Settings) -> Iterator[tuple[Registry, Trails]]:
    from pipeline.journal import Journal
    from pipeline.trail import Trails

    registry = the_registry(settings)
    journal = Journal(settings.home)
    try:
        yield registry, Trails(journal, registry.history())
    finally:
        journal.close()


def resting_on(
    settings: Settings, champion: Registered, reporter: str
) -> tuple[list[dict[str, Any]], list[tuple[dict[str, Any], list[str]]]]:
    """The champion's live edits that a reporter alone asked for, and those that others asked for, too, with who."""
    from pipeline.editlog import records_of

    with _trails(settings) as (_, trails):
        rows = {row["edit_id"]: row for row in records_of(champion.folder).to_pylist()}
        alone, others = trails.sole([edit for edit, row in rows.items() if row["state"] == "live"], reporter)
    return [rows[edit] for edit in alone], [(rows[edit], who) for edit, who in others.items()]
