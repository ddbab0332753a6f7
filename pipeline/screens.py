"""What a person sees: runs, versions and answers as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.words import COUNTED, OTHERS, WORDINGS

if TYPE_CHECKING:
    from pipeline.doctor.finding import Finding
    from pipeline.evaluation import Scores, Verdict
    from pipeline.evaluation.calibration.result import Calibration, Rate, Tried
    from pipeline.evaluation.scores import Slice
    from pipeline.registry.promotions import Promotion
    from pipeline.run import RunResult

SHOWN = 6
"""Edits of which before and after are shown."""
SLICES = 12
"""Ages or sources that are shown, those with the least success."""
CANDIDATES = 10
"""Candidates of a calibration that are shown, the chosen one first."""
_LEGEND = (
    "* chosen; ! more false routes than wanted in the half that radii were chosen on. Shares are of the other half, "
    "with 95% intervals; false routes are those of questions in an edit's form about another subject."
)
CALIBRATED = {
    "distractor_unedited": "same form, a subject that no edit is about",
    "distractor_edited": "same form, the subject of another edit",
    "traffic": "traffic",
}
"""Kinds that only a calibration asks -> likewise."""


STATES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
"""States of a finding -> how they are shown."""


def run_result(result: RunResult, home: str) -> RenderableType:
    """A run that made a version: what came in, before and after, scores and gates, and where to look next."""
    assert result.scores is not None
    assert result.verdict is not None
    alias = "champion" if result.promoted else "candidate, kept back"
    return Group(
        _counts(result),
        *evaluation(result.folder / "answers.parquet", result.scores, result.verdict),
        Text(f"\nVersion {result.number} is {alias} (night {result.night}, {str(result.digest)[:12]})", style="bold"),
        *(Text(f"  because {reason}", style="red") for reason in result.verdict.reasons),
        Text(
            '\nNext: melo ask "a prompt"; melo report; melo edits; melo status; melo history. '
            f"All tables of this night: {result.folder}. Runs and versions: mlflow ui --backend-store-uri "
            f"sqlite:///{home}/mlflow.db"
        ),
    )


def evaluation(answers: Path, scores: Scores, verdict: Verdict) -> list[RenderableType]:
    """Before and after, scores with their gates, and how they differ by the edits' age and source.

    Args:
        answers: file of schema ANSWERS.
        scores: of them.
        verdict: of the scores.
    """
    sliced = [
        _slices(title, slices)
        for title, slices in (("By versions since learned", scores.by_age), ("By source", scores.by_source))
        if len(slices) > 1
    ]
    return [_before_and_after(answers), _scores(scores, verdict), *_scope(scores), *sliced]


def _counts(result: RunResult) -> RenderableType:
    table = _table("Reports", ["", "rows"])
    for name, rows in result.counts.items():
        _add(table, COUNTED.get(name, name), f"{rows:,}")
    lines: list[RenderableType] = [table]
    for row in pq.read_table(result.folder / "contradictions.parquet").to_pylist()[:SHOWN]:
        lines.append(
            Text(
                f"  {row['prompt']!r}: {row['kept_target']!r} kept, {row['dropped_target']!r} dropped: {row['reason']}"
            )
        )
    if result.counts.get("review"):  # nights of earlier releases have no such table
        for row in pq.read_table(result.folder / "review.parquet").to_pylist()[:SHOWN]:
            lines.append(Text(f"  to be reviewed: {row['complaint_id'][:12]}: {row['prompt']!r}: {row['rating']}"))
    for row in pq.read_table(result.folder / "quarantine.parquet").to_pylist()[:SHOWN]:
        lines.append(Text(f"  quarantined: {row['source']}, line {row['line']}: {row['reason']}"))
    for edit_id, why in list((result.refused or {}).items())[:SHOWN]:
        lines.append(Text(f"  not for this model: {edit_id[:12]}: {why}"))
    if result.expired:
        lines.append(Text(f"  {result.expired:,} edits were taken out: their time is over"))
    return Group(*lines)


def _before_and_after(answers: Path) -> RenderableType:
    table = _table("Before and after", ["prompt", "the backbone said", "now", ""])
    rows = [row for row in pq.read_table(answers).to_pylist() if row["answer"] is not None]
    edits = [row for row in rows if row["kind"] == "edit"][-SHOWN:]
    others = [row for row in rows if row["kind"] in ("locality", "upstream")][:2]
    for row in edits:
        _add(table, row["prompt"], row["base_answer"], row["answer"], "right" if row["exact_match"] else "WRONG")
    for row in others:
        same = row["answer"] == row["base_answer"]
        _add(table, row["prompt"], row["base_answer"], row["answer"], "as before" if same else "CHANGED")
    return table


def _scores(scores: Scores, verdict: Verdict) -> RenderableType:
    table = _table("Scores", ["", "version", "gate"])
    gates = {check.name: check for check in verdict.checks}
    rows: list[tuple[str, float | None]] = [
        ("edit success", scores.edit_success),
        ("worst tenth of edits", scores.worst_tenth),
        ("generality", scores.generality),
        ("locality", scores.locality),
        ("false routes", scores.left_alone["distractor"].led if "distractor" in scores.left_alone else None),
        ("ARR", scores.arr),
        ("upstream before", scores.upstream.before),
        ("upstream", scores.upstream.after),
        ("routing precision", scores.routing_precision),
        ("routing recall", scores.routing_recall),
        ("seconds a question", scores.seconds_per_question),
        ("bytes an edit", scores.bytes_per_edit),
    ]
    rows[6:6] = [("perplexity of edits", scores.perplexity["edit"].after)] if "edit" in scores.perplexity else []
    for name, value in rows:
        if value is None:
            continue
        check = gates.get(name)
        gate = "" if check is None else f"{'passed' if check.passed else 'FAILED'}: {check.why}"
        shown = f"{value:.2g}" if "seconds" in name else f"{value:,.0f}" if "bytes" in name else f"{value:.3f}"
        _add(table, name, shown, gate)
    return table


def _scope(scores: Scores) -> Iterator[RenderableType]:
    """Where edits are heard and where they are not, by kind of question; derived ones were made from the edits."""
    measured = {"edit": scores.edit_success, "rephrase": scores.generality} | scores.reworded
    if any(measured.get(kind) is not None for kind in WORDINGS):
        table = _table("Questions that an edit is to answer", ["", "asked", "right", "right with its own block"])
        for kind, name in WORDINGS.items():
            share = measured.get(kind)
            if share is not None:
                _add(table, name, f"{scores.counts[kind]:,}", f"{share:.3f}", _share(scores.oracle.get(kind)))
        yield table
    if scores.left_alone:
        table = _table("Questions that no edit is to touch", ["", "asked", "as before", "led to an edit (95%)"])
        for kind, name in OTHERS.items():
            left = scores.left_alone.get(kind)
            if left is not None:
                led = f"{left.led:.3f} ({left.low:.3f} to {left.high:.3f})"
                _add(table, name, f"{scores.counts[kind]:,}", f"{left.unchanged:.3f}", led)
        yield table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _slices(title: str, slices: Mapping[str, Slice]) -> RenderableType:
    table = _table(title, ["", "edits", "success", "generality", "locality", "derived: right", "as before"])
    worst = sorted(slices, key=lambda name: slices[name].success or 0.0)[:SLICES]
    for name, part in slices.items():
        if name not in worst:
            continue
        shares = (part.success, part.generality, part.locality, part.reworded, part.others)
        _add(table, name, f"{part.edits:,}", *map(_share, shares))
    if len(slices) > SLICES:
        _add(table, f"and {len(slices) - SLICES:,} more, none worse", *[""] * 6)
    return table


def calibration(found: Calibration) -> RenderableType:
    """The candidates with most recall, the chosen one by kind of question, and what they don't show."""
    title = f"Candidates, with {found.edits:,} edits and {found.held_out:,} held out"
    table = _table(title, ["", "keys by", "radius", "rephrases led right", "misspelt, wrapped", "false routes"])
    order = sorted(
        range(len(found.candidates)), key=lambda i: (i != found.chosen, -found.candidates[i].choosing_recall)
    )
    for place in order[:CANDIDATES]:
        tried = found.candidates[place]
        radii = [tried.settings[name] for name in ("radius", "subject_radius")]
        _add(
            table,
            "*" if place == found.chosen else "" if tried.holds else "!",
            tried.name,
            ", ".join(f"{radius:.3g}" for radius in radii if radius is not None) or "-",
            _interval(tried.found.get("rephrase")),
            ", ".join(f"{tried.found[kind].share:.3f}" for kind in ("typo", "wrapped") if kind in tried.found),
            _interval(tried.led.get("distractor")),
        )
    lines: list[RenderableType] = [table, Text(_LEGEND)]
    if len(order) > CANDIDATES:
        lines.append(Text(f"and {len(order) - CANDIDATES} more, none better; --json has all"))
    if found.choice is not None:
        lines.append(_false_routes(found, found.choice))
    if found.own_negatives is not None:
        own = found.own_negatives
        lines.append(
            Text(
                f"\n{own.inside:,} of {own.edits:,} edits with locality prompts or questions about another relation "
                "have one inside the radius around their key: a radius of their own would serve them better"
            )
        )
    return Group(*lines, *(Text(f"note: {note}") for note in found.notes))


