"""Making and judging versions: runs, undoing, jobs, evaluation."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.commands.common import (
    all_settings,
    edits_of,
    example_upstream,
    out,
    plain_errors,
    print_json,
    progress,
    the_champion,
    the_registry,
    the_teller,
)
from pipeline.settings import Settings
from pipeline.telling import Teller

if TYPE_CHECKING:
    from pipeline.registry.tracking import Registered
    from pipeline.run import RunResult

KEPT_BACK = 3
"""Exit code of a run whose version the gate kept back."""


def run(reports: str | None, backbone: str | None, as_json: bool) -> None:
    """One run; without a backbone in the settings, one of the example."""
    settings = Settings()
    backbone, source = backbone or settings.backbone, reports or settings.reports
    teller = the_teller(settings)
    with plain_errors():
        if backbone is None:
            settings, backbone, source = _example(settings, source, teller)
        if source is None:
            raise typer.BadParameter("no reports: pass --reports, or set MELO_REPORTS, to a file, a folder or a URL")
        _nights(settings, source, backbone, as_json, teller)


def undo(edit_id: str | None, reporter: str | None, as_json: bool) -> None:
    """A version without some of the champion's edits, scored, registered and held against the gate as any other.

    Either one edit, by its id, or all that rest on a reporter alone.
    """
    from pipeline.editing.folder import read_manifest
    from pipeline.editlog import UNDO

    if (edit_id is None) == (reporter is None):
        raise typer.BadParameter("name an ID, or a --reporter, and not both")
    settings = all_settings()
    teller = the_teller(settings)
    with plain_errors():
        champion = the_champion(settings)
        if edit_id is not None:
            source = UNDO + _live_edit(champion, edit_id)
        else:
            gone = _reporters_edits(settings, champion, str(reporter), as_json)
            source = f"{UNDO}{','.join(gone)} it rests on the reporter {reporter} alone"
        backbone = settings.backbone or read_manifest(champion.folder).backbone.reference
        _nights(settings, source, backbone, as_json, teller)


def _live_edit(champion: Registered, beginning: str) -> str:
    """The id of the champion's live edit whose id begins so."""
    row, *others = edits_of(champion, beginning)
    if others:
        raise typer.BadParameter(f"{beginning!r} begins the ids of {1 + len(others)} edits: give more of it")
    if row["state"] != "live":
        raise typer.BadParameter(f"edit {row['edit_id']} is not live but {row['state']}: there is nothing to undo")
    return str(row["edit_id"])


def _reporters_edits(settings: Settings, champion: Registered, reporter: str, as_json: bool) -> list[str]:
    """The ids of the champion's edits that rest on a reporter alone; the others are told."""
    from pipeline import edit_screens
    from pipeline.commands.edits import resting_on

    gone, kept = resting_on(settings, champion, reporter)
    told = progress if as_json else out
    for row in gone:
        told.print(edit_screens.edit_line(row["edit_id"], "goes", row["prompt"], row["target"]))
    for row, others in kept:
        told.print(edit_screens.edit_line(row["edit_id"], "stays", row["prompt"], row["target"]))
        told.print(
            f"    reported by {edit_screens.one_line(', '.join(others))}, too: melo undo {row['edit_id'][:12]}",
            highlight=False,
        )
    if not gone:
        raise typer.BadParameter(
            f"no live edit of the champion rests on the reporter {reporter!r} alone"
            + (f", {len(kept)} on others, too" if kept else "; melo edits show ID names those of an edit")
        )
    return [row["edit_id"] for row in gone]


def submit(reports: str, backbone: str | None, address: str, wait: bool) -> None:
    """Sends a run over a backlog to a cluster; with ``wait`` it ends as that run does."""
    from datetime import UTC, datetime

    from workers.submission import job, outcome
    from workers.submission import submit as send

    settings = Settings()
    backbone = backbone or settings.backbone
    if backbone is None:
        raise typer.BadParameter("no backbone: pass --backbone, or set MELO_BACKBONE, to what the cluster's nodes find")
    with plain_errors():
        submitted, new = send(address, job(settings, reports, backbone, datetime.now(UTC).date()))
    out.print(f"{submitted}{'' if new else ' was submitted before and is not submitted again'}", highlight=False)
    out.print(f"ray job logs --address {address} --follow {submitted}", highlight=False)
    if wait:
        with plain_errors():
            code, printed = outcome(address, submitted)
        out.print(printed, highlight=False)
        raise typer.Exit(code)


