"""What is measured on: a backbone, edits for it, and prompts that must not change."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.editing.backbone import Backbone
from pipeline.editing.check import check_edits
from pipeline.editing.edit import Edit, EditError, normalise
from pipeline.editing.loading import load_backbone
from pipeline.errors import MeloError

BESIDE = Path(__file__).resolve().parents[3] / "shared"
"""Models and data beside a checkout, unless MELO_SHARED names another folder."""


class MaterialError(MeloError, ValueError):
    """There is nothing to measure on, or a file cannot be used."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What is measured on.

    Attributes:
        backbone: the model.
        edits: distinct prompts, in an order drawn from the seed.
        refused: edits of the file that this backbone cannot take (too long a prompt, an unknown class); they
            were passed over.
        locality: prompts of the locality file that no edit has; empty without one.
        sources: the folder and the files, as they are to be shown.
    """

    backbone: Backbone
    edits: tuple[Edit, ...]
    refused: int
    locality: tuple[str, ...]
    sources: tuple[str, ...]


def gather(
    backbone: Path | None, edits: Path | None, locality: Path | None, count: int, locality_count: int, seed: int
) -> Material:
    """Loads all of it; what is not given is taken from the shared folder.

    Args:
        backbone: folder of a model.
        edits: JSON lines with ``prompt``, ``target``, ``rephrases`` and ``locality``, or ``text`` and ``label``.
        locality: JSON lines with ``prompt`` or ``text``.
        count: edits wanted; a shorter file gives what it has.
        locality_count: locality prompts wanted, likewise.
        seed: draws the edits and their order.

    Raises:
        MaterialError: nothing is given and there is no shared folder; a line cannot be read; no edit is left.
        BackboneError: the backbone cannot be loaded.
    """
    if backbone is None:
        folder = Path(os.environ.get("MELO_SHARED", BESIDE))
        backbone, usual = folder / "models" / "t5-zsre", folder / "data" / "zsre_edits.jsonl"
        edits = edits or usual
        if not (backbone / "config.json").is_file() or not edits.is_file():
            raise MaterialError(
                f"nothing to measure on: expected a model in {backbone} and edits in {edits}. Give --backbone DIR and "
                "--edits FILE.jsonl, or name a folder that has models and data with MELO_SHARED"
            )
        known = folder / "data" / "nq_known.jsonl"
        locality = locality or (known if known.is_file() else None)
    if edits is None:
        raise MaterialError(f"no edits for {backbone}: give --edits FILE.jsonl, one object a line: prompt, target")
    model = load_backbone(str(backbone))
    chosen, refused = _edits(model, edits, count, seed)
    prompts = [] if locality is None else [_prompt(row, locality, line) for line, row in _rows(locality)]
    edited = {normalise(edit.prompt) for edit in chosen}
    others = [prompt for prompt in _readable(model, prompts) if normalise(prompt) not in edited]
    sources = [str(path) for path in (backbone, edits, locality) if path is not None]
    return Material(model, tuple(chosen), refused, tuple(others[:locality_count]), tuple(sources))


def _edits(backbone: Backbone, path: Path, count: int, seed: int) -> tuple[list[Edit], int]:
    rows = list(_rows(path))
    random.Random(seed).shuffle(rows)
    chosen: dict[str, Edit] = {}
    refusals: list[str] = []
    for line, row in rows:
        edit = _edit(row, path, line)
        try:
            check_edits(backbone, [edit])
        except EditError as error:
            refusals.append(str(error))
            continue
        edit = replace(edit, rephrases=_readable(backbone, edit.rephrases), locality=_readable(backbone, edit.locality))
        # A later edit of the same prompt would supersede the first, which then counts as neither right nor wrong.
        chosen.setdefault(normalise(edit.prompt), edit)
        if len(chosen) == count:
            break
    if not chosen:
        raise MaterialError(f"{path} has no edit for {backbone.reference}: {(refusals or ['it is empty'])[0]}")
    return list(chosen.values()), len(refusals)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise MaterialError(f"{path}, line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise MaterialError(f"{path}, line {number} is a {type(row).__name__}, expected an object")
            yield number, row


def _edit(row: dict[str, Any], path: Path, line: int) -> Edit:
    target = row.get("target", row.get("label"))
    if not isinstance(target, str):
        raise MaterialError(f"{path}, line {line} has no target (or label) that is text; it has {sorted(row)}")
    near = [_prompt(item, path, line) if isinstance(item, dict) else item for item in row.get("locality") or ()]
    return Edit(_prompt(row, path, line), target, tuple(row.get("rephrases") or ()), tuple(near))


def _readable(backbone: Backbone, texts: Sequence[str]) -> tuple[str, ...]:
    """Those of the texts that the backbone has tokens and positions for."""
    fitting = []
    for text in texts:
        try:
            backbone.tokenize_prompts([text])
        except EditError:
            continue
        fitting.append(text)
    return tuple(fitting)


def _prompt(row: dict[str, Any], path: Path, line: int) -> str:
    prompt = row.get("prompt", row.get("text"))
    if not isinstance(prompt, str):
        raise MaterialError(f"{path}, line {line} has no prompt (or text) that is text; it has {sorted(row)}")
    return prompt
