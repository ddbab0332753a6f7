"""Questions that are derived from edits, to see where their scope holds and where it does not.

What people report with an edit is little and close to it. These are the typing errors, chat messages and near misses
that come in besides. They depend on the edits and a seed alone, and not on the order of the edits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from random import Random
from typing import Any

from pipeline.editing.edit import Edit, as_edit, normalise
from pipeline.evaluation.kinds import REWORDED
from pipeline.evaluation.neighbours import UNRELATED, Neighbours
from pipeline.evaluation.rewording import negated, typos, wrapped
from pipeline.settings import Task

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Probing:
    """How many questions are derived, and which.

    Attributes:
        edits: from so many edits at most, and so many that belong to none; 0: no question is.
        seed: draws the edits and the questions.
        task: of the backbone, which decides what can stand around a prompt.
    """

    edits: int
    seed: int
    task: Task


def probes(rows: Sequence[Row], taught: set[str], probing: Probing) -> Iterator[Row]:
    """At most one question of each kind for each edit that is drawn, and the unrelated ones, which belong to none.

    Args:
        rows: of schema ``REPORTS``, with ``version`` where it is known: all edits that the version is to know.
        taught: normalised prompts and rephrases of all of them; none of these is asked, nor anything twice.
        probing: how many, and which.

    Yields:
        Rows of schema ``QUESTIONS``.
    """
    if not probing.edits:
        return
    rows = sorted(rows, key=lambda row: str(row["edit_id"]))
    edits = [as_edit(row) for row in rows]
    neighbours, asked = Neighbours(edits), set(taught)
    drawn = nsmallest(probing.edits, range(len(rows)), key=lambda place: _draw(probing.seed, rows[place]["edit_id"]))
    for place in drawn:
        row, edit = rows[place], edits[place]
        of = {"edit_id": row["edit_id"], "source": row["source"], "version": row.get("version")}
        for kind, prompts in _kinds(place, edit, neighbours, probing, row["edit_id"]):
            prompt = next((prompt for prompt in prompts if normalise(prompt) not in asked), None)
            if prompt is not None:
                asked.add(normalise(prompt))
                expected = edit.target if kind in REWORDED else None
                yield of | {"kind": kind, "prompt": prompt, "expected": expected}
    for prompt in nsmallest(probing.edits, UNRELATED, key=lambda prompt: _draw(probing.seed, prompt)):
        if normalise(prompt) not in asked:
            yield {"kind": "unrelated", "prompt": prompt}


def _kinds(
    place: int, edit: Edit, neighbours: Neighbours, probing: Probing, edit_id: str
) -> Iterator[tuple[str, Iterator[str]]]:
    """Each kind with prompts of it, of which the first that may be asked is to be taken."""

    def random(kind: str) -> Random:
        return Random(f"{probing.seed} {edit_id} {kind}")

    wordings = edit.rephrases or (edit.prompt,)
    misspelt, sent = random("wording of typo").choice(wordings), random("wording of wrapped").choice(wordings)
    yield "typo", typos(misspelt, random("typo"))
    yield "wrapped", wrapped(sent, probing.task, random("wrapped"))
    yield "distractor", neighbours.distractor(place, random("distractor"))
    yield "relation", neighbours.relation(place, random("relation"))
    yield "near", neighbours.near(place, random("near"))
    said = negated(edit.prompt, neighbours.subjects[place])
    yield "negated", iter(() if said is None else (said,))


def _draw(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed} {text}".encode()).digest()