def _false_routes(found: Calibration, choice: Tried) -> RenderableType:
    """The chosen candidate's false routes by kind, and which kinds were held to what is wanted."""
    table = _table(f"Questions led to an edit by {choice.name}", ["", "asked", "led to an edit", "wanted"])
    bounds = {bound.kind: bound for bound in found.bounds}
    for kind, rate in choice.led.items():
        wanted = ""
        if (bound := bounds.get(kind)) is not None:
            least = f"at most {bound.wanted:g}"
            wanted = least if bound.bounded else f"{least} would leave {bound.recall:.3f} of rephrases: not held"
        _add(table, CALIBRATED.get(kind) or OTHERS[kind], f"{rate.asked:,}", _interval(rate), wanted)
    return table


def _interval(rate: Rate | None) -> str:
    return "-" if rate is None else f"{rate.share:.3f} ({rate.low:.3f}-{rate.high:.3f})"


def review(waiting: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Complaints that wait, rows of schema REVIEW."""
    table = _table("Waiting for a review", ["id", "prompt", "the model said", "rating", "reporter", "source"])
    table.columns[0].no_wrap = True  # an id is there to be copied
    for row in waiting:
        said, reporter = row["said"] or "-", row["reporter"] or "-"
        place = f"{row['source']}, line {row['line']}"
        _add(table, row["complaint_id"][:12], row["prompt"], said, row["rating"], reporter, place)
    next_steps = 'melo review ID --answer "what is right"; melo review ID --dismiss'
    return Group(table, Text(next_steps)) if waiting else Text("No complaint waits for a review.")


def examination(findings: Sequence[Finding]) -> RenderableType:
    """What ``melo doctor`` found: a line each, and what to do below those that are not ok."""
    table = _table("What was looked at", ["", "", ""])
    table.show_header = False
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for found in findings:
        told = Text(found.told)
        if found.advice:
            told.append(f"\n-> {found.advice}", style="bold")
        table.add_row(Text(found.state, style=STATES[found.state]), Text(found.part), told)
    counts = Counter(str(found.state) for found in findings)
    summary = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    return Group(table, Text(summary))


def history(moves: Sequence[Promotion]) -> RenderableType:
    """Every promotion and rollback."""
    table = _table("Versions in use", ["when (UTC)", "from", "to", "what", "by", "why"])
    for move in moves:
        _add(
            table,
            move.when.strftime("%Y-%m-%d %H:%M:%S"),
            "-" if move.from_version is None else str(move.from_version),
            str(move.to_version),
            move.kind,
            move.by,
            move.why,
        )
    return table


def _add(table: Table, *cells: str) -> None:
    """A row of texts that are shown as they stand: brackets in a prompt are no markup."""
    table.add_row(*map(Text, cells))


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
