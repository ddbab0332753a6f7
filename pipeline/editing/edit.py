"""What flows through the editor: edits in, outcomes and routes out.

An edit is a report that was admitted. Its id is a hash of its normalised prompt and target, so the
same correction sent twice is the same edit, wherever and whenever it is read.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from pipeline.errors import MeloError

Action = Literal["add", "expand", "conflict", "replace"]

_LISTS = ("rephrases", "locality", "aliases")


class EditError(MeloError, ValueError):
    """An edit (or a call) that cannot be carried out. The model is unchanged when this is raised."""


def normalise(text: str) -> str:
    """The form in which two texts are compared (rule 5): NFKC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@dataclass(frozen=True, slots=True)
class Edit:
    """A prompt and the answer the model shall give to it from now on.

    Attributes:
        prompt: the question, or the text to continue or to classify, as a user would send it.
        target: the right answer; for a classifier the name of the class.
        rephrases: other wordings of the prompt. They measure generality and are never trained.
        locality: prompts whose answers must not change.
        subject: what the prompt is about, where the reporter named it.
        aliases: other names of the subject; a query that names one of them names the subject.
    """

    prompt: str
    target: str
    rephrases: tuple[str, ...] = ()
    locality: tuple[str, ...] = ()
    subject: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The normalised target: edits with equal labels may share a cluster."""
        return normalise(self.target)

    @property
    def edit_id(self) -> str:
        """32 hexadecimal digits of SHA-256 over the normalised prompt and target."""
        text = f"{normalise(self.prompt)}\x1f{self.label}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def as_edit(row: Mapping[str, Any]) -> Edit:
    """A row of schema ``REPORTS`` as an edit."""
    near = tuple(item["prompt"] for item in row["locality"] or ())
    subject, aliases = row["subject"], tuple(row["aliases"] or ())
    return Edit(row["prompt"], row["target"], tuple(row["rephrases"] or ()), near, subject, aliases)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one edit.

    Attributes:
        edit_id: the edit's id.
        action: how its key entered the index; None when the edit was not learned. ``add`` made a new cluster,
            ``expand`` joined one of its label, ``conflict`` made a new cluster and cut it apart from one of
            another label, ``replace`` superseded an edit of the same prompt with another label.
        cluster: id of the cluster that holds its key; None when the edit was not learned.
        block: id of the block that answers it; None when the edit was not learned.
        steps: optimiser steps its blocks took, retries included.
        learned: whether the edited model says the target by free generation with its natural end.
        reason: why not, and the last answer given; empty when learned.
        replaced: ids of edits that this one superseded.
    """

    edit_id: str
    action: Action | None
    cluster: int | None
    block: int | None
    steps: int
    learned: bool
    reason: str = ""
    replaced: tuple[str, ...] = ()


def edits_from_arrow(table: pa.Table | pa.RecordBatch) -> list[Edit]:
    """Reads edits from the columns ``prompt`` and ``target`` and, where they are there, the other fields of Edit.

    Args:
        table: strings; ``rephrases``, ``locality`` and ``aliases`` are lists of strings. Further columns are ignored.

    Raises:
        EditError: a column is missing or has another type.
    """
    missing = {"prompt", "target"} - set(table.schema.names)
    if missing:
        raise EditError(f"no column {sorted(missing)}; expected prompt and target, got {table.schema.names}")
    columns: dict[str, list[Any]] = {}
    for name in ("prompt", "target", "subject", *_LISTS):
        if name in table.schema.names:
            kind = table.schema.field(name).type
            wanted, fits = (pa.list_(pa.string()), _is_texts) if name in _LISTS else (pa.string(), _is_text)
            if not (pa.types.is_null(kind) or fits(kind)):
                raise EditError(f"column {name!r} holds {kind}, expected {wanted}")
            columns[name] = table.column(name).to_pylist()
    for name in columns.keys() & {*_LISTS}:
        columns[name] = [tuple(values or ()) for values in columns[name]]
    return [Edit(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


@dataclass(frozen=True, slots=True)
class Route:
    """Where a prompt goes (Eq. 9 and 10).

    Attributes:
        block: the block that answers; None outside every scope: the backbone answers alone.
        cluster: the nearest cluster by its centre; None when the index is empty, or when the search
            only had to show that no scope holds the prompt.
        distance: Euclidean distance of the prompt's key to that centre.
        radius: that cluster's radius.
        edit_id: the edit whose key is nearest within that cluster; None outside.
    """

    block: int | None = None
    cluster: int | None = None
    distance: float | None = None
    radius: float | None = None
    edit_id: str | None = None


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_texts(kind: pa.DataType) -> bool:
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_text(kind.value_type)
