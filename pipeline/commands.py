"""What the commands of ``melo`` do; ``pipeline.cli`` says what they are called and what they take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from pipeline.journal import user_name
from pipeline.settings import Settings
from pipeline.telling import Teller

if TYPE_CHECKING:
    from pipeline.registry.tracking import Registered, Registry
    from pipeline.run import RunResult

out, progress = Console(), Console(stderr=True)

KEPT_BACK = 3
"""Exit code of a run whose version the gate kept back."""


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors that say what to do are for the person who asked, without a traceback."""
    from transformers.utils import logging as transformers

    from pipeline.editing.backbone import BackboneError
    from pipeline.editing.checkpoint import CheckpointError
    from pipeline.editing.edit import EditError
    from pipeline.editing.families import RecipeError
    from pipeline.editing.index.points import IndexHomeError
    from pipeline.journal import BusyError
    from pipeline.registry.store import RegistryError
    from pipeline.sources import SourceError
    from workers.spread import SpreadError

    expected = (
        BackboneError,
        BusyError,
        CheckpointError,
        EditError,
        IndexHomeError,
        OSError,
        RecipeError,
        RegistryError,
        SourceError,
        SpreadError,
    )
    transformers.disable_progress_bar()
    try:
        yield
    except expected as error:
        progress.print(Text.assemble(("error: ", "red"), str(error)))
        raise typer.Exit(1) from None


def run(reports: str | None, backbone: str | None, as_json: bool) -> None:
    """One run; without a backbone in the settings, one of the example."""

    settings = Settings()
    backbone, source = backbone or settings.backbone, reports or settings.reports
    with plain_errors():
        if backbone is None:
            settings, backbone, source = _example(settings, source)
        if source is None:
            raise typer.BadParameter("no reports: pass --reports, or set MELO_REPORTS, to a file, a folder or a URL")
        _nights(settings, source, backbone, as_json)


def undo(edit_id: str, as_json: bool) -> None:
    """A version without one of the champion's edits, scored, registered and held against the gate as any other."""
    from pipeline.editing.checkpoint import read_manifest
    from pipeline.editlog import UNDO

    settings = _settings()
    with plain_errors():
        champion, (row, *others) = _champion_edits(settings, edit_id)
        if others:
            raise typer.BadParameter(f"{edit_id!r} begins the ids of {1 + len(others)} edits: give more of it")
        if row["state"] != "live":
            raise typer.BadParameter(f"edit {row['edit_id']} is not live but {row['state']}: there is nothing to undo")
        backbone = read_manifest(champion.folder).backbone.reference
        _nights(settings, UNDO + row["edit_id"], backbone, as_json)


def submit(reports: str, backbone: str | None, address: str) -> None:
    """Sends a run over a backlog to a cluster."""
    from datetime import UTC, datetime

    from workers.submission import job
    from workers.submission import submit as send

    settings = Settings()
    backbone = backbone or settings.backbone
    if backbone is None:
        raise typer.BadParameter("no backbone: pass --backbone, or set MELO_BACKBONE, to what the cluster's nodes find")
    with plain_errors():
        submitted, new = send(address, job(settings, reports, backbone, datetime.now(UTC).date()))
    out.print(f"{submitted}{'' if new else ' was submitted before and is not submitted again'}", highlight=False)
    out.print(f"ray job logs --address {address} --follow {submitted}", highlight=False)


def _nights(settings: Settings, source: str, backbone: str, as_json: bool) -> None:
    """The night that is asked for, after one that did not end, each with its screen."""
    from pipeline.run import run as run_night

    kept_back = False
    while True:
        result = run_night(settings, source, backbone, Teller(progress))
        asked = result.source == source
        if not as_json:
            _show(settings, result)
        elif asked:
            print(json.dumps(_plain(asdict(result)), indent=2))
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
            f"{result.counts['quarantine']} in quarantine. The champion stays as it is."
        )
    else:
        out.print(screens.run_result(result, str(settings.home.absolute())))


