"""Reads what a night has stored into a ``Page``: its tables, its version, and the version that it edited."""

from __future__ import annotations

import base64
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.editing.folder import read_manifest
from pipeline.editlog import records_of, taken_back
from pipeline.evaluation.gate import Verdict
from pipeline.evaluation.scores import Scores
from pipeline.journal import Journal, Night
from pipeline.report import changes, faults, measures
from pipeline.report.meetings import Index
from pipeline.report.page import Before, Command, Contradiction, Cut, Fact, Failed, Figure, Page, Refusal, Step
from pipeline.sources.files import shown
from schemas.answers import ANSWERS
from schemas.manifest import Manifest
from schemas.reports import CONTRADICTIONS, QUARANTINE, REPORTS

FIGURES = {
    "scores": (
        "Scores over edits",
        "Lines of edit success, generality, locality and ARR, a point a version, against the number of edits; the last "
        "points are the scores in the table above.",
    ),
    "scope": (
        "Scope by kind of question",
        "Bars of the shares in the two tables of kinds of questions: what gets the right answer, and what is led to an "
        "edit that it does not ask for.",
    ),
    "distances": (
        "Distances and radii",
        "Curves of how far questions of each kind lie from the nearest scope, in its radii, and a histogram of the "
        "radii around edits.",
    ),
    "conflicts": (
        "Where edits fell",
        "Points: the cluster that each edit entered, in order of arrival, by whether it was added, joined others, met "
        "a conflict or replaced an edit.",
    ),
}
"""Figures of a night, by the names of their files -> heading, and what is seen in words."""
RECIPE = (
    *("key_layer", "block_modules", "partial_rank", "radius", "subject_radius"),
    *("edits_per_block", "iterations", "learning_rate", "wordings"),
)
CHOSEN = ("pooling", "subjects", "margin", "conflicts", "seed")
"""Settings that a page shows: of the recipe that was settled, and of what was asked for."""
STEPS = {
    "reports": "reading reports",
    "version": "making the version: teaching, or taking back",
    "scores": "asking both models",
    "gate": "the gate",
}
"""Steps of a night before its version is registered -> what is done in them."""


def gather(journal: Journal, night: Night) -> Page:
    """What the page of a night's version shows.

    Args:
        journal: of the runs; every step of the night up to ``gate`` has ended.
        night: one that made a version.
    """
    results, digest = journal.results(night), str(journal.results(night)["version"]["digest"])
    scores, verdict = Scores.model_validate(results["scores"]), Verdict.model_validate(results["gate"])
    version, answers = journal.versions / digest, _table(night.folder / "answers.parquet", ANSWERS)
    records, manifest = records_of(version), read_manifest(version)
    base, maker = night.base, _maker(journal, night)
    earlier = {} if maker is None else journal.results(maker)
    then = Scores.model_validate(earlier["scores"]) if "scores" in earlier else None
    old_records = None if base is None else records_of(journal.versions / base)
    old_answers = None if maker is None else maker.folder / "answers.parquet"
    compared = _compared(answers, old_answers)
    prompts = dict(zip(records["edit_id"].to_pylist(), records["prompt"].to_pylist(), strict=True))
    index, undone = Index(version, records), tuple(taken_back(night.source))
    number = earlier.get("registered", {}).get("number")
    return Page(
        night=night.number,
        date=night.begun,
        digest=digest,
        source=shown(night.source),
        passed=verdict.passed,
        reasons=verdict.reasons,
        before=None if base is None else Before(base, number, None if maker is None else maker.number),
        counts=results.get("reports", {}),
        live=records["state"].to_pylist().count("live"),
        taught=results["version"]["taught"],
        undone=undone,
        measures=measures.measures(scores, verdict, then, answers),
        said=measures.kinds_said(scores, then),
        left_alone=measures.kinds_left_alone(scores, then),
        facts=tuple(_facts(manifest)),
        edits={what: Cut.of(edits) for what, edits in changes.edits_changed(records, old_records, answers).items()},
        fixed=Cut.of(compared.fixed if compared else ()),
        broken=Cut.of(compared.broken if compared else ()),
        otherwise=Cut.of(compared.otherwise if compared else ()),
        compared=compared.compared if compared else None,
        failures=tuple(
            Failed(some.kind, Cut.of(some.rows, total=sum(some.faults.values())), some.faults)
            for some in faults.failed(answers, prompts)
        ),
        misled=Cut.of(faults.misled(answers, prompts)),
        meetings=Cut.of(index.meetings(), total=len(index.cut)),
        moved=Cut.of(index.moved()),
        contradictions=Cut.of(_contradictions(night.folder)),
        quarantine=Cut.of(_quarantine(night.folder)),
        refused=Cut.of(_refused(results["version"].get("refused", {}), night.folder)),
        figures=tuple(_figures(night.folder)),
        steps=tuple(_steps(journal.times(night))),
        commands=tuple(_commands(night, manifest, verdict.passed, undone, records)),
    )


