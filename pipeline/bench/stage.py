"""One night of a growing model as figures: what it knows, what it costs, and how long finding an edit takes."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq

from pipeline.bench.measure import threads
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import normalise
from pipeline.editing.folder import CLUSTERS
from pipeline.editing.model import EditedModel
from pipeline.editlog import records_of
from pipeline.evaluation import Scores
from pipeline.journal import Journal, Night

BATCHES = (1, 32)
"""Prompts that are routed at once."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the edits. A share is None where nothing was asked that would show it.

    Attributes:
        edits: how many were asked.
        success: share whose target is said.
        generality: share of their rephrases that get it.
        led: share of their rephrases that are led to their edit, or to one of the same label.
    """

    edits: int
    success: float | None
    generality: float | None
    led: float | None


@dataclass(frozen=True, slots=True)
class RouteTime:
    """Milliseconds a prompt, one thread, medians.

    Attributes:
        prompts: at once.
        all: from text to edit.
        key: of the whole prompt: what no growth of the index changes, and what routing by clauses does without.
    """

    prompts: int
    all: float
    key: float


@dataclass(frozen=True, slots=True)
class Stage:
    """A model after one night.

    Attributes:
        version: its folder.
        live: edits that it answers.
        taught: edits of the night, those that the model cannot take included.
        refused: how many those are.
        scores: of the night.
        whole: all edits.
        first, last: those that came first and last, as many of each as the first night brought.
        places: name of the file that they came from -> its edits.
        clusters: in the index.
        conflicts: edits that ever entered it by one.
        peak_bytes: of the lead trainer's process.
        teaching_seconds: for an edit of the night, the trainer's start included.
        steps: seconds of each step of the night; one that was stopped counts its pause.
        routes: times, a row a number of prompts.
    """

    version: Path
    live: int
    taught: int
    refused: int
    scores: Scores
    whole: Part
    first: Part
    last: Part
    places: dict[str, Part]
    clusters: int
    conflicts: int
    peak_bytes: int
    teaching_seconds: float
    steps: dict[str, float]
    routes: tuple[RouteTime, ...]


def measured(journal: Journal, night: Night, backbone: Backbone, edge: int, rounds: int, seed: int) -> Stage:
    """Reads what a night left, and times the routes of its version.

    Args:
        journal: that has the night.
        night: one that ended with a version.
        backbone: that was edited.
        edge: edits that count as the first, and as the last.
        rounds: batches of each size that are routed.
        seed: draws the prompts.
    """
    results = journal.results(night)
    made, version = results["version"], journal.versions / results["version"]["digest"]
    records = records_of(version)
    order, answers = records["edit_id"].to_pylist(), pq.read_table(night.folder / "answers.parquet").to_pylist()
    prompts = [row["prompt"] for row in answers if row["answer"] is not None]
    parts = parts_of(answers, {"first": set(order[:edge]), "last": set(order[-edge:])})
    return Stage(
        version=version,
        live=records["state"].to_pylist().count("live"),
        taught=made["taught"],
        refused=len(made["refused"]),
        scores=Scores.model_validate(results["scores"]),
        whole=parts.pop("whole"),
        first=parts.pop("first"),
        last=parts.pop("last"),
        places=dict(sorted(parts.items())),
        clusters=pq.read_metadata(version / CLUSTERS).num_rows,
        conflicts=records["action"].to_pylist().count("conflict"),
        peak_bytes=made["peak_bytes"],
        teaching_seconds=made["seconds"] / made["taught"],
        steps=journal.times(night),
        routes=_route_times(version, backbone, prompts, rounds, seed),
    )


def parts_of(answers: Iterable[Row], sets: Mapping[str, set[str]]) -> dict[str, Part]:
    """All edits as ``whole``, those of some sets of ids, and those of each file, by its name without the ending."""
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    labels: dict[str, str] = {}
    for row in answers:
        if row["kind"] in ("edit", "rephrase"):
            of = [name for name, ids in sets.items() if row["edit_id"] in ids]
            for name in ("whole", Path(row["source"]).stem, *of):
                groups[name].append(row)
            labels[row["edit_id"]] = normalise(row["expected"])
    return {name: _part(rows, labels) for name, rows in groups.items()}


def _part(rows: Sequence[Row], labels: Mapping[str, str]) -> Part:
    asked = [row for row in rows if row["answer"] is not None]
    edits = [row for row in asked if row["kind"] == "edit"]
    rephrases = [row for row in asked if row["kind"] == "rephrase"]
    led = [labels.get(row["routed_edit"]) == labels[row["edit_id"]] for row in rephrases]
    return Part(
        len(edits),
        _share(row["exact_match"] == 1.0 for row in edits),
        _share(row["exact_match"] == 1.0 for row in rephrases),
        _share(led),
    )


def _share(right: Iterable[bool]) -> float | None:
    found = list(right)
    return sum(found) / len(found) if found else None


def _route_times(
    version: Path, backbone: Backbone, prompts: Sequence[str], rounds: int, seed: int
) -> tuple[RouteTime, ...]:
    """Times routes of prompts that are drawn, in batches of each size."""
    model = EditedModel.load(version, backbone=backbone, index="memory")
    random = Random(seed)
    try:
        with threads(1):
            found = []
            for b in BATCHES:
                batches = [random.choices(prompts, k=b) for _ in range(1 + rounds)]
                every = _median_ms(model.route, batches)
                found.append(RouteTime(b, every / b, _median_ms(model.encoder.of, batches) / b))
            return tuple(found)
    finally:
        model.close()


def _median_ms(action: Callable[[list[str]], object], batches: Sequence[list[str]]) -> float:
    """Median milliseconds; the first batch finds cold caches and does not count."""
    seconds = []
    for batch in batches:
        start = time.perf_counter()
        action(batch)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[1:])