def ask(prompts: list[str], as_json: bool) -> None:
    """Answers of the backbone and the champion, and the route."""
    from pipeline.editing.model import EditedModel
    from pipeline.evaluation.generation import backbone_answers

    settings = Settings()
    with plain_errors():
        champion = _champion(settings)
        model = EditedModel.load(champion.folder, index="memory")
        said, routes = model.generate(prompts), model.route(prompts)
        tokens = backbone_answers(model.backbone, model.backbone.tokenize_prompts(prompts), 64)
        before = [model.backbone.decode_answer(answer) for answer in tokens]
    found = [
        {"prompt": prompt, "answer": now, "backbone": then, "version": champion.number} | asdict(route)
        for prompt, now, then, route in zip(prompts, said, before, routes, strict=True)
    ]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for row in found:
        out.print(f"{row['prompt']}\n  champion (version {row['version']}): {row['answer']}", highlight=False)
        out.print(f"  backbone: {row['backbone']}", highlight=False)
        if row["distance"] is None:
            why = "the champion has no edits"
        elif row["edit_id"] is None:
            why = f"outside every scope: {row['distance']:.2f} from the nearest centre, radius {row['radius']:.2f}"
        else:
            edit = model.records[row["edit_id"]].edit
            why = (
                f"edit {row['edit_id'][:12]} speaks ({edit.prompt!r}): {row['distance']:.2f} from the centre of "
                f"cluster {row['cluster']}, radius {row['radius']:.2f}, block {row['block']}"
            )
        out.print(f"  {why}", highlight=False)


def status(as_json: bool) -> None:
    """Candidate, champion, and the last run."""
    from pipeline.journal import Journal

    settings = Settings()
    with plain_errors():
        registry = _registry(settings)
        versions = {"champion": registry.champion(), "candidate": registry.candidate()}
    journal = Journal(settings.home)
    nights = journal.nights()
    journal.close()
    if as_json:
        told: dict[str, Any] = {name: version and asdict(version) for name, version in versions.items()}
        print(json.dumps(_plain(told | {"night": asdict(nights[-1]) if nights else None}), indent=2))
        return
    for name, version in versions.items():
        if version is None:
            out.print(f"{name}: none yet")
        else:
            gate = version.tags.get("gate", "-")
            out.print(f"{name}: version {version.number} ({version.digest[:12]}), gate {gate}", highlight=False)
    if nights:
        last = nights[-1]
        out.print(f"last run: night {last.number}, begun {last.begun}, {last.outcome or 'not ended'}", highlight=False)


def edits(edit_id: str | None, as_json: bool) -> None:
    """The champion's edits, or one of them."""
    with plain_errors():
        _, chosen = _champion_edits(Settings(), edit_id)
    if as_json:
        print(json.dumps(chosen, indent=2))
        return
    for row in chosen:
        out.print(f"{row['edit_id'][:12]}  {row['state']:8}  {row['prompt']} -> {row['target']}", highlight=False)
        if edit_id is not None:
            for name in ("action", "cluster", "block", "steps", "version", "subject", "reason", "replaced"):
                out.print(f"    {name}: {row[name]}", highlight=False)


def evaluate(number: int | None, reports: str | None, as_json: bool) -> None:
    """Scores of a version, by its own edits or by reports that it may never have seen."""
    import tempfile

    from pipeline import screens
    from pipeline.editlog import EditLog
    from pipeline.evaluation import judge, questions
    from pipeline.journal import Journal
    from pipeline.run import score
    from pipeline.sources import admit, pairs, read
    from workers.connect import connected
    from workers.models import ModelSpec

    settings, teller = _settings(), Teller(progress)
    with plain_errors(), tempfile.TemporaryDirectory() as scratch:
        version = _champion(settings) if number is None else _registry(settings).version(number)
        if reports is None:
            journal = Journal(settings.home)
            edits = EditLog(journal, []).to_be_known(version.folder)
            journal.close()
        else:
            edits = admit((batch.reports for batch in read(reports)), {}).edits
        if not edits.num_rows:
            raise typer.BadParameter(
                f"no questions: {reports or settings.home} has no edit to ask version {version.number} for; "
                "name a file of reports with --reports"
            )
        asked = questions(edits, pairs(str(settings.upstream)) if settings.upstream else [])
        spec = ModelSpec(None, settings.task, settings.editing, str(version.folder))
        with connected(settings.ray_address):
            scores = score(settings, spec, asked, Path(scratch), teller.track)
        verdict = judge(scores, None, settings.gate)
        shown = screens.evaluation(Path(scratch) / "answers.parquet", scores, verdict)
    if as_json:
        found = {"version": version.number, "digest": version.digest, "scores": scores, "verdict": verdict}
        print(json.dumps(_plain(found), indent=2))
    else:
        out.print(*shown, sep="\n")
        out.print(
            f"\nVersion {version.number} {'passes' if verdict.passed else 'does not pass'} the gate", style="bold"
        )
    if not verdict.passed:
        raise typer.Exit(KEPT_BACK)


