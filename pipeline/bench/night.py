"""``melo bench night``: what a whole night costs beside the bare editor, and where its time goes."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, RenderableType
from transformers.utils import logging

from pipeline.bench import report
from pipeline.bench.learning import editor_ready
from pipeline.bench.material import Material, gather
from pipeline.bench.measure import alternate, median_seconds, this_machine, thread_counts, threads
from pipeline.editing.edit import Edit
from pipeline.errors import MeloError
from pipeline.journal import Journal
from pipeline.run import run
from pipeline.settings import Settings
from pipeline.telling import QUIET

EDITS, ROUNDS = 1000, 3
QUICK_EDITS, QUICK_ROUNDS = 60, 1
BARE = "bare editor"
SHOWN = {
    "start": ("start",),
    "reading": ("reviewed", "reports"),
    "teaching": ("version",),
    "scoring": ("scores",),
    "registry": ("gate", "registered", "promoted"),
}
"""Columns of seconds, and the steps that each has."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of teaching the same edits.

    Attributes:
        name: of it.
        seconds: from beginning to end, median.
        edits_per_minute: by that.
        of_bare: that, as a share of the bare editor's.
        teaching_per_minute: by the seconds of the step that teaches alone, its actors' start included.
        teaching_of_bare: likewise.
        steps: seconds of each step, medians; ``start`` is what comes before the first: Ray and MLflow.
        success: share of edits said after it.
    """

    name: str
    seconds: float
    edits_per_minute: float
    of_bare: float
    teaching_per_minute: float
    teaching_of_bare: float
    steps: dict[str, float]
    success: float | None


def main(
    *,
    backbone: Path | None = None,
    edits: Path | None = None,
    quick: bool = False,
    as_json: bool = False,
    seed: int = 0,
) -> None:
    """Measures and prints a table, or one JSON object.

    Args:
        backbone: folder of a model; without it model and edits of the shared folder.
        edits: see ``material.gather``.
        quick: fewer edits, one round.
        as_json: print nothing but one JSON object.
        seed: of the edits drawn and of the blocks.

    Raises:
        typer.BadParameter: there is nothing to measure on, or it cannot be edited.
    """
    logging.disable_progress_bar()
    out, progress = Console(quiet=as_json), Console(stderr=True)
    try:
        material = gather(backbone, edits, None, QUICK_EDITS if quick else EDITS, 0, seed)
        frame = report.Frame(
            this_machine(material.backbone.device),
            material.sources,
            material.backbone.task,
            len(material.edits),
            material.refused,
            seed,
        )
        out.print(report.heading(frame))
        with progress.status("nights ..."):
            ways = measure(material, QUICK_ROUNDS if quick else ROUNDS, seed)
    except MeloError as error:
        raise typer.BadParameter(str(error)) from error
    out.print(table(ways, len(material.edits)))
    if as_json:
        print(json.dumps(asdict(frame) | {"ways": [asdict(way) for way in ways]}, indent=2))


def measure(material: Material, rounds: int, seed: int) -> list[Way]:
    """The bare editor on all threads, and whole nights with one trainer and with one a core, in turn."""
    model, edits = material.backbone, material.edits
    editing = Settings().editing.model_copy(update={"seed": seed})
    with tempfile.TemporaryDirectory(prefix="melo-bench-") as scratch:
        reports = _written(edits, Path(scratch) / "reports.jsonl")
        nights = {
            f"night, {count} trainer{'s' if count > 1 else ''}": _Nights(Path(scratch), count, reports, material)
            for count in sorted({1, max(thread_counts())})
        }
        ways: dict[str, Callable[[], AbstractContextManager[Callable[[], Any]]]] = {
            BARE: editor_ready(model, edits, None, editing)
        }
        ways |= {name: night.ready for name, night in nights.items()}
        with threads(max(thread_counts())):
            runs = alternate(ways, rounds, model.device)
        seconds = {name: median_seconds(some) for name, some in runs.items()}
        found = [_way(BARE, seconds, seconds[BARE], {}, None, len(edits))]
        for name, night in nights.items():
            steps = {step: statistics.median(times[step] for times in night.times) for step in night.times[0]}
            found.append(_way(name, seconds, steps["version"], steps, night.success, len(edits)))
        return found


class _Nights:
    """Whole nights over the same reports, each in a home of its own."""

    def __init__(self, scratch: Path, actors: int, reports: Path, material: Material) -> None:
        self._scratch = scratch
        self._actors = actors
        self._reports = reports
        self._backbone = material.backbone.reference
        self.times: list[dict[str, float]] = []
        self.success: float | None = None

    @contextmanager
    def ready(self) -> Iterator[Callable[[], Any]]:
        """For ``alternate``; there is nothing to make ready, the start is part of a night."""
        yield self.once

    def once(self) -> None:
        """One night, from nothing."""
        home = Path(tempfile.mkdtemp(dir=self._scratch))
        settings = Settings(home=home, trainers=self._actors, evaluators=self._actors, mlflow_uri=None)
        began = time.time()
        result = run(settings, str(self._reports), self._backbone, QUIET)
        self.success = None if result.scores is None else result.scores.edit_success
        journal = Journal(home)
        self.times.append(journal.times(journal.nights()[-1], began))
        journal.close()


def _written(edits: Sequence[Edit], path: Path) -> Path:
    rows = [
        {"prompt": edit.prompt, "target": edit.target, "rephrases": edit.rephrases, "locality": edit.locality}
        for edit in edits
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    os.utime(path, (1_700_000_000, 1_700_000_000))  # or it would count as still being written
    return path


def _way(
    name: str, seconds: dict[str, float], teaching: float, steps: dict[str, float], success: float | None, edits: int
) -> Way:
    per_minute, bare = 60 * edits / seconds[name], seconds[BARE]
    return Way(
        name, seconds[name], per_minute, bare / seconds[name], 60 * edits / teaching, bare / teaching, steps, success
    )


def table(ways: Sequence[Way], edits: int) -> RenderableType:
    """What it came to, for a person."""
    found = report.new_table(
        f"A night of {edits:,} edits",
        ["", "edits/min", "of bare", "teaching", "of bare", *(f"{shown} s" for shown in SHOWN), "success"],
    )
    for way in ways:
        found.add_row(
            way.name,
            f"{way.edits_per_minute:,.0f}",
            f"{way.of_bare:.0%}",
            f"{way.teaching_per_minute:,.0f}",
            f"{way.teaching_of_bare:.0%}",
            *(f"{sum(way.steps[step] for step in steps):.1f}" if way.steps else "" for steps in SHOWN.values()),
            "" if way.success is None else f"{way.success:.3f}",
        )
    return report.with_notes(
        found,
        "Bare: EditedModel.edit on all threads, model loaded, index on disk. A night: from the start of Ray and of an "
        "empty MLflow store to the champion; teaching: its step that makes the version, with the start of its actors.",
    )