def _maker(journal: Journal, night: Night) -> Night | None:
    """The night that made a night's base, if that was here."""
    made = [
        other
        for other in journal.nights()
        if other.number < night.number and journal.results(other).get("version", {}).get("digest") == night.base
    ]
    return made[-1] if made and night.base is not None else None


def _table(file: Path, schema: pa.Schema) -> pa.Table:
    """A table of a night; one that an earlier release did not write is empty, a column that it lacks null."""
    return pq.read_table(file, schema=schema) if file.is_file() else schema.empty_table()


def _compared(answers: pa.Table, before: Path | None) -> changes.AnswerChanges | None:
    if before is None or not before.is_file():
        return None
    return changes.answers_changed(answers, _table(before, ANSWERS))


def _facts(manifest: Manifest) -> Iterator[Fact]:
    backbone, encoder = manifest.backbone, manifest.encoder
    yield Fact("backbone", f"{backbone.reference} ({backbone.task}, weights {backbone.digest[:12]})")
    made = "the backbone's own hidden states" if encoder is None else f"{encoder.reference} ({encoder.digest[:12]})"
    yield Fact("keys", made)
    if manifest.metric is not None:
        yield Fact("metric", f"fitted map {manifest.metric[:12]}")
    settled = {name: manifest.recipe.get(name) for name in RECIPE}
    for name, value in (settled | {name: manifest.settings.get(name) for name in CHOSEN}).items():
        if value is not None:
            yield Fact(name.replace("_", " "), _value(value))


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _contradictions(folder: Path) -> Iterator[Contradiction]:
    for row in _table(folder / "contradictions.parquet", CONTRADICTIONS).to_pylist():
        yield Contradiction(row["prompt"], row["kept_target"], row["dropped_target"], row["reason"])


def _quarantine(folder: Path) -> Iterator[Refusal]:
    """Rows in quarantine by their reason, the most frequent one first."""
    by_reason: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in _table(folder / "quarantine.parquet", QUARANTINE).to_pylist():
        by_reason[row["reason"]].append(row)
    for reason, rows in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        first = rows[0]
        yield Refusal(reason, len(rows), f"{first['source']}, line {first['line']}", first["detail"])


def _refused(refused: Mapping[str, str], folder: Path) -> Iterator[Refusal]:
    """Edits that the model cannot take."""
    edits = _table(folder / "edits.parquet", REPORTS).select(["edit_id", "prompt", "source", "line"]).to_pylist()
    rows = {row["edit_id"]: row for row in edits}
    for edit_id, why in refused.items():
        row = rows.get(edit_id)
        place = "an earlier night" if row is None else f"{row['source']}, line {row['line']}"
        yield Refusal(why, 1, place, edit_id if row is None else row["prompt"])


def _figures(folder: Path) -> Iterator[Figure]:
    for name, (title, alt) in FIGURES.items():
        file = folder / f"{name}.png"
        if file.is_file():
            yield Figure(title, alt, f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}")


def _steps(times: Mapping[str, float]) -> Iterator[Step]:
    """Those that have ended whenever the page is made."""
    found = {what: times[name] for name, what in STEPS.items() if name in times}
    longest = max(found.values(), default=0.0)
    for what, seconds in found.items():
        yield Step(what, seconds, seconds / longest if longest else 0.0)


def _commands(
    night: Night, manifest: Manifest, passed: bool, undone: tuple[str, ...], records: pa.Table
) -> Iterator[Command]:
    backbone = shlex.quote(manifest.backbone.reference)
    if undone:
        yield Command("Make it again", f"melo undo {undone[0]}")
    else:
        reports = shlex.quote(shown(night.source))
        yield Command("Make it again, in a new home", f"melo run --reports {reports} --backbone {backbone}")
    yield Command("Score it again", "melo evaluate NUMBER")
    live = [row for row, state in enumerate(records["state"].to_pylist()) if state == "live"]
    if live:
        yield Command("Take back one edit, here the last one", f"melo undo {records['edit_id'][live[-1]].as_py()[:12]}")
    if passed and night.base is not None:
        yield Command("Put the version before back into use", "melo rollback --why REASON")
    elif not passed:
        yield Command("Put it into use all the same", "melo promote NUMBER --why REASON")
    yield Command("Ask both models", 'melo ask "a prompt"')
