"""The figure of a calibration: how far questions lie from edits under what was chosen, and what else there was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.evaluation.calibration.choice import Attempt, Calibrated
from pipeline.evaluation.calibration.sweep import curve
from pipeline.evaluation.calibration.trial import EDITED, UNEDITED, Trial
from pipeline.evaluation.figures import DPI, written

SIZE = (13.0, 6.5)
FAR = 2.5
"""Distances are drawn up to as many radii."""
BINS = 50
NAMED = 6
"""Candidates whose curves have names and colours: those with the most recall."""
COLOURS = {
    "rephrase": "tab:blue",
    EDITED: "tab:orange",
    UNEDITED: "tab:red",
    "relation": "tab:brown",
    "locality": "tab:green",
    "unrelated": "tab:gray",
    "traffic": "tab:purple",
}


def draw(found: Calibrated, path: Path) -> Path:
    """Histograms of distances under the chosen candidate, and recall against false routes of all candidates.

    Both are of the reporting half. A question lies as far from the edits as all radii would have to grow until it is
    led to one. Without a choice the histograms are empty.

    Args:
        found: the calibration.
        path: where the PNG goes; folders are made.

    Returns:
        ``path``.
    """
    figure = Figure(SIZE, DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    result = found.result
    if result.chosen is not None:
        _histograms(left, found.trial, found.attempts[result.chosen])
    name = "nothing was chosen" if result.choice is None else result.choice.name
    left.set(xlabel="distance to the nearest edit / its radius", ylabel="share of the kind", xlim=(0, FAR), title=name)
    _curves(right, found)
    for axes in (left, right):  # nothing that is drawn is to lie under a legend
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, fontsize="small")
    return written(figure, [], path)


def _histograms(axes: Axes, trial: Trial, attempt: Attempt) -> None:
    factor, _ = attempt.distances.reach(attempt.radii)
    edges = np.linspace(0, FAR, BINS + 1)
    for kind, colour in COLOURS.items():
        apart = factor[trial.of(kind, choosing=False)]
        if len(apart):
            far = f", {np.mean(apart > FAR):.0%} farther" if np.any(apart > FAR) else ""
            weights = np.full(len(apart), 1 / len(apart))
            style = {"alpha": 0.35, "histtype": "stepfilled"} if kind == "rephrase" else {"histtype": "step"}
            axes.hist(
                apart, edges.tolist(), weights=weights, color=colour, label=f"{kind} ({len(apart)}{far})", **style
            )
    radii = {"without": attempt.radii.free, "with": attempt.radii.named}
    told = [f"{radius:.3g} of edits {whose} a subject" for whose, radius in radii.items() if radius is not None]
    plain = f"{attempt.radii.free:.3g}" if not attempt.candidate.subjects else ", ".join(told)
    axes.axvline(1.0, color="black", linestyle=":", label=f"radius: {plain}")


def _curves(axes: Axes, found: Calibrated) -> None:
    """All candidates, the best ones by name; the chosen one is the widest line."""
    tried, chosen = found.result.candidates, found.result.chosen
    order = sorted(range(len(tried)), key=lambda i: (i == chosen, tried[i].choosing_recall))
    least = 0.5 / len(found.trial.of("distractor", choosing=False))  # stands for none on the logarithmic scale
    for place in order:
        false, recall = curve(found.trial, found.attempts[place].distances, found.attempts[place].radii)
        style: dict[str, Any] = {"color": "lightgray", "linewidth": 0.8}
        if place in order[-NAMED:]:
            style = {"label": tried[place].name, "linewidth": 2.5 if place == chosen else 1.2}
        axes.step(np.maximum(false, least), recall, where="post", **style)
    axes.axvline(found.result.wanted, color="black", linestyle=":", label="wanted at most")
    axes.set(
        xscale="log",
        xlabel="share of distractors led to an edit",
        ylabel="share of rephrases led right",
        ylim=(-0.02, 1.02),
        title="Candidates, by distances to single keys",
    )
