"""Edits a minute: the editor against the paper's schedule, on the same edits and the same backbone.

The editor's time is that of ``EditedModel.edit``, with everything it does: keys, training, asking every edit by free
generation, retries, clusters and the index. The schedule's time is that of its training alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline.bench import schedule as baseline
from pipeline.bench.asking import answer_length, success
from pipeline.bench.measure import Ready, Run, alternate, highest_peak, median_seconds, threads
from pipeline.bench.schedule import Schedule
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit
from pipeline.editing.model import EditedModel
from pipeline.editing.recipe import Recipe
from pipeline.settings import EditingSettings

EDITOR, EDITOR_ON_DISK = "editor", "editor, index on disk"
PUBLISHED, MATCHED = "schedule, published", "schedule, matched"

SMALL_BLOCK = 10
"""Edits a block at most where the schedule is to learn them all."""
RATES = (1e-2, 2e-2, 5e-2)
FURTHER_ITERATIONS = 10
"""How many more are tried where no rate is enough."""
CLOSE = 0.02
"""By how much a schedule may stay behind the editor's success and still count as its equal."""
BYTES_PER_PARAMETER = 4
"""Blocks are float32."""


@dataclass(frozen=True, slots=True)
class Learning:
    """One way to learn the edits, on one number of threads.

    Attributes:
        name: which way.
        threads: of torch.
        edits_per_block, partial_rank, iterations, learning_rate: its settings; the editor stops earlier.
        seconds: median of the runs.
        edits_per_minute: from ``seconds``.
        success: share of edits whose target is said by free generation.
        peak_bytes: the highest of the runs; None where the system does not tell.
        parameters: trainable numbers in all blocks.
        bytes_per_edit: of block weights; the keys that lead to them are not counted for any way.
    """

    name: str
    threads: int
    edits_per_block: int
    partial_rank: int
    iterations: int
    learning_rate: float
    seconds: float
    edits_per_minute: float
    success: float
    peak_bytes: int | None
    parameters: int
    bytes_per_edit: float


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting of the schedule, and the share of the edits that it taught."""

    edits_per_block: int
    iterations: int
    learning_rate: float
    success: float


@dataclass(frozen=True, slots=True)
class LearningReport:
    """Section 1.

    Attributes:
        edits: how many were learned.
        rounds: alternating runs of each way; the index on disk is run once.
        ways: one entry a way and number of threads.
        ratios: number of threads -> schedule's name -> its seconds by the editor's.
        trials: of the schedule, the published settings first, then with small blocks in the order tried.
        matched: whether the matched schedule reaches the editor's success, to ``CLOSE``.
    """

    edits: int
    rounds: int
    ways: tuple[Learning, ...]
    ratios: dict[int, dict[str, float]]
    trials: tuple[Trial, ...]
    matched: bool


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to learn the edits: how to run it, and what it came to when it was run once before the clock."""

    ready: Ready[Any]
    settings: Recipe | Schedule
    success: float
    parameters: int


def measure_learning(
    backbone: Backbone,
    edits: Sequence[Edit],
    rounds: int,
    counts: Sequence[int],
    patient: bool,
    settings: EditingSettings,
) -> LearningReport:
    """Times the editor and two schedules in turn.

    Args:
        backbone: the model.
        edits: what is learned, from nothing, in every run.
        rounds: runs of each way.
        counts: numbers of threads to measure on; the index on disk is measured on the first.
        patient: let the schedule have more than its published iterations where it needs them.
        settings: the editor's; the schedule has the same seed.
    """
    editor = _editor(backbone, edits, "memory", settings)
    assert isinstance(editor.settings, Recipe)
    published = _schedule(backbone, edits, baseline.published_schedule(backbone, editor.settings), settings.seed)
    matched, tried = _match(backbone, edits, published, editor.success, patient, settings.seed)
    compared = {EDITOR: editor, PUBLISHED: published, MATCHED: matched}
    on_disk = {EDITOR_ON_DISK: _editor(backbone, edits, None, settings)}
    found: list[Learning] = []
    ratios: dict[int, dict[str, float]] = {}
    for count in counts:
        with threads(count):
            runs = alternate({name: way.ready for name, way in compared.items()}, rounds, backbone.device)
            if count == counts[0]:
                runs |= alternate({name: way.ready for name, way in on_disk.items()}, 1, backbone.device)
        seconds = {name: median_seconds(some) for name, some in runs.items()}
        found += [_learning(name, (compared | on_disk)[name], some, count, len(edits)) for name, some in runs.items()]
        ratios[count] = {name: seconds[name] / seconds[EDITOR] for name in (PUBLISHED, MATCHED)}
    trials = tuple(_trial(way) for way in (published, *tried))
    return LearningReport(len(edits), rounds, tuple(found), ratios, trials, matched.success >= editor.success - CLOSE)


