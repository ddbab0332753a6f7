"""What is measured on: a backbone, edits for it, and prompts that must not change."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.bench.public import load_reports, load_texts
from pipeline.editing.backbone import Backbone
from pipeline.editing.check import usable
from pipeline.editing.edit import Edit, as_edit, normalise
from pipeline.editing.loading import load_backbone
from pipeline.errors import MeloError
from pipeline.evaluation.generation import readable

BESIDE = Path(__file__).resolve().parents[3] / "shared"
"""Models and data beside a checkout, unless MELO_SHARED names another folder."""


class MaterialError(MeloError, ValueError):
    """There is nothing to measure on, or a file cannot be used."""


def shared_folder() -> Path:
    """Where models and data are."""
    return Path(os.environ.get("MELO_SHARED", BESIDE))


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
        edits: a file of reports, in any format and layout that the sources know.
        locality: a file of texts, likewise; what else a row has is passed over.
        count: edits wanted; a shorter file gives what it has.
        locality_count: locality prompts wanted, likewise.
        seed: draws the edits and their order.

    Raises:
        MaterialError: nothing is given and there is no shared folder, or no edit is left.
        PublicError: a file cannot be read.
        BackboneError: the backbone cannot be loaded.
    """
    if backbone is None:
        folder = shared_folder()
        backbone, usual = folder / "models" / "t5-zsre", folder / "data" / "zsre_edits.jsonl"
        edits = edits or usual
        if not (backbone / "config.json").is_file() or not edits.is_file():
            raise MaterialError(
                f"nothing to measure on: expected a model in {backbone} and edits in {edits}. Give --backbone DIR and "
                "a FILE of edits (--help names the option), or a folder that has models and data with MELO_SHARED"
            )
        known = folder / "data" / "nq_known.jsonl"
        locality = locality or (known if locality_count and known.is_file() else None)
    if edits is None:
        raise MaterialError(f"no edits for {backbone}: give a FILE of them, one report a row: prompt, target")
    model = load_backbone(str(backbone))
    chosen, refused = drawn(model, edits, count, seed)
    edited = {normalise(edit.prompt) for edit in chosen}
    texts = load_texts(str(locality)) if locality is not None else []
    others = [text for text in readable(model, texts) if normalise(text) not in edited]
    sources = [str(path) for path in (backbone, edits, locality) if path is not None]
    return Material(model, tuple(chosen), refused, tuple(others[:locality_count]), tuple(sources))


def drawn(backbone: Backbone, path: Path, count: int, seed: int) -> tuple[list[Edit], int]:
    """Edits of distinct prompts that a backbone can take, with what else of theirs it can be asked.

    Args:
        path: a file of reports, in any format and layout that the sources know.
        count: edits wanted; a shorter file gives what it has.
        seed: draws the edits and their order.

    Returns:
        The edits, and how many that the backbone cannot take were passed over.

    Raises:
        MaterialError: no edit is left.
        PublicError: the file cannot be read.
    """
    rows = [as_edit(row) for row in load_reports(str(path))]
    random.Random(seed).shuffle(rows)
    chosen: dict[str, Edit] = {}
    refusals: dict[str, str] = {}
    for edit in rows:
        fit, refused = usable(backbone, [edit])
        refusals |= refused
        for taken in fit:
            near, others = readable(backbone, edit.locality), readable(backbone, edit.rephrases)
            # A later edit of the same prompt would supersede the first, which then counts as neither right nor wrong.
            chosen.setdefault(normalise(edit.prompt), replace(taken, rephrases=others, locality=near))
        if len(chosen) == count:
            break
    if not chosen:
        raise MaterialError(f"{path} has no edit for {backbone.reference}: {next(iter(refusals.values()))}")
    return list(chosen.values()), len(refusals)
