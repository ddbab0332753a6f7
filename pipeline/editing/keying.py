"""Keys of new edits, beside those that a model holds already.

Shape letters: n edits, d key width.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import torch

from pipeline.editing.about import names_of
from pipeline.editing.clauses import Clause, clause_of, places_of
from pipeline.editing.clusters import Clusters
from pipeline.editing.edit import Edit, EditError
from pipeline.editing.encoders import CONTEXT_WEIGHT, KeyEncoder
from pipeline.editing.records import Records

SAME = 2 * CONTEXT_WEIGHT
"""Clauses so near to each other ask the same in two contexts at most."""

SHORT = 0.8
"""An edit stays so far short of what must not change, for its other wordings lie about it."""


def keys_of(
    edits: Sequence[Edit], subjects: Sequence[str], encoder: KeyEncoder, clusters: Clusters, records: Records
) -> torch.Tensor:
    """Keys [n, d] float32 of edits. A prompt that has a key keeps it, to the bit.

    Rounding differs between batches, most of all in bfloat16, and the same prompt with a new label is told from a
    neighbour by its distance being zero.

    Args:
        edits: n edits.
        subjects: n texts, what each is about; empty: nothing.
        encoder: makes the keys.
        clusters: hold the keys so far.
        records: of the edits so far.

    Raises:
        EditError: a key is not finite.
    """
    wanted = [(edit.prompt, subject if encoder.apart else "") for edit, subject in zip(edits, subjects, strict=True)]
    held = _held(clusters, records, encoder.apart)
    keys = {key: clusters.key(held[key]) for key in wanted if key in held}
    fresh = {key: edit for key, edit in zip(wanted, edits, strict=True) if key not in keys}
    whole = [prompt for prompt, subject in fresh if not subject]
    keys |= zip([(prompt, "") for prompt in whole], encoder.of(whole), strict=True)
    if asked := {key: edit for key, edit in fresh.items() if key[1]}:
        clauses = [clause_of(prompt, names_of(subject, [edit])) for (prompt, subject), edit in asked.items()]
        keys |= zip(asked, encoder.of_clauses(clauses), strict=True)
    for key, edit in fresh.items():
        if not keys[key].isfinite().all():
            raise EditError(
                f"edit {edit.edit_id} ({edit.prompt[:60]!r}): its key holds NaN or infinite numbers; "
                "is the backbone whole, and its dtype wide enough?"
            )
    return torch.stack([keys[key] for key in wanted]) if wanted else torch.empty(0, clusters.width)


def limits_of(edits: Sequence[Edit], subjects: Sequence[str], keys: torch.Tensor, encoder: KeyEncoder) -> list[float]:
    """For each edit ``SHORT`` of the distance to the nearest of its locality prompts that name its subject, if any.

    What asks the same as its edit says nothing of how far that is to reach.

    Args:
        edits: n edits.
        subjects: n texts, what each is about; empty: nothing.
        keys: [n, d] float32, of the edits.
        encoder: makes the keys; only where subjects have keys of their own is anything looked at.

    Returns:
        n limits; infinity where nothing limits.
    """
    limits = [math.inf] * len(edits)
    found: list[tuple[int, Clause]] = []
    for place, (edit, subject) in enumerate(zip(edits, subjects, strict=True)):
        if encoder.apart and subject:
            names = names_of(subject, [edit])
            found += [(place, clause_of(text, names)) for text in edit.locality if places_of(text, names)]
    if found:
        places = [place for place, _ in found]
        apart = (encoder.of_clauses([clause for _, clause in found]) - keys[places]).double().norm(dim=1)
        for place, distance in zip(places, apart.tolist(), strict=True):
            if distance > SAME:
                limits[place] = min(limits[place], SHORT * distance)
    return limits


def rivals_of(edits: Sequence[Edit], records: Records) -> list[list[str]]:
    """For each edit the ids of live ones, and of those before it, that answer its prompt otherwise."""
    answers: defaultdict[str, list[str]] = defaultdict(list)
    for edit_id, record in records.live().items():
        answers[record.edit.prompt].append(edit_id)
    found = []
    for edit in edits:
        found.append([other for other in answers[edit.prompt] if other != edit.edit_id])
        answers[edit.prompt].append(edit.edit_id)
    return found


def _held(clusters: Clusters, records: Records, apart: bool) -> dict[tuple[str, str], str]:
    """The edit whose key a prompt has, by that prompt and the subject that the key is about."""
    about = {edit_id: subject for subject, ids in clusters.subjects.items() for edit_id in ids} if apart else {}
    return {(record.edit.prompt, about.get(edit_id, "")): edit_id for edit_id, record in records.live().items()}
