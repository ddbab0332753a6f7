"""Figure 3: what the initial radius does to the neuron index (MELO, "Effect of Cluster Radius").

Keys come from frozen layers and the clusters are a fold over them, so nothing is trained here: every key is read once,
and the whole stream is folded for every radius, as it would be if every edit was learned.

Shape letters: n edits, m holdouts, u upstream prompts, d key width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from torch import Tensor

from pipeline.bench.study import drawing
from pipeline.bench.study.examination import mean, standing, untouched
from pipeline.bench.study.wordings import Wording, draw_wordings, project
from pipeline.editing.backbone import Backbone
from pipeline.editing.clusters import Clusters, Step
from pipeline.editing.edit import Edit, Route
from pipeline.editing.fold import Conflicts
from pipeline.editing.index import Index, open_index
from pipeline.editing.keys import open_keys
from pipeline.editing.model import EditedModel
from pipeline.evaluation.figures import written
from pipeline.settings import EditingSettings
from pipeline.telling import Advance

MULTIPLES = tuple(2.0**power for power in range(-3, 5))
"""Radii that are tried where none are given, in parts of the radius in force."""
LEAST_TOP = 0.05
"""Of the axis of upstream prompts that are led astray: a single one is not to look like many."""


@dataclass(frozen=True, slots=True)
class Scopes:
    """What the stream makes of the index.

    Attributes:
        clusters: scopes in the end.
        conflicts: edits that came too near a cluster of another answer.
        evicted: edits that a conflict pushed out of their clusters: forgotten in ``paper`` mode, put back in ``keep``.
        lost: edits, none of them superseded, whose own prompt is not led to their answer in the end.
        holdouts_led: share of the holdouts that are led to an edit of their answer; None without any.
        upstream_led: share of the upstream prompts that are led to any edit; None without any.
    """

    clusters: int
    conflicts: int
    evicted: int
    lost: int
    holdouts_led: float | None
    upstream_led: float | None


@dataclass(frozen=True, slots=True)
class AtRadius:
    """One initial radius.

    Attributes:
        radius: R0, in units of the key.
        paper: evicted edits are dropped, as the paper does.
        keep: evicted edits are put back, as this editor does.
        put_back: of the edits that ``paper`` forgot, those whose prompt ``keep`` leads to their answer.
    """

    radius: float
    paper: Scopes
    keep: Scopes
    put_back: int


@dataclass(frozen=True, slots=True)
class Figure3:
    """The radius and the index.

    Attributes:
        key_layer: where keys were read: a layer, or the sentence encoder.
        in_force: the radius that the settings, the preset or the measurement give.
        edits, answers, holdouts, upstream: how many edits, distinct answers, holdouts and upstream prompts there were.
        radii: one entry a radius, ascending.
        wordings: of some questions, question after question.
        explained: shares of the variance of those keys along the two components.
    """

    key_layer: str
    in_force: float
    edits: int
    answers: int
    holdouts: int
    upstream: int
    radii: tuple[AtRadius, ...]
    wordings: tuple[Wording, ...]
    explained: tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Stream:
    """Everything that is folded or led somewhere.

    Attributes:
        edits, keys: n edits, and their keys [n, d].
        standing: places of the edits that are not superseded.
        asks_for, holdouts: for m holdouts the place of their edit, and their keys [m, d].
        upstream: keys [u, d].
    """

    edits: Sequence[Edit]
    keys: Tensor
    standing: Sequence[int]
    asks_for: Sequence[int]
    holdouts: Tensor
    upstream: Tensor


def measure(
    backbone: Backbone,
    edits: Sequence[Edit],
    upstream: Sequence[tuple[str, str]],
    settings: EditingSettings,
    seed: int,
    advance: Advance,
    radii: Sequence[float] | None = None,
) -> Figure3:
    """Folds a stream for every radius, in both ways to treat a conflict.

    Args:
        backbone: the model.
        edits: the stream, distinct edits in order; their rephrases are the holdouts.
        upstream: prompts of the backbone's own task, which are to be led nowhere; their answers are not looked at.
        settings: name the key layer and may give the radius in force.
        seed: draws the questions that are projected.
        advance: told of edits folded: n in each mode for each radius.
        radii: R0 to try, in units of the key; None: ``MULTIPLES`` of the radius in force.

    Raises:
        EditError: an edit comes twice, or a text has no tokens or is longer than the model's positions.
        ValueError: a setting names a module that is not there, or a family without defaults.
    """
    with closing(EditedModel.from_backbone(backbone, settings=settings, index="memory")) as model:
        recipe, in_force = model.recipe, model.clusters.radius
    held = standing(edits)
    holdouts = [(i, text) for i in held for text in edits[i].rephrases]
    others = [prompt for prompt, _ in untouched(edits, upstream)]
    with closing(open_keys(backbone, recipe, settings)) as encoder:
        stream = _Stream(
            edits,
            keys=encoder.of([edit.prompt for edit in edits]),
            standing=held,
            asks_for=[i for i, _ in holdouts],
            holdouts=encoder.of([text for _, text in holdouts]),
            upstream=encoder.of(others),
        )
        wordings, explained = project(edits, encoder.of, seed)
    tried = sorted(radii or (multiple * in_force for multiple in MULTIPLES))
    return Figure3(
        settings.encoder or recipe.key_layer,
        in_force,
        edits=len(edits),
        answers=len({edit.label for edit in edits}),
        holdouts=len(holdouts),
        upstream=len(others),
        radii=tuple(_at_radius(stream, radius, advance) for radius in tried),
        wordings=wordings,
        explained=explained,
    )


def draw(found: Figure3, path: Path) -> Path:
    """Panels a to d as the paper has them, and where holdouts and upstream prompts are led; a PNG at ``path``."""
    figure = drawing.blank(
        14.0,
        10.0,
        f"The initial radius and the neuron index: a stream of {found.edits} edits, keys of {found.key_layer}",
    )
    (a, b, c), (d, e, f) = figure.subplots(2, 3)

    def panel(axes: Axes, title: str, label: str, lines: Mapping[str, Sequence[float | None]]) -> None:
        for i, (name, values) in enumerate(lines.items()):
            drawing.line(axes, [row.radius for row in found.radii], values, name, **drawing.look(i, len(lines)))
        axes.axvline(found.in_force, label=f"radius in force: {found.in_force:.3g}", **drawing.REFERENCE)
        drawing.title(axes, title)
        axes.set(ylabel=label, xlabel="initial radius $R_0$, units of the key (log scale)", xscale="log")
        axes.set_xticks([row.radius for row in found.radii], [f"{row.radius:.3g}" for row in found.radii])
        axes.minorticks_off()
        axes.grid(axis="y", alpha=0.3)

    def both(field: str) -> dict[str, list[float | None]]:
        return {
            "evicted edits dropped (paper)": [getattr(row.paper, field) for row in found.radii],
            "evicted edits put back (keep)": [getattr(row.keep, field) for row in found.radii],
        }

    panel(a, "a  Clusters after the last edit", "clusters", both("clusters"))
    a.axhline(found.answers, label=f"distinct answers: {found.answers}", **drawing.REFERENCE | {"linestyle": "-."})
    panel(b, "b  Edits in conflict with another answer's cluster", "conflicts", both("conflicts"))
    draw_wordings(c, found.wordings, found.explained, "c  Keys by answer (filled: edit, hollow: holdout)")
    forgotten = {
        "forgotten: evicted and dropped (paper)": [row.paper.evicted for row in found.radii],
        "of these, led right when put back (keep)": [row.put_back for row in found.radii],
        "lost for all that (keep)": [row.keep.lost for row in found.radii],
    }
    panel(d, "d  Edits forgotten through conflicts", "edits", forgotten)
    panel(e, f"e  Holdouts led to their answer, of {found.holdouts}", "share", both("holdouts_led"))
    panel(f, f"f  Upstream prompts led to an edit, of {found.upstream}", "share (should be 0)", both("upstream_led"))
    drawing.shares(e)
    highest = max(share or 0.0 for shares in both("upstream_led").values() for share in shares)
    f.set_ylim(-0.03 * LEAST_TOP, max(LEAST_TOP, 1.1 * highest))
    for axes in (a, b, d, e, f):
        drawing.legend_below(axes)
    return written(figure, [], path)


def _at_radius(stream: _Stream, radius: float, advance: Advance) -> AtRadius:
    paper, dropped, _ = _folded(stream, radius, "paper")
    advance(len(stream.edits))
    keep, _, index = _folded(stream, radius, "keep")
    advance(len(stream.edits))
    places = [i for i, edit in enumerate(stream.edits) if edit.edit_id in dropped]
    return AtRadius(radius, paper, keep, put_back=sum(_led_right(stream, index, stream.keys[places], places)))


def _folded(stream: _Stream, radius: float, mode: Conflicts) -> tuple[Scopes, set[str], Index]:
    """The scopes, the ids of evicted edits, and an index to ask."""
    clusters = Clusters(stream.keys.shape[1], radius, mode)
    edits = stream.edits
    steps: list[Step] = clusters.fold(
        [edit.edit_id for edit in edits], [edit.label for edit in edits], stream.keys, [0] * len(edits)
    )
    index = open_index("memory", clusters.width)
    index.apply(clusters.everything(version=1))
    evicted = {edit_id for step in steps for edit_id in step.evicted}
    own = _led_right(stream, index, stream.keys[stream.standing], stream.standing)
    scopes = Scopes(
        clusters=index.count()[0],
        conflicts=sum(step.action == "conflict" for step in steps),
        evicted=len(evicted),
        lost=own.count(False),
        holdouts_led=mean(_led_right(stream, index, stream.holdouts, stream.asks_for)),
        upstream_led=mean([route.block is not None for route in _routes(index, stream.upstream)]),
    )
    return scopes, evicted, index


def _led_right(stream: _Stream, index: Index, keys: Tensor, places: Sequence[int]) -> list[bool]:
    """Whether each key [k, d] is led to an edit of the same answer as the edit at its place."""
    labels = {edit.edit_id: edit.label for edit in stream.edits}
    return [
        route.edit_id is not None and labels[route.edit_id] == stream.edits[i].label
        for route, i in zip(_routes(index, keys), places, strict=True)
    ]


def _routes(index: Index, keys: Tensor) -> list[Route]:
    return index.route(keys) if len(keys) else []  # no keys have no width
