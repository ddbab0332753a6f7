"""Table 3: edits a minute and what is kept beside the backbone, every editor on the same stream."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import RenderableType

from pipeline.bench.editors.protocol import Editor
from pipeline.bench.report import new_table, with_notes
from pipeline.bench.study.contest import Result, kept, learn, timed
from pipeline.bench.study.material import Study
from pipeline.bench.study.published import TABLE3
from pipeline.bench.study.tasks import TaskName
from pipeline.telling import Teller

PATIENCE = 60.0
"""Seconds: an editor that takes longer to prepare and learn the stream is run once, not at all if Table 2 had it."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast an editor learns the stream.

    Attributes:
        name: of it.
        ruled_out: why the task is not for it; None where it took part.
        rounds: that it was run; 1 for what Table 2 has measured.
        seconds: median over them, without what it prepares before the first edit.
        prepare_seconds: that.
        edits_per_minute: by ``seconds``; None for who has nothing to learn and only takes edits down.
        size: see ``Editor.size``.
        of_melo: how many times MELO's seconds it takes; None where MELO is not there, or nothing is learned.
    """

    name: str
    ruled_out: str | None
    rounds: int = 0
    seconds: float = 0.0
    prepare_seconds: float = 0.0
    edits_per_minute: float | None = None
    size: int = 0
    of_melo: float | None = None


def measure(
    study: Study, editors: Mapping[str, type[Editor]], rounds: int, folder: Path, teller: Teller
) -> list[Speed]:
    """Runs the editors in turn, ``rounds`` times, slow ones once.

    Args:
        study: whose stream is learned.
        editors: by name.
        rounds: of each that is fast.
        folder: where Table 2 keeps what slow ones took.
        teller: shows how far it is.
    """
    seconds: dict[str, list[float]] = {name: [] for name in editors}
    prepared: dict[str, float] = {}
    sizes: dict[str, int] = {}
    out = {name: why for name, kind in editors.items() if (why := kind.ruled_out(study.backbone.task))}
    for name in editors:
        before = kept(folder, name, study)
        if before is not None and before[0].prepare_seconds + before[0].edit_seconds > PATIENCE:
            result = before[0]
            seconds[name], prepared[name], sizes[name] = [result.edit_seconds], result.prepare_seconds, result.size
    for _ in range(rounds):
        for name, kind in editors.items():
            if name in out or (seconds[name] and seconds[name][0] + prepared[name] > PATIENCE):
                continue
            with closing(kind(study.backbone, study.prior)) as editor:
                prepared[name] = timed(study.backbone.device, editor.prepare)
                seconds[name].append(learn(study, editor, name, teller))
                sizes[name] = editor.size()
    return [
        Speed(name, out[name]) if name in out else _speed(study, name, seconds, prepared[name], sizes[name])
        for name in editors
    ]


def _speed(study: Study, name: str, seconds: Mapping[str, Sequence[float]], prepared: float, size: int) -> Speed:
    took = statistics.median(seconds[name])
    rate = Result(name, None, len(study.edits), edit_seconds=took).edits_per_minute
    melo = statistics.median(seconds["melo"]) if seconds.get("melo") and rate is not None else None
    return Speed(name, None, len(seconds[name]), took, prepared, rate, size, took / melo if melo else None)


def table3(task: TaskName, edits: int, speeds: Sequence[Speed]) -> RenderableType:
    """Speed and size; on the paper's own task its figures beside them."""
    published = TABLE3 if task == "zsre" else {}
    heads = ["", "edits/min", "of melo's", "rounds", "prepared", "M kept"]
    heads += [f"{name}:\n{column}" for name in published for column in ("edits/min", "M")]
    table = new_table(f"Table 3: learning {edits:,} edits", heads)
    for speed in speeds:
        if speed.ruled_out is not None:
            table.add_row(speed.name, "-")
            continue
        theirs = [
            published[name].get(speed.name, {}).get(c) for name in published for c in ("edits/min", "M parameters")
        ]
        table.add_row(
            speed.name,
            "-" if speed.edits_per_minute is None else f"{speed.edits_per_minute:,.0f}",
            "" if speed.of_melo is None else f"{speed.of_melo:,.2f}x",
            str(speed.rounds),
            f"{speed.prepare_seconds:,.1f} s",
            f"{speed.size / 1e6:,.3f}",
            *("" if figure is None else f"{figure:g}" for figure in theirs),
            style="bold" if speed.name == "melo" else None,
        )
    paper = "t5-small (60M) and t5-large (770M): the paper's, 1,000 edits on an RTX 3090."
    return with_notes(
        table,
        "Of melo's: times MELO's seconds. Editors take turns in one process; medians; slow ones once, or as they ran "
        "for Table 2. Prepared: what is learned before the first edit, not counted. M kept: million weights added or "
        "changed, keys, values, other models, a text at a number a token.",
        *([paper] if published else []),
        *(f"{speed.name}: -, {speed.ruled_out}" for speed in speeds if speed.ruled_out is not None),
    )
