"""``melo bench growth``: nights that bring one model to ten thousand edits, and what it is after each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from transformers.utils import logging

from pipeline.bench import report
from pipeline.bench.blend import BACKBONE, KNOWN, Blend, backlogs, blend
from pipeline.bench.growth_report import draw, rows_of, table, told
from pipeline.bench.material import MaterialError, shared_folder
from pipeline.bench.measure import Machine, this_machine
from pipeline.bench.stage import Stage, measured
from pipeline.bench.study.commands import wide
from pipeline.bench.study.keeping import Findings, keep
from pipeline.editing.backbone import Backbone
from pipeline.editing.folder import read_manifest
from pipeline.editing.loading import load_backbone
from pipeline.errors import MeloError
from pipeline.evaluation.gate import GateSettings
from pipeline.journal import Journal, Night
from pipeline.run import run
from pipeline.settings import EditingSettings, Settings
from pipeline.telling import Teller
from workers.connect import connected

EDITS = 10_000
PARTS = (0.1, 0.2, 0.5, 1.0)
"""Of all edits: how many have come when each night is over."""
ROUNDS = 30
"""Batches of each size whose routes are timed."""
NAME = "growth"
OPEN_GATE = GateSettings(**dict.fromkeys(GateSettings.model_fields))
"""Asks for nothing: what is grown is looked at, and not used."""


def main(
    *,
    backbone: Path | None = None,
    reports: Sequence[Path] = (),
    edits: int = EDITS,
    as_json: bool = False,
    seed: int = 0,
) -> None:
    """Runs the nights that have not ended yet, and prints a table, or one JSON object.

    Everything is kept under ``MELO_HOME/bench/growth``; a call that was stopped is gone on with by the same call.

    Args:
        backbone: folder of a model; without it the shared one, with what it knows as its upstream task.
        reports: files of edits; without them those of the shared folder.
        edits: how many there are to be in the end; made-up ones are added where the files have fewer.
        as_json: print nothing but one JSON object.
        seed: of the edits drawn, of their order, and of the blocks.

    Raises:
        typer.BadParameter: there is nothing to edit, it cannot be edited, or other edits were begun with.
    """
    settings = Settings()
    home = settings.home.absolute() / "bench" / NAME
    logging.disable_progress_bar()
    shown, teller = wide(Console(quiet=as_json, markup=False)), Teller(Console(stderr=True, markup=False))
    upstream = settings.upstream or (_known() if backbone is None else None)
    try:
        model = load_backbone(str(backbone or shared_folder() / "models" / BACKBONE))
        machine = this_machine(model.device)
        blended = blend(model, reports, edits, seed)
        ends = sorted({max(1, round(part * len(blended.edits))) for part in PARTS})
        changes = {
            "home": home,
            "name": f"{settings.name}-{NAME}",
            "mlflow_uri": None,
            "gate": OPEN_GATE,
            "upstream": upstream,
            "editing": settings.editing.model_copy(update={"seed": seed}),
        }
        folders = backlogs(blended, ends, home / "backlog")
        settings = settings.model_copy(update=changes)
        stages = grown(settings, model, folders, ends[0], seed, teller)
        editing = _settings_of(stages[-1].version)
        picture = draw(stages, home / f"{NAME}.png")
        found = told(stages) | _frame(machine, model, blended, seed, editing)
        keep(Findings(NAME, found, rows_of(stages), stages[-1].scores.flat(), [picture]), home, settings)
    except (MeloError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    if as_json:
        print(json.dumps(found, indent=2))
        return
    sources = (model.reference, *blended.sources)
    shown.print(report.heading(report.Frame(machine, sources, model.task, len(blended.edits), blended.refused, seed)))
    shown.print(Text(f"settings: {json.dumps(editing)}"), table(stages), sep="\n")
    shown.print(f"\npicture, table and JSON in {home}", highlight=False)


def grown(
    settings: Settings, backbone: Backbone, sources: Sequence[Path], edge: int, seed: int, teller: Teller
) -> list[Stage]:
    """A night for every backlog that none has ended with yet, and what each came to.

    Args:
        settings: of the nights; their home is this model's alone.
        backbone: that is edited.
        sources: of reports, one after the other.
        edge: see ``measured``.
        seed: likewise.
        teller: tells how far it is.

    Raises:
        MaterialError: a night taught nothing.
    """
    stages = []
    with connected(settings.ray_address):
        for backlog in sources:
            while (night := _ended(settings.home, backlog)) is None:
                result = run(settings, str(backlog), backbone.reference, teller)
                if result.source == str(backlog) and not result.promoted:
                    raise MaterialError(
                        f"night {result.night} brought nothing of {backlog} into use: {result.counts}, and the model "
                        f"cannot take {result.refused}"
                    )
            journal = Journal(settings.home)
            stages.append(measured(journal, night, backbone, edge, ROUNDS, seed))
            journal.close()
            teller.say(f"{stages[-1].live:,} edits, success {stages[-1].scores.edit_success}")
    return stages


def _ended(home: Path, backlog: Path) -> Night | None:
    """The night that made a version with a backlog."""
    journal = Journal(home)
    try:
        nights = [night for night in journal.nights() if night.source == str(backlog)]
        return next((night for night in nights if night.outcome == "promoted"), None)
    finally:
        journal.close()


def _known() -> Path | None:
    """What the shared backbone knows, where it is there."""
    known = shared_folder() / "data" / f"{KNOWN}.jsonl"
    return known if known.is_file() else None


def _settings_of(version: Path) -> dict[str, Any]:
    """What differs from the defaults in the settings that a version was made with."""
    usual = EditingSettings().model_dump(mode="json")
    return {name: value for name, value in read_manifest(version).settings.items() if value != usual.get(name)}


def _frame(machine: Machine, backbone: Backbone, blended: Blend, seed: int, editing: dict[str, Any]) -> dict[str, Any]:
    places = Counter(name for name, _ in blended.edits)
    return {
        "machine": asdict(machine),
        "backbone": backbone.reference,
        "sources": list(blended.sources),
        "places": dict(places),
        "refused": blended.refused,
        "seed": seed,
        "editing": editing,
    }