def history(as_json: bool) -> None:
    """Every promotion and rollback."""
    from pipeline import screens

    with plain_errors():
        moves = _registry(Settings()).history()
    if as_json:
        print(json.dumps(_plain([asdict(move) for move in moves]), indent=2))
    else:
        out.print(screens.history(moves))


def promote(number: int, why: str) -> None:
    """Puts a version into use by hand."""
    with plain_errors():
        move = _registry(Settings()).promote(number, user_name(), why, {})
    out.print(f"version {move.to_version} is champion", highlight=False)


def rollback(why: str) -> None:
    """Puts the version before the champion back into use."""
    with plain_errors():
        move = _registry(Settings()).rollback(user_name(), why)
    out.print(f"version {move.to_version} is champion again, instead of {move.from_version}", highlight=False)


def _example(settings: Settings, source: str | None) -> tuple[Settings, str, str]:
    """The built-in backbone, and the reports of the first night that was not read yet."""
    from pipeline.example import REPORTS, known_facts
    from pipeline.example.backbone import build_backbone
    from pipeline.journal import Journal, write_atomically

    progress.print("no backbone is configured (MELO_BACKBONE): taking the built-in example", highlight=False)
    home = settings.home.absolute() / "example"
    backbone = build_backbone(home / "backbone", Teller(progress))
    rows = [json.dumps({"prompt": prompt, "target": target}) for prompt, target in known_facts()]
    write_atomically(_example_upstream(settings), "\n".join(rows).encode())
    nights = sorted(REPORTS.glob("night-*.jsonl"))
    journal = Journal(settings.home)
    read = {night.source for night in journal.nights() if night.ended}
    journal.close()
    unread = [str(path) for path in nights if str(path) not in read]
    return _settings(), str(backbone), source or (unread or [str(nights[-1])])[0]


def _example_upstream(settings: Settings) -> Path:
    return settings.home.absolute() / "example" / "upstream.jsonl"


def _settings() -> Settings:
    """All of them; where the example's backbone is the one that is edited, what it knows is its upstream task."""
    settings = Settings()
    upstream = _example_upstream(settings)
    if settings.backbone is None and settings.upstream is None and upstream.is_file():
        return settings.model_copy(update={"upstream": upstream})
    return settings


def _champion_edits(settings: Settings, edit_id: str | None) -> tuple[Registered, list[dict[str, Any]]]:
    """The champion, and its edits whose ids begin so."""
    from pipeline.editlog import records_of

    champion = _champion(settings)
    rows = records_of(champion.folder).to_pylist()
    chosen = [row for row in rows if edit_id is None or row["edit_id"].startswith(edit_id)]
    if not chosen:
        raise typer.BadParameter(f"version {champion.number} has no edit {edit_id!r}; melo edits lists all {len(rows)}")
    return champion, chosen


def _champion(settings: Settings) -> Registered:
    champion = _registry(settings).champion()
    if champion is None:
        raise typer.BadParameter("there is no champion yet: melo run makes one")
    return champion


def _registry(settings: Settings) -> Registry:
    from pipeline.registry.tracking import Registry

    return Registry(settings.tracking_uri, settings.name, settings.home.absolute() / "artifacts")


def _plain(value: Any) -> Any:
    """What ``json`` can write."""
    return json.loads(json.dumps(value, default=_simpler))


def _simpler(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else str(value)
