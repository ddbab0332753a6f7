"""Looking at versions, deciding which one is in use, and handing them to other servers."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.commands.common import out, plain_errors, print_json, the_champion, the_registry
from pipeline.journal import user_name
from pipeline.settings import Settings


def ask(prompts: list[str], as_json: bool) -> None:
    """Answers of the backbone and the champion, and the route."""
    from transformers.utils import logging

    from pipeline.editing.model import EditedModel
    from pipeline.evaluation.generation import backbone_answers

    settings = Settings()
    logging.disable_progress_bar()  # of the weights that are read
    with plain_errors():
        champion = the_champion(settings)
        model = EditedModel.load(champion.folder, index="memory")
        said = model.respond(prompts)
        tokens = backbone_answers(model.backbone, model.backbone.tokenize_prompts(prompts), 64)
        before = [model.backbone.decode_answer(answer) for answer in tokens]
    found: list[dict[str, Any]] = [
        {"prompt": prompt, "answer": now, "backbone": then, "version": champion.number} | asdict(route)
        for prompt, (now, route), then in zip(prompts, said, before, strict=True)
    ]
    if as_json:
        print_json(found)
        return
    for row in found:
        out.print(f"{row['prompt']}\n  champion (version {row['version']}): {row['answer']}", highlight=False)
        out.print(f"  backbone: {row['backbone']}", highlight=False)
        if row["distance"] is None:
            why = "it names nothing that an edit is about" if model.records.live() else "the champion has no edits"
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
        registry = the_registry(settings)
        versions = {"champion": registry.champion(), "candidate": registry.candidate()}
    journal = Journal(settings.home)
    nights = journal.nights()
    journal.close()
    if as_json:
        told: dict[str, Any] = {name: version and asdict(version) for name, version in versions.items()}
        print_json(told | {"night": asdict(nights[-1]) if nights else None})
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


def history(at: datetime | None, as_json: bool) -> None:
    """Every promotion and rollback, or the version that was in use at a time."""
    from pipeline import screens
    from pipeline.registry.promotions import in_use

    with plain_errors():
        moves = the_registry(Settings()).history()
    if at is not None:
        number = in_use(moves, at.astimezone())
        if as_json:
            print_json({"at": at.astimezone().isoformat(), "version": number})
        else:
            what = "no version was" if number is None else f"version {number} was"
            out.print(f"{at.astimezone():%Y-%m-%d %H:%M:%S %Z}: {what} in use", highlight=False)
    elif as_json:
        print_json([asdict(move) for move in moves])
    else:
        out.print(screens.history(moves))


def promote(number: int, why: str) -> None:
    """Puts a version into use by hand."""
    with plain_errors():
        registry = the_registry(Settings())
        move = registry.promote(number, user_name(), why, registry.figures(number))
    out.print(f"version {move.to_version} is champion", highlight=False)


def rollback(why: str) -> None:
    """Puts the version before the champion back into use."""
    with plain_errors():
        move = the_registry(Settings()).rollback(user_name(), why)
    out.print(f"version {move.to_version} is champion again, instead of {move.from_version}", highlight=False)


def export(number: int | None, to: Path, rank: int | None, as_json: bool) -> None:
    """Writes a version's blocks as PEFT adapters into a new folder."""
    from transformers.utils import logging

    from pipeline.export.folder import ADAPTERS, VERSION
    from pipeline.export.folder import export as write

    settings = Settings()
    logging.disable_progress_bar()  # of the weights that are read
    with plain_errors():
        version = the_champion(settings) if number is None else the_registry(settings).version(number)
        written = write(version.folder, to, rank)
    if as_json:
        print_json(
            {"version": version.number, "digest": version.digest, "folder": to}
            | written.model_dump(include={"rank", "adapters"})
        )
        return
    out.print(
        f"version {version.number} ({version.digest[:12]}): {len(written.adapters)} adapters of rank {written.rank} in "
        f"{to / ADAPTERS}, what routes prompts to them in {to / VERSION}",
        highlight=False,
    )
