"""What the commands of the study measure, each with its tables for a person and its rows for a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict

import pyarrow as pa
import typer
from rich.text import Text

from pipeline.bench import report
from pipeline.bench.editors import EDITORS, RETAINED
from pipeline.bench.editors.protocol import Editor
from pipeline.bench.study import figure3, figure4, figure5, retention
from pipeline.bench.study.commands import Bench, Found
from pipeline.bench.study.contest import contest
from pipeline.bench.study.keeping import Findings
from pipeline.bench.study.scores import scores
from pipeline.bench.study.table2 import Row, costs, table2
from pipeline.bench.study.table3 import measure as measure_speed
from pipeline.bench.study.table3 import table3
from pipeline.bench.study.tasks import TASKS
from pipeline.editing.families import resolve
from pipeline.evaluation.asking import BackboneAnswers

ROUNDS = 3
QUICK_CUTS = (1, 2, 5, 10, 20)
QUICK_PARTS, QUICK_RANKS, QUICK_LAYERS = 2, (1, 2), 2


def measure_table2(names: Sequence[str]) -> Callable[[Bench], Found]:
    """Table 2 for these editors."""

    def measure(bench: Bench) -> Found:
        study, task = bench.study, TASKS[bench.study.task]
        rows: list[Row] = []
        for result, answers in contest(study, chosen(names), bench.editors, bench.teller):
            rows.append((result, [] if answers is None else scores(answers, study.seed)))
        told = {
            "editors": [
                asdict(result) | {"edits_per_minute": result.edits_per_minute, "scores": [asdict(s) for s in found]}
                for result, found in rows
            ]
        }
        flat = [{"editor": result.name} | asdict(score) for result, found in rows for score in found]
        metrics = {f"{row['editor']}.{row['kind']}.{_plain(row['measure'])}": row["value"] for row in flat}
        metrics |= {f"{r.name}.edits_per_minute": r.edits_per_minute for r, _ in rows if r.edits_per_minute}
        return [table2(study.task, task.measure, rows), Text(), costs(rows)], Findings("", told, flat, metrics)

    return measure


def measure_table3(names: Sequence[str]) -> Callable[[Bench], Found]:
    """Table 3 for these editors."""

    def measure(bench: Bench) -> Found:
        rounds = 1 if bench.quick else ROUNDS
        speeds = measure_speed(bench.study, chosen(names), rounds, bench.editors, bench.teller)
        rows = [asdict(speed) for speed in speeds]
        metrics = {f"{s.name}.edits_per_minute": s.edits_per_minute for s in speeds if s.edits_per_minute}
        table = table3(bench.study.task, len(bench.study.edits), speeds)
        return [table], Findings("", {"editors": rows}, rows, metrics)

    return measure


def measure_figure3(bench: Bench) -> Found:
    """Radius against clusters, conflicts and forgotten edits."""
    study = bench.study
    folds = 2 * len(figure3.MULTIPLES) * len(study.edits)
    with bench.teller.track("folding the stream for every radius", folds) as advance:
        found = figure3.measure(study.backbone, study.edits, study.upstream, bench.settings, study.seed, advance)
    picture = figure3.draw(found, bench.folder / "figure3.png")
    rows = [
        {"radius": at.radius, "mode": mode, "put_back": at.put_back if mode == "keep" else 0} | asdict(scopes)
        for at in found.radii
        for mode, scopes in (("keep", at.keep), ("paper", at.paper))
    ]
    shown = ["radius", "clusters", "conflicts", "evicted (paper)", "put back (keep)", "holdouts led", "upstream led"]
    table = report.new_table(
        f"Figure 3: {found.edits} edits with {found.answers} answers, key {found.key_layer}", shown
    )
    for at in found.radii:
        table.add_row(
            f"{at.radius:.3g}{' *' if at.radius == found.in_force else ''}",
            *(str(n) for n in (at.keep.clusters, at.keep.conflicts, at.paper.evicted, at.put_back)),
            *(_share(share) for share in (at.keep.holdouts_led, at.keep.upstream_led)),
        )
    note = "* the radius in force. Led: to an edit of the right answer (holdouts), to any edit (upstream)."
    return [report.with_notes(table, note)], Findings("", asdict(found), rows, {}, [picture])


def measure_figure4(bench: Bench) -> Found:
    """Partial rank against scores and time."""
    study = bench.study
    ranks, parts = (QUICK_RANKS, QUICK_PARTS) if bench.quick else (figure4.RANKS, figure4.PARTS)
    with bench.teller.track("learning the stream at every rank", len(ranks) * len(study.edits)) as advance:
        found = figure4.measure(
            study.backbone, study.edits, study.upstream, bench.settings, study.seed, advance, ranks, parts
        )
    picture = figure4.draw(found, bench.folder / "figure4.png")
    rows = [
        {"rank": at.rank, "edits": edits, "seconds": at.seconds, "parameters": at.parameters} | asdict(asked)
        for at in found.ranks
        for edits, asked in zip(found.edits, at.curve, strict=True)
    ]
    heads = ["rank", "seconds", "M parameters", "edit success", "holdouts right", "upstream as before"]
    table = report.new_table(f"Figure 4: after {found.edits[-1]} edits, {found.edits_per_block} edits a block", heads)
    for at in found.ranks:
        last = at.curve[-1]
        shares = (last.success, last.generality, last.agreement)
        table.add_row(str(at.rank), f"{at.seconds:.1f}", f"{at.parameters / 1e6:.3f}", *map(_share, shares))
    return [table], Findings("", asdict(found), rows, {}, [picture])


def measure_figure5(bench: Bench) -> Found:
    """Key layer against scores."""
    study = bench.study
    recipe = resolve(study.backbone.model, study.backbone.task, bench.settings)
    layers = list(figure5.key_layers(study.backbone, recipe))[: QUICK_LAYERS if bench.quick else None]
    with bench.teller.track("learning the stream with every key layer", len(layers) * len(study.edits)) as advance:
        found = figure5.measure(
            study.backbone, study.edits, study.upstream, bench.settings, study.seed, advance, layers
        )
    picture = figure5.draw(found, bench.folder / "figure5.png")
    rows = [
        {"layer": at.layer, "name": at.name, "radius": at.radius, "clusters": at.clusters} | asdict(at.found)
        for at in found.layers
    ]
    heads = [
        "layer",
        "radius",
        "clusters",
        "edit success",
        "holdouts right",
        "holdouts led",
        "upstream led",
        "as before",
    ]
    table = report.new_table(f"Figure 5: {found.edits} edits, key layer in force {found.in_force}", heads)
    for at in found.layers:
        asked = at.found
        shares = (asked.success, asked.generality, asked.holdouts_led, asked.upstream_led, asked.agreement)
        table.add_row(str(at.layer), f"{at.radius:.3g}", str(at.clusters), *map(_share, shares))
    return [table], Findings("", asdict(found), rows, {}, [picture])


def measure_retention(names: Sequence[str]) -> Callable[[Bench], Found]:
    """What is still known of edits as more and more come."""

    def measure(bench: Bench) -> Found:
        study = bench.study
        cuts = QUICK_CUTS if bench.quick else retention.CUTS
        before = BackboneAnswers(study.backbone)
        tables = []
        for name, kind in chosen(names or RETAINED).items():
            if kind.ruled_out(study.backbone.task):
                continue
            with closing(kind(study.backbone, study.prior)) as editor:
                bench.teller.say(f"{name}: preparing")
                editor.prepare()
                with bench.teller.track(f"{name}: learning and asking", len(study.edits)) as advance:
                    found = retention.measure({name: editor}, study.edits, study.seed, advance, cuts, before=before)
                    tables.append(found)
        found = pa.concat_tables(tables)
        picture = retention.draw(found, bench.folder / "retention.png")
        curves = retention.overall(found)
        counts = [edits for edits, _ in next(iter(curves.values()))]
        table = report.new_table("Retention: of all edits so far, those still answered right", ["", *map(str, counts)])
        for name, curve in curves.items():
            table.add_row(name, *(_share(share) for _, share in curve))
        metrics = {f"{name}.retention": curve[-1][1] for name, curve in curves.items()}
        rows = found.to_pylist()
        return [table], Findings("", {"ages": rows}, rows, metrics, [picture])

    return measure


OF_EDITORS: Mapping[str, Callable[[Sequence[str]], Callable[[Bench], Found]]] = {
    "table2": measure_table2,
    "table3": measure_table3,
    "retention": measure_retention,
}
OF_MELO: Mapping[str, Callable[[Bench], Found]] = {
    "figure3": measure_figure3,
    "figure4": measure_figure4,
    "figure5": measure_figure5,
}
"""The commands' measures by name: of the editors that are named, and of MELO alone."""


def chosen(names: Sequence[str]) -> Mapping[str, type[Editor]]:
    """The editors of these names, in the order of the table; of none all.

    Raises:
        typer.BadParameter: there is no such editor.
    """
    if unknown := [name for name in names if name not in EDITORS]:
        raise typer.BadParameter(f"no editor {unknown[0]!r}; there are {', '.join(EDITORS)}")
    return {name: kind for name, kind in EDITORS.items() if not names or name in names}


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.3f}"


def _plain(measure: str) -> str:
    """A measure as MLflow takes it in a metric's name."""
    return measure.replace(", ", "_").replace(" ", "_")