@contextmanager
def _model(backbone: Backbone, index: str | None, settings: EditingSettings) -> Iterator[EditedModel]:
    edited = EditedModel.from_backbone(backbone, settings=settings, index=index)
    try:
        yield edited
    finally:
        edited.close()  # or its hooks would slow the next one down


def editor_ready(
    backbone: Backbone, edits: Sequence[Edit], index: str | None, settings: EditingSettings
) -> Callable[[], AbstractContextManager[Callable[[], Any]]]:
    """Makes a new edited model ready, for ``alternate``; what is measured is teaching it the edits."""

    @contextmanager
    def ready() -> Iterator[Callable[[], Any]]:
        with _model(backbone, index, settings) as edited:
            yield partial(edited.edit, edits)

    return ready


def _editor(backbone: Backbone, edits: Sequence[Edit], index: str | None, settings: EditingSettings) -> _Way:
    with _model(backbone, index, settings) as edited:
        edited.edit(edits)
        said = success(edited, edits, answer_length(backbone, edits))
        return _Way(editor_ready(backbone, edits, index, settings), edited.recipe, said, edited.blocks.parameters)


def _schedule(backbone: Backbone, edits: Sequence[Edit], settings: Schedule, seed: int) -> _Way:
    def train() -> baseline.Trained:
        return baseline.train(backbone, edits, settings, seed)

    trained = train()
    return _Way(lambda: nullcontext(train), settings, baseline.success(backbone, trained), trained.parameters)


def _match(
    backbone: Backbone, edits: Sequence[Edit], published: _Way, wanted: float, patient: bool, seed: int
) -> tuple[_Way, list[_Way]]:
    """The cheapest schedule with small blocks that reaches a success, or else the best; and all that were tried.

    The cost of an iteration does not depend on the rate, so all rates are tried before there are more iterations.
    """
    base = published.settings
    assert isinstance(base, Schedule)
    small = min(SMALL_BLOCK, base.edits_per_block)
    tried: list[_Way] = []
    for iterations in (base.iterations, base.iterations + FURTHER_ITERATIONS)[: 1 + patient]:
        for rate in sorted({base.learning_rate, *RATES}):
            settings = replace(base, edits_per_block=small, iterations=iterations, learning_rate=rate)
            tried.append(_schedule(backbone, edits, settings, seed))
            if tried[-1].success >= wanted - CLOSE:
                return tried[-1], tried
    return max(tried, key=lambda way: way.success), tried


def _trial(way: _Way) -> Trial:
    settings = way.settings
    return Trial(settings.edits_per_block, settings.iterations, settings.learning_rate, way.success)


def _learning(name: str, way: _Way, runs: list[Run[Any]], count: int, edits: int) -> Learning:
    seconds = median_seconds(runs)
    return Learning(
        name=name,
        threads=count,
        edits_per_block=way.settings.edits_per_block,
        partial_rank=way.settings.partial_rank,
        iterations=way.settings.iterations,
        learning_rate=way.settings.learning_rate,
        seconds=seconds,
        edits_per_minute=60 * edits / seconds,
        success=way.success,
        peak_bytes=highest_peak(runs),
        parameters=way.parameters,
        bytes_per_edit=BYTES_PER_PARAMETER * way.parameters / edits,
    )
