"""The measurements as tables, for somebody who reads them for the first time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.bench.generation import GenerationReport
from pipeline.bench.learning import CLOSE, MATCHED, PUBLISHED, LearningReport
from pipeline.bench.measure import Machine
from pipeline.bench.quality import QualityReport, Share
from pipeline.bench.routing import AWAY, RADIUS, SUBJECTS, WIDTH, Routing

PAPER_MILLIONS = 0.12
"""MELO, Table 3: millions of extra parameters for 1,000 edits of T5-small."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What all sections share.

    Attributes:
        machine: where it was measured.
        sources: folder of the backbone, file of the edits and, where there is one, of the locality prompts.
        task: the backbone's.
        edits: at hand.
        refused: edits of the file that the backbone cannot take.
        seed: of everything drawn.
    """

    machine: Machine
    sources: tuple[str, ...]
    task: str
    edits: int
    refused: int
    seed: int


def heading(frame: Frame) -> RenderableType:
    """Machine, versions and sources."""
    m = frame.machine
    lines = (
        f"{m.processor}, {m.cores} cores for this process, load {m.load:.1f} before it began; backbone on {m.device}",
        f"Python {m.python}, torch {m.torch} ({m.threads} threads unless it says otherwise), "
        f"transformers {m.transformers}",
        f"{frame.task} backbone, edits, locality prompts: {', '.join(frame.sources)}",
        f"{frame.edits} distinct prompts drawn with seed {frame.seed}; {frame.refused} edits that the backbone "
        "cannot take were passed over",
    )
    return Text("\n".join(lines))


def learning(found: LearningReport) -> RenderableType:
    """Edits a minute, and at what price."""
    speed = new_table(f"Learning {found.edits} edits", ["", "threads", "edits/min", "success", "peak MB"])
    for way in found.ways:
        peak = "-" if way.peak_bytes is None else f"{way.peak_bytes / 1e6:,.0f}"
        speed.add_row(way.name, str(way.threads), f"{way.edits_per_minute:,.0f}", f"{way.success:.3f}", peak)
    size = new_table(
        "What they are made of", ["", "rank", "edits a block", "iterations", "rate", "M per 1,000", "bytes an edit"]
    )
    for way in {way.name: way for way in found.ways}.values():
        size.add_row(
            way.name,
            str(way.partial_rank),
            str(way.edits_per_block),
            str(way.iterations),
            f"{way.learning_rate:g}",
            f"{way.parameters / found.edits / 1000:.3f}",
            f"{way.bytes_per_edit:,.0f}",
        )
    ratios = "; ".join(
        f"on {count} thread{'s' if count > 1 else ''} the editor is {of[MATCHED]:.1f} times as fast as the matched and "
        f"{of[PUBLISHED]:.1f} times as fast as the published schedule"
        for count, of in found.ratios.items()
    )
    trials = "; ".join(
        f"{t.edits_per_block} edits a block, {t.iterations} iterations at {t.learning_rate:g}: {t.success:.3f}"
        for t in found.trials
    )
    return Group(
        with_notes(
            speed,
            f"By the clock, {ratios}.",
            f"Medians of {found.rounds} alternating runs (index on disk: 1), nothing learned before. Editor: all of "
            "EditedModel.edit, with keys, retries, an examination by free generation, and the index. Schedule: the "
            "paper's training alone, block after block, every iteration a full pass. Success: the target is said by "
            "free generation. Peak: memory above what was held before.",
            f"Matched is the cheapest schedule tried whose success is within {CLOSE:g} of the editor's"
            f"{'' if found.matched else ', or, as here, the best where none is'}. Tried: {trials}.",
        ),
        with_notes(
            size,
            "Iterations: the editor stops a block as soon as it has learned its edits, and has them again for a retry. "
            f"M per 1,000: millions of trainable parameters for 1,000 edits; the paper's Table 3 has {PAPER_MILLIONS} "
            "for T5-small. Bytes: of block weights in float32, keys not counted.",
        ),
    )


def quality(found: QualityReport) -> RenderableType:
    """What the edits are worth."""
    table = new_table(
        f"A stream of {found.edits} edits in {found.calls} calls", ["asked after the last call", "right", "share"]
    )
    first = f"the first call's {found.first_at_last.asked} edits"
    rows: Sequence[tuple[str, Share]] = (
        ("edits: the target is said", found.success),
        (f"{first}, asked right after it", found.first_at_once),
        (f"{first}, asked again after the last", found.first_at_last),
        ("rephrases, never trained: the target is said", found.generality),
        ("locality prompts of the edits: the backbone's answer", found.own_locality),
        ("locality file, outside every scope: the backbone's answer", found.outside),
        ("locality file, inside a scope (routed to a block): the backbone's answer", found.inside),
    )
    for name, share in rows:
        table.add_row(name, f"{share.good} of {share.asked}", f"{share.good / share.asked:.3f}" if share.asked else "-")
    return with_notes(
        table,
        f"Greedy free generation through the router; answers are compared as whole texts. {found.clusters} clusters.",
    )


def routing(found: Sequence[Routing]) -> RenderableType:
    """How long a search takes."""
    columns = ["keys", "prompts", "they lie", "memory", "edge", "subjects", "right"]
    table = new_table("Routing: p50 milliseconds of one query, one thread", columns)
    for size, prompts, where in dict.fromkeys((row.keys, row.prompts, row.where) for row in found):
        rows = {row.home: row for row in found if (row.keys, row.prompts, row.where) == (size, prompts, where)}
        right = min(row.right for row in rows.values())
        times = (f"{rows[home].p50_ms:.3f}" for home in ("memory", "edge", SUBJECTS))
        table.add_row(f"{size:,}", str(prompts), where, *times, f"{right:.3f}")
    return with_notes(
        table,
        f"Isotropic Gaussian keys of width {WIDTH}, each a cluster of radius {RADIUS:g}; a prompt inside lies {AWAY:g} "
        "from its key, one outside is another Gaussian. memory: exact search in torch; edge: Qdrant Edge on disk. "
        "subjects: what prompts name, of as many names. Right: led to its block, or to none; its subject found alone.",
    )


def generation(found: GenerationReport) -> RenderableType:
    """What an answer costs."""
    columns = ["the prompts lie", "threads", "batch", "backbone", "edited", "overhead", "outputs equal"]
    table = new_table("Generating: seconds a batch", columns)
    for case in found.cases:
        times = (f"{seconds:.4f}" for seconds in (case.backbone_seconds, case.edited_seconds))
        counts, equal = (str(case.threads), str(case.prompts)), "yes" if case.equal else "no"
        table.add_row(case.where, *counts, *times, f"{case.percent:+.1f}%", equal)
    work = f"{found.new_tokens} new tokens each, no more and no fewer" if found.new_tokens else "one forward pass"
    return with_notes(
        table,
        f"Medians of {found.rounds} alternating runs, {work}. Inside: each prompt has its block; outside: none has, "
        f"and outputs are to be equal. The edited model holds {found.edits} edits, its index in memory, and its time "
        "includes routing; the backbone is a copy without any hooks.",
    )


def new_table(title: str, columns: Sequence[str]) -> Table:
    """An empty table, numbers at the right."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    return table


def with_notes(table: Table, *notes: str) -> RenderableType:
    """A table and what is to be known about it."""
    return Group(Text(), table, *map(Text, notes))
