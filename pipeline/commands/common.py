"""What the commands of ``melo`` share: consoles, errors for people, settings, the champion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from pydantic import BaseModel
from rich.text import Text

from pipeline.errors import MeloError
from pipeline.logs import LOG, all_of_stderr, configure
from pipeline.settings import Settings
from pipeline.telling import Teller
from pipeline.terminal import console

if TYPE_CHECKING:
    from pipeline.registry.tracking import Registered, Registry

out, progress = console(), console(stderr=True)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors that say what to do are for the person who asked, without a traceback."""
    try:
        yield
    except (MeloError, OSError) as error:
        if progress.quiet:
            LOG.error("failed", error=str(error), kind=type(error).__name__)
        else:
            progress.print(Text.assemble(("error: ", "red"), str(error)))
        raise typer.Exit(1) from None


def the_teller(settings: Settings) -> Teller:
    """Tells in the form that the settings want: to a person on the console, or to a program in lines of JSON."""
    logged(settings)
    return Teller(progress)


def logged(settings: Settings, told: bool = False) -> None:
    """From here on stderr is as the settings want it; see ``configure`` for ``told``."""
    progress.quiet = settings.log == "json"
    configure(settings.log, told, all_of_stderr() if progress.quiet else None)


def example_upstream(settings: Settings) -> Path:
    """What the example's backbone knows, as questions."""
    return settings.home.absolute() / "example" / "upstream.jsonl"


def all_settings() -> Settings:
    """All of them; where the example's backbone is the one that is edited, what it knows is its upstream task."""
    settings = Settings()
    upstream = example_upstream(settings)
    if settings.backbone is None and settings.upstream is None and upstream.is_file():
        return settings.model_copy(update={"upstream": upstream})
    return settings


def edits_of(version: Registered, beginning: str) -> list[dict[str, Any]]:
    """The edits of a version whose ids begin so, of which there has to be one."""
    from pipeline.editlog import records_of

    rows = records_of(version.folder).to_pylist()
    chosen = [row for row in rows if row["edit_id"].startswith(beginning)]
    if not chosen:
        raise typer.BadParameter(
            f"version {version.number} has no edit {beginning!r}; melo edits lists all {len(rows)}"
        )
    return chosen


def the_champion(settings: Settings) -> Registered:
    """The version in use, which there has to be."""
    champion = the_registry(settings).champion()
    if champion is None:
        raise typer.BadParameter("there is no champion yet: melo run makes one")
    return champion


def the_registry(settings: Settings) -> Registry:
    """What the settings name."""
    from pipeline.registry.tracking import Registry

    artifacts = settings.home.absolute() / "artifacts"
    return Registry(settings.tracking_uri, settings.name, artifacts, settings.trust.models)


def print_json(value: Any) -> None:
    """For programs."""
    print(json.dumps(value, default=_simpler, indent=2))


def _simpler(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else str(value)
