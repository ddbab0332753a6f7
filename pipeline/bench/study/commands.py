"""``melo bench table2`` and the others of the study: gather, measure, show, keep."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text
from transformers.utils import logging

from pipeline.bench import report
from pipeline.bench.measure import this_machine
from pipeline.bench.study.gathering import gather
from pipeline.bench.study.keeping import Findings, keep
from pipeline.bench.study.material import Study, Wanted
from pipeline.bench.study.tasks import TASKS
from pipeline.errors import MeloError
from pipeline.settings import EditingSettings, Settings
from pipeline.telling import Teller

WIDTH = 100
"""Columns of what goes into a file or a pipe."""


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """What a command works with.

    Attributes:
        study: what is measured on.
        quick: whether it is only tried.
        folder: where results go.
        editors: folder of what each editor came to, the same for all commands of a task.
        settings: of the editor that the figures look at.
        teller: shows how far it is.
    """

    study: Study
    quick: bool
    folder: Path
    editors: Path
    settings: EditingSettings
    teller: Teller


Found = tuple[Sequence[RenderableType], Findings]


def run(measure: Callable[[Bench], Found], name: str, wanted: Wanted, out: Path | None, as_json: bool) -> None:
    """Gathers what is wanted, measures, prints tables (or one JSON object), and keeps everything.

    Args:
        measure: what is measured.
        name: of the command.
        wanted: what on.
        out: folder of the results; None: under ``MELO_HOME/bench``.
        as_json: print nothing but one JSON object.

    Raises:
        typer.BadParameter: there is nothing to measure on, or it cannot be edited.
    """
    settings = Settings()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    shown, teller = wide(Console(quiet=as_json, markup=False)), Teller(Console(stderr=True, markup=False))
    home = settings.home.absolute() / "bench"
    try:
        study = gather(replace(wanted, made=home), teller)
        task = "-".join([study.task, *(["quick"] if wanted.quick else [])])
        name = f"{name}-{task}"
        folder, editors = out or home / name, (out or home / task) / "editors"
        editing = settings.editing.model_copy(update={"seed": wanted.seed})
        shown.print(_heading(study))
        tables, findings = measure(Bench(study, wanted.quick, folder, editors, editing, teller))
        findings = replace(findings, name=name, told={"study": _frame(study)} | dict(findings.told))
        shown.print(*tables, sep="\n")
        keep(findings, folder, settings)
    except (MeloError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    if as_json:
        print(json.dumps(findings.told, indent=2, default=str))
    else:
        shown.print(f"\nkept in {folder} and in MLflow, experiment {settings.name}-study", highlight=False)


def _heading(study: Study) -> RenderableType:
    frame = report.Frame(
        this_machine(study.backbone.device),
        study.sources,
        study.backbone.task,
        len(study.edits),
        study.refused,
        study.seed,
    )
    holdouts = sum(len(edit.rephrases) for edit in study.edits)
    asked = f"{holdouts} holdouts, {len(study.upstream)} upstream questions, {len(study.accurate)} accurate outputs"
    learned = f"{len(study.prior.pairs)} edits and {len(study.prior.upstream)} upstream questions to learn from before"
    return Group(Text(TASKS[study.task].title, style="bold"), report.heading(frame), Text(f"{asked}; {learned}"))


def _frame(study: Study) -> dict[str, Any]:
    return {
        "task": study.task,
        "digest": study.digest,
        "seed": study.seed,
        "sources": list(study.sources),
        "edits": len(study.edits),
        "refused": study.refused,
        "machine": asdict(this_machine(study.backbone.device)),
    }


def wide(console: Console) -> Console:
    """Where nobody looks through a window of some width, the tables have theirs."""
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    return console
