"""Figures for a person: how scores hold as edits grow in number, where scopes end, how wide they are, where edits met.

Drawn on canvases of their own, so threads and whoever else draws don't see each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.evaluation.kinds import SAID
from pipeline.evaluation.scores import Scores

SIZE, DPI = (8.0, 4.5), 120
KINDS = {"edit": "tab:blue", "rephrase": "tab:cyan", "locality": "tab:orange", "upstream": "tab:red"}
ACTIONS = {"add": "lightsteelblue", "expand": "tab:green", "conflict": "tab:red", "replace": "tab:purple"}
SHARES = {
    "edit_success": ("edit success", "o"),
    "generality": ("generality", "s"),
    "locality": ("locality", "x"),
    "arr": ("ARR", "+"),
}
"""Field of ``Scores`` -> its name and marker; markers differ so that equal scores are all seen."""
FAR = 3.0
"""Distances are drawn up to as many radii."""


def scores_over_edits(versions: Sequence[Scores], path: Path) -> Path:
    """Shares against the number of edits asked, a point a version.

    Args:
        versions: scores of one version after the other, up to the present.
        path: where the PNG goes.

    Returns:
        ``path``.
    """
    figure = Figure(SIZE, DPI, layout="constrained")
    axes = figure.add_subplot()
    for field, (name, marker) in SHARES.items():
        points = [(scores.counts.get("edit", 0), getattr(scores, field)) for scores in versions]
        points = [(edits, value) for edits, value in points if value is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, fillstyle="none", markersize=9, label=name)
    axes.set(xlabel="edits so far", ylabel="share", ylim=(-0.02, 1.02), title="Scores against the number of edits")
    return written(figure, [axes], path)


def scope_by_kind(scores: Scores, path: Path) -> Path:
    """Which wordings of edits get the target, and why the others do not; and which other questions find a block.

    Args:
        scores: of a version.
        path: where the PNG goes.

    Returns:
        ``path``.
    """
    figure = Figure(SIZE, DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    measured = {"edit": scores.edit_success, "rephrase": scores.generality} | scores.reworded
    said = {kind: share for kind in SAID if (share := measured.get(kind)) is not None}
    names = [f"{kind} ({scores.counts[kind]})" for kind in said]
    own = [max(scores.oracle.get(kind, share) - share, 0.0) for kind, share in said.items()]
    left.barh(names, list(said.values()), color="tab:blue", label="right")
    left.barh(names, own, left=list(said.values()), color="lightsteelblue", label="its own block would be right")
    left.set(xlabel="share that gets the target", xlim=(0, 1.02), title="Wordings of edits")
    led = scores.left_alone
    rates = [kind.led for kind in led.values()]
    margins = [[kind.led - kind.low for kind in led.values()], [kind.high - kind.led for kind in led.values()]]
    names = [f"{kind} ({scores.counts[kind]})" for kind in led]
    right.barh(names, rates, color="tab:orange", xerr=margins, capsize=3, label="false routes, 95% interval")
    right.set(xlabel="share led to a block", xlim=(0, 1.02), title="Other questions")
    for axes, bars in ((left, len(said)), (right, len(led))):
        axes.set_ylim(bars - 0.5, -1.5)  # the first on top, and room for the legend above it
    return written(figure, [left, right], path)


def distances_and_radii(answers: pa.Table, path: Path) -> Path:
    """How far questions lie from the nearest centre, in radii of its scope, by kind; and how wide scopes are.

    Args:
        answers: schema ``ANSWERS``.
        path: where the PNG goes.

    Returns:
        ``path``.
    """
    figure = Figure(SIZE, DPI, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    rows = [row for row in answers.select(["kind", "distance", "radius"]).to_pylist() if row["distance"] is not None]
    for kind, colour in KINDS.items():
        ratios = [row["distance"] / row["radius"] for row in rows if row["kind"] == kind]
        if ratios:
            left.ecdf(ratios, color=colour, label=f"{kind} ({len(ratios)})")
    left.axvline(1.0, color="black", linestyle=":", label="edge of the scope")
    left.set(
        xlabel="distance / radius of the nearest scope", ylabel="share within", xlim=(-0.02, FAR), title="Distances"
    )
    radii = [row["radius"] for row in rows if row["kind"] == "edit"]
    if radii:
        right.hist(radii, bins=30, color=KINDS["edit"])
    right.set(xlabel="radius, units of the key", ylabel="edits", title="Radii around edits")
    return written(figure, [left], path)


def conflicts(edits: pa.Table, path: Path) -> Path:
    """Which clusters the edits entered in their order, and how: where conflicts fell.

    Args:
        edits: schema ``EDITS``, as ``model.records.to_table()`` gives it.
        path: where the PNG goes.

    Returns:
        ``path``.
    """
    figure = Figure(SIZE, DPI, layout="constrained")
    axes = figure.add_subplot()
    placed = list(enumerate(zip(edits["action"].to_pylist(), edits["cluster"].to_pylist(), strict=True), start=1))
    for action, colour in ACTIONS.items():
        points = [(number, cluster) for number, (taken, cluster) in placed if taken == action]
        if points:
            size = 10 if action == "add" else 25
            numbers, clusters = zip(*points, strict=True)
            axes.scatter(numbers, clusters, s=size, color=colour, label=f"{action} ({len(points)})")
    axes.set(xlabel="edit, in order of arrival", ylabel="cluster it entered", title="Where edits fell")
    return written(figure, [axes], path)


def written(figure: Figure, legends: Sequence[Axes], path: Path) -> Path:
    """Writes a figure.

    Args:
        figure: drawn, but for legends.
        legends: axes that are to have one, where anything on them has a name.
        path: where the PNG goes; folders are made. The same figure gives the same bytes.

    Returns:
        ``path``.
    """
    for axes in legends:
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})
    return path
