"""Edits from several places as one stream, of which every part holds all places in proportion, and its backlogs."""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.bench.invented import invented
from pipeline.bench.material import MaterialError, drawn, shared_folder
from pipeline.editing.backbone import Backbone
from pipeline.editing.check import usable
from pipeline.editing.edit import Edit, normalise
from pipeline.journal import write_atomically

BACKBONE, SETS, KNOWN = "t5-zsre", ("zsre_edits", "counterfact", "wikibigedit"), "nq_known"
"""In the shared folder: the model, its edits, and what it knows already."""
GENERATED = "generated"
"""The place of edits that are made up."""
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
"""Time of the first report; the others follow by the second, so that a night reads them in the stream's order."""


@dataclass(frozen=True, slots=True)
class Blend:
    """A stream of edits.

    Attributes:
        edits: distinct prompts, each with the name of its place, in order.
        refused: edits that the backbone cannot take; they were passed over.
        sources: files, as they are to be shown.
    """

    edits: tuple[tuple[str, Edit], ...]
    refused: int
    sources: tuple[str, ...]


def blend(backbone: Backbone, reports: Sequence[Path], count: int, seed: int) -> Blend:
    """Edits of all files, each in proportion; where they are too few, made-up ones fill them up.

    Args:
        backbone: what is edited.
        reports: files in any format and layout that the sources know; none: the sets of the shared folder. Those of
            one name are one place.
        count: edits wanted.
        seed: draws the edits and their order.

    Raises:
        MaterialError: there is no file, a file has no edit for the backbone, or a classifier's are too few.
        PublicError: a file cannot be read.
    """
    files = list(reports) or [shared_folder() / "data" / f"{name}.jsonl" for name in SETS]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise MaterialError(
            f"no edits in {', '.join(missing)}: give --reports FILE, or name a folder that has data with MELO_SHARED"
        )
    places: dict[str, list[Edit]] = {}
    refused, taken = 0, set[str]()
    for file in files:
        edits, passed_over = drawn(backbone, file, sys.maxsize, seed)
        refused += passed_over
        places.setdefault(file.stem, []).extend(_new(edits, taken))
    left = count - sum(map(len, places.values()))
    if left > 0:
        if backbone.task == "classification":
            raise MaterialError(
                f"{count - left:,} edits in {', '.join(map(str, files))}, {count:,} wanted: none can be made up for "
                "a classifier, so ask for fewer (--edits)"
            )
        made_up, unfit = usable(backbone, invented(left, seed))
        refused += len(unfit)
        places.setdefault(GENERATED, []).extend(_new(made_up, taken))
    return Blend(tuple(in_proportion(places)[:count]), refused, tuple(map(str, files)))


def in_proportion(places: Mapping[str, Sequence[Edit]]) -> list[tuple[str, Edit]]:
    """All edits with the names of their places, those of each place in their order and evenly spread."""
    spread = [
        ((number + 0.5) / len(edits), name, edit) for name, edits in places.items() for number, edit in enumerate(edits)
    ]
    return [(name, edit) for _, name, edit in sorted(spread, key=lambda found: found[:2])]


def backlogs(blended: Blend, ends: Sequence[int], folder: Path) -> list[Path]:
    """Writes the reports of a night each: a folder with a file for every place.

    Args:
        blended: the stream.
        ends: how many edits have come when each night is over, ascending.
        folder: of the backlogs. What is there is kept, if it is the same.

    Returns:
        A folder a night.

    Raises:
        MaterialError: other backlogs are there.
    """
    rows = [(name, _report(edit, place)) for place, (name, edit) in enumerate(blended.edits)]
    nights = [folder / f"{end:06d}" for end in ends]
    wanted: defaultdict[Path, str] = defaultdict(str)
    for night, start, end in zip(nights, [0, *ends], ends, strict=False):
        for name, row in rows[start:end]:
            wanted[night / f"{name}.jsonl"] += row
    if any(file.read_text() != wanted.get(file) for file in folder.glob("*/*.jsonl")):
        raise MaterialError(
            f"{folder} holds other reports than these: give the arguments that it was begun with, or another "
            "MELO_HOME to begin anew"
        )
    for file, text in wanted.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text.encode())
        os.utime(file, (FIRST.timestamp(), FIRST.timestamp()))  # or it would count as still being written
    return nights


def _new(edits: Iterable[Edit], taken: set[str]) -> Iterator[Edit]:
    """Those whose prompts are not taken; they are from here on."""
    for edit in edits:
        if (prompt := normalise(edit.prompt)) not in taken:
            taken.add(prompt)
            yield edit


def _report(edit: Edit, place: int) -> str:
    time = FIRST + timedelta(seconds=place)
    row = {"prompt": edit.prompt, "target": edit.target, "rephrases": edit.rephrases, "locality": edit.locality}
    return json.dumps(row | {"subject": edit.subject, "aliases": edit.aliases, "time": time.isoformat()}) + "\n"