def _nights(settings: Settings, source: str, backbone: str, as_json: bool, teller: Teller) -> None:
    """The night that is asked for, after one that did not end, each with its screen."""
    from pipeline.run import run as run_night

    kept_back = False
    while True:
        result = run_night(settings, source, backbone, teller)
        asked = result.source == source
        if not as_json:
            _show(settings, result)
        elif asked:
            print_json(asdict(result))
        kept_back |= result.verdict is not None and not result.promoted
        if asked:
            break
    if kept_back:
        raise typer.Exit(KEPT_BACK)


def _show(settings: Settings, result: RunResult) -> None:
    from pipeline import screens

    if result.verdict is None:
        out.print(
            f"Nothing new: {result.counts['reports']} reports read, {result.counts['duplicates']} known already, "
            f"{result.counts['quarantine']} in quarantine, {result.counts.get('review', 0)} to be reviewed. "
            "The champion stays as it is."
        )
    else:
        out.print(screens.run_result(result, str(settings.home.absolute())))


def evaluate(number: int | None, reports: str | None, as_json: bool) -> None:
    """Scores of a version, by its own edits or by reports that it may never have seen."""
    import tempfile

    from pipeline import screens
    from pipeline.editing.folder import read_manifest
    from pipeline.editlog import EditLog
    from pipeline.evaluation import judge, questions
    from pipeline.evaluation.probes import Probing
    from pipeline.journal import Journal
    from pipeline.sources import admit, pairs, read
    from workers.connect import connected
    from workers.models import ModelSpec
    from workers.scoring import score

    settings = all_settings()
    teller = the_teller(settings)
    with plain_errors(), tempfile.TemporaryDirectory() as scratch:
        version = the_champion(settings) if number is None else the_registry(settings).version(number)
        if reports is None:
            journal = Journal(settings.home)
            edits = EditLog(journal, []).to_be_known(version.folder)
            journal.close()
        else:
            edits = admit((batch.reports for batch in read(reports, allowed=settings.trust.sources)), {}).edits
        if not edits.num_rows:
            raise typer.BadParameter(
                f"no questions: {reports or settings.home} has no edit to ask version {version.number} for; "
                "name a file of reports with --reports"
            )
        probing = Probing(settings.probes, version.number, read_manifest(version.folder).backbone.task)
        asked = questions(edits, pairs(str(settings.upstream)) if settings.upstream else [], probing)
        spec = ModelSpec(None, settings.task, settings.editing, str(version.folder))
        with connected(settings.ray_address):
            scores = score(settings, spec, asked, Path(scratch), teller.track)
        verdict = judge(scores, None, settings.gate)
        shown = screens.evaluation(Path(scratch) / "answers.parquet", scores, verdict)
    if as_json:
        found = {"version": version.number, "digest": version.digest, "scores": scores, "verdict": verdict}
        print_json(found)
    else:
        out.print(*shown, sep="\n")
        out.print(
            f"\nVersion {version.number} {'passes' if verdict.passed else 'does not pass'} the gate", style="bold"
        )
    if not verdict.passed:
        raise typer.Exit(KEPT_BACK)


def _example(settings: Settings, source: str | None, teller: Teller) -> tuple[Settings, str, str]:
    """The built-in backbone, and the reports of the first night that was not read yet."""
    from pipeline.example import REPORTS, known_facts
    from pipeline.example.backbone import build_backbone
    from pipeline.journal import Journal, write_atomically

    teller.say("no backbone is configured (MELO_BACKBONE): taking the built-in example")
    home = settings.home.absolute() / "example"
    backbone = build_backbone(home / "backbone", teller)
    rows = [json.dumps({"prompt": prompt, "target": target}) for prompt, target in known_facts()]
    write_atomically(example_upstream(settings), "\n".join(rows).encode())
    nights = sorted(REPORTS.glob("night-*.jsonl"))
    journal = Journal(settings.home)
    read = {night.source for night in journal.nights() if night.ended and not str(night.outcome).startswith("failed")}
    journal.close()
    unread = [str(path) for path in nights if str(path) not in read]
    return all_settings(), str(backbone), source or (unread or [str(nights[-1])])[0]
