"""What a growing model came to: a table, a picture, and rows for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from rich.console import RenderableType

from pipeline.bench import report
from pipeline.bench.stage import Part, Stage
from pipeline.bench.study import drawing
from pipeline.evaluation.figures import written
from pipeline.evaluation.kinds import LEFT_ALONE, REWORDED
from pipeline.screens import OTHERS, WORDINGS

MB = 1e6

Value = float | None
Show = Callable[[float], str]
Figure = tuple[str, str, Value, Show]
"""Section, name, value and how it is shown."""
NOTHING = Part(0, None, None, None)


def _share(value: float) -> str:
    return f"{value:.3f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _time(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _figures(stages: Sequence[Stage]) -> list[list[Figure]]:
    """The figures of each stage, the same ones of all."""
    return [list(_of_stage(stage, stages[-1].places)) for stage in stages]


def _of_stage(stage: Stage, places: Iterable[str]) -> Iterator[Figure]:
    scores = stage.scores
    yield "edits", "live", stage.live, _count
    yield "edits", "taught tonight", stage.taught, _count
    yield "edits", "refused", stage.refused, _count
    yield "right", WORDINGS["edit"], stage.whole.success, _share
    yield "right", "as reported, the first", stage.first.success, _share
    yield "right", "as reported, the last", stage.last.success, _share
    yield "right", WORDINGS["rephrase"], stage.whole.generality, _share
    yield "right", "in other words, by its own block", scores.oracle.get("rephrase"), _share
    for kind in REWORDED:
        yield "right", WORDINGS[kind], scores.reworded.get(kind), _share
    yield "right", "worst tenth of edits", scores.worst_tenth, _share
    yield "led", "in other words, to their edit", stage.whole.led, _share
    for kind in LEFT_ALONE:
        left = scores.left_alone.get(kind)
        yield "led astray", OTHERS[kind], None if left is None else left.led, _share
    yield "as before", OTHERS["locality"], scores.locality, _share
    yield "as before", f"{OTHERS['upstream']}: then", scores.upstream.before, _share
    yield "as before", f"{OTHERS['upstream']}: now", scores.upstream.after, _share
    yield "index", "clusters", stage.clusters, _count
    yield "index", "conflicts so far", stage.conflicts, _count
    yield "size", "version, MB", None if scores.size is None else scores.size / MB, _time
    yield "size", "bytes an edit", scores.bytes_per_edit, _count
    yield "size", "trainer's peak, MB", stage.peak_bytes / MB, _count
    yield "time", "teaching, ms an edit", 1000 * stage.teaching_seconds, _time
    yield "time", "night, s", sum(stage.steps.values()), _count
    for step, seconds in stage.steps.items():
        yield "time", f"of these, {step}", seconds, _time
    for route in stage.routes:
        yield "time", f"route, {route.prompts} at once, ms a prompt", route.all, _time
        yield "time", f"key of a whole prompt, {route.prompts} at once", route.key, _time
    for name in places:
        part = stage.places.get(name, NOTHING)
        yield name, "edits", part.edits, _count
        yield from ((name, what, value, _share) for what, value in _shares(part))


def _shares(part: Part) -> Iterator[tuple[str, Value]]:
    yield WORDINGS["edit"], part.success
    yield WORDINGS["rephrase"], part.generality
    yield "in other words, to their edit", part.led


def table(stages: Sequence[Stage]) -> RenderableType:
    """A column a stage, for a person."""
    found = report.new_table("A growing model", ["", *(f"night {i}" for i in range(1, 1 + len(stages)))])
    section = ""
    for lines in zip(*_figures(stages), strict=True):
        (of, name, *_), values = lines[0], [value for _, _, value, _ in lines]
        if of != section:
            found.add_section()
            section = of
        if any(value is not None for value in values):
            cells = ("-" if value is None else show(value) for _, _, value, show in lines)
            found.add_row(f"{of}: {name}", *cells)
    first = stages[0].taught
    return report.with_notes(
        found,
        "The gate asked for nothing, so that every version was used whatever its scores. Right: the target is said by "
        f"free generation. The first and the last: {first:,} edits each, in the order in which they came. Led astray: "
        "share of questions that no edit is to touch which an edit answers. Seconds of a night that was stopped count "
        "its pause. Routes: medians, one thread, of the night's own questions, the index in memory.",
    )


def told(stages: Sequence[Stage]) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "stages": [
            asdict(stage) | {"version": stage.version.name, "scores": stage.scores.model_dump(mode="json")}
            for stage in stages
        ]
    }


def rows_of(stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """A row a figure: night, section, name, value."""
    return [
        {"night": night, "section": of, "name": name, "value": None if value is None else float(value)}
        for night, figures in enumerate(_figures(stages), start=1)
        for of, name, value, _ in figures
    ]


def draw(stages: Sequence[Stage], path: Path) -> Path:
    """Every figure against the number of edits; a PNG at ``path``."""
    figure = drawing.blank(16.0, 11.0, f"One model from {stages[0].live:,} to {stages[-1].live:,} edits")
    (a, b, c), (d, e, f) = figure.subplots(2, 3)

    def panel(axes: Axes, title: str, label: str, lines: dict[str, list[Value]]) -> None:
        for i, (name, values) in enumerate(lines.items()):
            drawing.line(axes, [stage.live for stage in stages], values, name, **drawing.look(i, len(lines)))
        drawing.title(axes, title)
        axes.set(xlabel="edits (log scale)", ylabel=label, xscale="log")
        axes.set_xticks([stage.live for stage in stages], [f"{stage.live:,}" for stage in stages])
        axes.minorticks_off()
        axes.grid(axis="y", alpha=0.3)
        drawing.legend_below(axes, columns=2)

    every = [{(of, name): value for of, name, value, _ in figures} for figures in _figures(stages)]

    def lines_of(*sections: str, leaving: Sequence[str] = ()) -> dict[str, list[Value]]:
        names = [key for key in every[0] if key[0] in sections and key[1] not in leaving]
        return {name: [found[of, name] for found in every] for of, name in names}

    panel(a, "a  What gets the target", "share", lines_of("right", "led"))
    panel(b, "b  Questions led astray", "share (should be 0)", lines_of("led astray"))
    rephrases = {
        f"{place}: {how}": [getattr(stage.places.get(place, NOTHING), field) for stage in stages]
        for place in stages[-1].places
        for field, how in (("generality", "right"), ("led", "led to their edit"))
    }
    panel(c, "c  Other words, by where they come from", "share", rephrases)
    panel(d, "d  The index", "number", lines_of("index"))
    sizes = {"version": [found["size", "version, MB"] for found in every]}
    panel(e, "e  Size", "MB", sizes | {"trainer's process": [stage.peak_bytes / MB for stage in stages]})
    times: dict[str, list[Value]] = {"teaching an edit": [1000 * stage.teaching_seconds for stage in stages]}
    times["a night, for each of its questions"] = [
        1000 * sum(stage.steps.values()) / sum(stage.scores.counts.values()) for stage in stages
    ]
    for i, route in enumerate(stages[0].routes):
        times[f"routing, {route.prompts} at once"] = [stage.routes[i].all for stage in stages]
    panel(f, "f  Time", "milliseconds", times)
    for axes in (a, b, c):
        drawing.shares(axes)
    for axes in (d, e, f):
        axes.set_ylim(bottom=0)
    return written(figure, [], path)
