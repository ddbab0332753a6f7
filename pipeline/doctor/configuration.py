"""Settings: readable, and none that nobody reads. A misspelt name is ignored, and so the commonest mistake of all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from rapidfuzz import fuzz, process

from pipeline.doctor.finding import Finding, ok, problem, warning
from pipeline.errors import MeloError
from pipeline.settings import Settings

PART = "settings"
OTHERS = ("MELO_CONFIG", "MELO_SHARED", "MELO_REPOSITORY")
"""Variables of ours that are no settings."""
SERVERS = (
    "QDRANT_URL",
    "QDRANT_API_KEY",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "RAY_ADDRESS",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
)
"""Variables of servers, whose programs read many more of the same beginning."""
NEAR, VERY_NEAR = 75, 88
"""Likeness, of 100, from which a name is taken for another one that was misspelt."""


def read_settings() -> tuple[Settings | None, list[Finding]]:
    """The settings, if they can be read, and what is to be said about them."""
    found = [*_file(), *_environment()]
    try:
        settings = Settings()
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            place = [str(part) for part in each["loc"]]
            told = f"{'.'.join(place)}: {each['msg']}"
            if each["type"] == "extra_forbidden":
                told = f"{'.'.join(place)}: there is no such setting{_meant(place[-1], _inside(place[:-1]))}"
            found.append(problem(PART, told, f"correct it in {_path()} or in the environment ({_variable(place)})"))
        return None, found
    except MeloError as error:
        return None, [*found, problem(PART, str(error), "move the secret into the environment")]
    except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
        return None, [*found, problem(PART, f"not readable: {error}", f"correct {_path()}")]
    if not found:
        where = f"{_path()} and the environment" if _path().is_file() else "the environment; no settings file"
        found.append(ok(PART, f"from {where}; nothing in them that nobody reads"))
    return settings, found


def _file() -> Iterator[Finding]:
    """Names of the file that nobody reads."""
    path = _path()
    if not path.is_file():
        if "MELO_CONFIG" in os.environ:
            yield problem(PART, f"MELO_CONFIG names {path}, which is not there", "correct the path, or unset it")
        return
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        yield problem(PART, f"{path} cannot be read: {' '.join(str(error).split())}", "correct it")
        return
    if content is not None and not isinstance(content, dict):
        yield problem(PART, f"{path} holds no names with values", "write `name: value` a line")
        return
    known = {*Settings.model_fields, *(str(field.validation_alias) for field in Settings.model_fields.values())}
    for name in (content or {}).keys() - known:
        yield problem(PART, f"{path}: {name!r} is ignored{_meant(str(name), known)}", "correct the name, or remove it")


def _environment() -> Iterator[Finding]:
    """Names of the environment that nobody reads."""
    known = {*OTHERS, *SERVERS, *_variables()}
    for variable in sorted(os.environ):
        name = variable.upper()
        if name in known:
            continue
        if name.startswith("MELO_"):
            group, parted, leaf = name.partition("__")
            if parted and group in known:
                continue  # reading them complains about what is inside
            meant = _meant(group, known, ending=parted + leaf)
            advice = "correct the name, or unset it"
            yield (problem if meant else warning)(PART, f"{variable} is ignored{meant}", advice)
        elif meant := _meant(name, SERVERS, VERY_NEAR):
            yield warning(PART, f"{variable} is read by nothing of ours{meant}", "correct the name, or unset it")


def _meant(name: str, known: Iterable[str], least: float = NEAR, ending: str = "") -> str:
    """The nearest name, as the end of a sentence; empty where none is near."""
    best = process.extractOne(name, list(known), scorer=fuzz.ratio, score_cutoff=least)
    return "" if best is None else f": did you mean {best[0]}{ending}?"


def _variables() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        yield f"MELO_{name.upper()}"
        if field.validation_alias is not None:
            yield str(field.validation_alias)


def _inside(place: list[str]) -> Iterable[str]:
    """Names of the settings at a place in the tree."""
    model: Any = Settings
    for part in place:
        model = model.model_fields[part].annotation
    return model.model_fields if issubclass(model, BaseModel) else ()


def _variable(place: list[str]) -> str:
    return "MELO_" + "__".join(place).upper()


def _path() -> Path:
    return Path(os.environ.get("MELO_CONFIG", "melo.yaml"))
