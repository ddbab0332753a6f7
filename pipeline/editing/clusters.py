"""The clusters of a stream of edits: what a version's neuron index holds, and how it came to be.

A fold over the edit log without model or index (rule 6): ``pipeline.editing.fold`` takes one edit in,
``pipeline.editing.rows`` holds the result, ``pipeline.editing.tables`` saves it.

Shape letters: n edits, d key width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyarrow as pa
import torch
from torch import Tensor

from pipeline.editing import tables
from pipeline.editing.edit import EditError
from pipeline.editing.fold import Conflicts, Fold, Step, coincident
from pipeline.editing.index.checks import LARGEST
from pipeline.editing.index.protocol import Delta
from pipeline.editing.rows import WITHDRAWN, Rows

EDITS_AT_ONCE = 256
"""Edits whose bounds are held at a time, so that memory grows with the clusters and not with the batch."""

__all__ = ["Clusters", "Step", "UnknownEditError"]


class UnknownEditError(EditError, KeyError):
    """An edit id that the clusters do not hold."""

    __str__ = Exception.__str__  # KeyError's would print the message in quotes


class Clusters:
    """The clusters that a stream of edits makes.

    Args:
        width: d, the width of a key.
        radius: R0, the initial radius, in units of the key.
        conflicts: ``keep`` puts keys that lose their place back, ``paper`` drops them.
        subject_radius: R0 of edits with a subject; None: the same.

    Raises:
        EditError: width or a radius is not positive.
    """

    def __init__(
        self, width: int, radius: float, conflicts: Conflicts = "keep", subject_radius: float | None = None
    ) -> None:
        subject_radius = radius if subject_radius is None else subject_radius
        for each in (radius, subject_radius):
            if width < 1 or not 0 < each <= LARGEST:
                raise EditError(f"width {width} and radius {each} came, expected both positive and finite")
        if conflicts not in ("keep", "paper"):
            raise EditError(f"conflicts {conflicts!r} came, expected 'keep' or 'paper'")
        self.width = width
        self.radius = radius
        self.subject_radius = subject_radius
        self.conflicts = conflicts
        self._rows = Rows(width)

    @torch.no_grad()
    def fold(
        self,
        edit_ids: Sequence[str],
        labels: Sequence[str],
        keys: Tensor,
        blocks: Sequence[int],
        subjects: Sequence[str] | None = None,
        rivals: Sequence[Sequence[str]] | None = None,
        limits: Sequence[float] | None = None,
    ) -> list[Step]:
        """Takes edits in, one after the other; each sees those before it.

        An edit that is here already keeps its key and takes the new block, and a withdrawn one is answered
        again; when its key differs beyond rounding (another spelling of the prompt) the key moves.

        Args:
            edit_ids: n distinct ids.
            labels: n normalised targets (``Edit.label``).
            keys: [n, d] float32.
            blocks: n block ids, 0 or more.
            subjects: n texts: what a prompt must name for an edit to apply; empty, or None for all: nothing.
            rivals: for each the ids of edits of the same prompt with another target: it supersedes those that have a
                key. Ids without one are passed over. None: of all none.
            limits: what the radius of a new cluster at each is never to exceed; None: nothing.

        Returns:
            n steps, in order.

        Raises:
            EditError: the arguments don't agree, or a key is not finite; nothing has changed then.
        """
        subjects = [""] * len(edit_ids) if subjects is None else subjects
        rivals = [()] * len(edit_ids) if rivals is None else rivals
        self._check(edit_ids, labels, keys, blocks, subjects)
        usual = [self.subject_radius if subject else self.radius for subject in subjects]
        limits = [math.inf] * len(edit_ids) if limits is None else limits
        radii = [min(pair) for pair in zip(usual, limits, strict=True)]
        keys = keys.detach().cpu()
        steps = []
        for start in range(0, len(edit_ids), EDITS_AT_ONCE):
            span = slice(start, start + EDITS_AT_ONCE)
            fold = Fold(self._rows, self.conflicts, keys[span], subjects[span], radii[span], limits[span])
            batch = zip(edit_ids[span], labels[span], blocks[span], rivals[span], strict=True)
            for i, edit in enumerate(batch):
                steps.append(fold.step(i, *edit))
        return steps

    def withdraw(self, edit_ids: Sequence[str]) -> None:
        """Takes back what edits do; where every other edit's scope lies stays bit for bit.

        A withdrawn key remains as a guard (block -1) while its cluster has live keys: prompts nearest to it get
        the backbone. Withdrawing once more, or after the key was superseded or dropped, does nothing.

        Raises:
            UnknownEditError: an id that never was here; nothing has changed then.
        """
        for edit_id in edit_ids:
            if edit_id not in self._rows.keys and edit_id not in self._rows.departed:
                raise UnknownEditError(f"edit {edit_id!r} was never folded in; give ids that `fold` was given")
        for edit_id in edit_ids:
            key = self._rows.keys.get(edit_id)
            if key is None or not key.live:
                continue
            others = [other for other in key.cluster.live if other is not key]
            if not others or coincident(self._rows, self._rows.vector(key), others):
                # Another edit of the same prompt stays: a guard would contend with it for the same queries.
                self._rows.remove(key)
            else:
                self._rows.revise(key, WITHDRAWN)

    def key(self, edit_id: str) -> Tensor:
        """The key [d] float32 of an edit that has one, withdrawn or not.

        Raises:
            UnknownEditError: it has none.
        """
        if edit_id not in self._rows.keys:
            raise UnknownEditError(f"edit {edit_id!r} has no key; it was never folded in, superseded or dropped")
        return self._rows.vector(self._rows.keys[edit_id]).clone()

    @property
    def subjects(self) -> dict[str, list[str]]:
        """What a prompt must name for clusters to apply -> ids of the edits that lie in them, not withdrawn."""
        found: dict[str, list[str]] = {}
        for cluster in self._rows.clusters.values():
            if cluster.subject:
                found.setdefault(cluster.subject, []).extend(key.edit_id for key in cluster.live)
        return found

    @property
    def free(self) -> bool:
        """Whether there are clusters that any prompt may reach."""
        return any(not cluster.subject for cluster in self._rows.clusters.values())

    def strays(self, edit_ids: Sequence[str]) -> list[str]:
        """Those edits whose own prompt is not routed to their key: it is gone, or another centre is nearer.

        In ``keep`` mode there are none but superseded ones.
        """
        held = [self._rows.keys[edit_id] for edit_id in edit_ids if edit_id in self._rows.keys]
        vectors = self._rows.vectors[[key.row for key in held]]
        subjects, radii = [key.cluster.subject for key in held], [key.radius for key in held]
        fold = Fold(self._rows, self.conflicts, vectors, subjects, radii, radii)
        home = {key.edit_id for i, key in enumerate(held) if not fold.stranded(i, key)}
        return [edit_id for edit_id in edit_ids if edit_id not in home]

    def drain(self, version: int) -> Delta:
        """The rows that changed since the last drain, for an index; ``version`` is written beside them."""
        return self._rows.drain(version)

    def everything(self, version: int) -> Delta:
        """All rows, to build an index from nothing."""
        return self._rows.everything(version)

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """The clusters table and the keys table of ``schemas.index``; ``from_tables`` continues from them."""
        return tables.save(self._rows, self.radius, self.conflicts, self.subject_radius)

    @classmethod
    def from_tables(cls, clusters: pa.Table, keys: pa.Table) -> Clusters:
        """What ``tables`` was called on, with nothing to drain.

        Raises:
            EditError: see ``tables.load``.
        """
        rows, radius, conflicts, subject_radius = tables.load(clusters, keys)
        loaded = cls(rows.width, radius, conflicts, subject_radius)
        loaded._rows = rows
        return loaded

    def _check(
        self,
        edit_ids: Sequence[str],
        labels: Sequence[str],
        keys: Tensor,
        blocks: Sequence[int],
        subjects: Sequence[str],
    ) -> None:
        n = len(edit_ids)
        if tuple(keys.shape) != (n, self.width) or keys.dtype != torch.float32:
            raise EditError(
                f"keys {list(keys.shape)} of {keys.dtype} came for {n} edits, expected [{n}, {self.width}] of "
                "torch.float32: one key an edit, from the layer that this index was made for"
            )
        if not n == len(labels) == len(blocks) == len(subjects):
            found = f"{n} edits, {len(labels)} labels, {len(blocks)} blocks and {len(subjects)} subjects"
            raise EditError(f"{found} came, expected as many of each")
        if len(set(edit_ids)) < n:
            twice = next(edit_id for edit_id in edit_ids if list(edit_ids).count(edit_id) > 1)
            raise EditError(f"edit {twice!r} came twice in one call, expected distinct ids; drop the duplicates first")
        for edit_id, label, block in zip(edit_ids, labels, blocks, strict=True):
            if block < 0:
                raise EditError(
                    f"edit {edit_id!r} came with block {block}, expected 0 or more; `withdraw` takes it back"
                )
            known = self._rows.keys.get(edit_id)
            if known is not None and known.cluster.label != label:
                raise EditError(
                    f"edit {edit_id!r} came with label {label!r} but is here with {known.cluster.label!r}, expected "
                    "one label an id; an id is a hash of prompt and target, so give a new target a new id"
                )
        usable = (keys.abs() <= LARGEST).all(1)
        if not usable.all():
            bad = int(usable.logical_not().nonzero()[0])
            raise EditError(
                f"the key of edit {edit_ids[bad]!r} holds a number that is not finite or beyond {LARGEST:.0e}, "
                "expected a hidden state; leave the edit out, or look for an overflow in the key layer"
            )
