"""Settings put into a file of them, so that what else stands there stays as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import MeloError
from pipeline.journal import write_atomically

SECTION = "editing"
_BLOCK = re.compile(rf"^{SECTION}[ \t]*:.*(?:\n|\Z)(?:(?:[ \t]*\n)*[ \t]+\S.*(?:\n|\Z))*", re.MULTILINE)


class SettingsFileError(MeloError, ValueError):
    """A file that is no settings, or in which a section cannot be replaced."""


def merge(path: Path, editing: Mapping[str, Any]) -> list[str]:
    """Puts fields into the ``editing`` section of a YAML file, which may not be there yet.

    All text outside of the section stays to the letter; comments inside it are lost.

    Args:
        path: the file; its folder exists.
        editing: field -> value; a field of None is taken out.

    Returns:
        A line for each field that changed.

    Raises:
        SettingsFileError: the file is no mapping, or its section does not stand on its own; nothing is written.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    content = _parsed(path, text)
    before = content.get(SECTION) or {}
    if not isinstance(before, dict):
        raise SettingsFileError(f"{path}: {SECTION} is {before!r}, expected a mapping; mend the file first")
    after = {name: value for name, value in {**before, **editing}.items() if value is not None}
    section = yaml.safe_dump({SECTION: after}, sort_keys=False, allow_unicode=True)
    if _BLOCK.search(text):
        merged = _BLOCK.sub(lambda _: section, text, count=1)
    else:
        merged = text + ("" if not text or text.endswith("\n") else "\n") + section
    if _parsed(path, merged) != {**content, SECTION: after}:
        raise SettingsFileError(
            f"{path}: its {SECTION} section cannot be replaced as it is written; write it as a block of its own "
            f"({SECTION}: on a line, its fields indented below), or name another file"
        )
    write_atomically(path, merged.encode())
    names = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    return [f"{name}: {before.get(name, 'not set')} -> {after.get(name, 'not set')}" for name in names]


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsFileError(f"{path} is no YAML: {error}") from error
    if not isinstance(content or {}, dict):
        raise SettingsFileError(f"{path} holds a {type(content).__name__}, expected settings: name: value")
    return content or {}
