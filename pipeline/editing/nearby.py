"""Finding the few centres near a new key without the exact distance to all of them.

Every decision of the fold is made on exact distances (``pipeline.editing.rows.distances``). A batch of keys
first gets, by one matrix product, a lower bound on its distance to every centre; a bound that is too low costs
one exact distance more and changes nothing, so the product may round as it likes. For another point the
triangle inequality moves the bounds there: |p - c| >= |k - c| - |k - p|.

A key looks at the centres of its own subject; those of others are infinitely far from it.

Shape letters: b keys of the batch, s slots of clusters, d key width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.editing.index.protocol import TOLERANCE
from pipeline.editing.rows import FREE, Cluster, Rows, distances

SLACK = 1e-6
"""By what part bounds are lowered: more than float32 can round them up."""

COLUMNS = 8192
"""Centres bounded at a time: their float64 copies stay small."""


class Nearby:
    """Lower bounds around the keys of one batch, kept up to date while the clusters change.

    Args:
        rows: the clusters.
        keys: [b, d] float32.
        subjects: of the keys, b texts; empty for those that any prompt may reach.
    """

    def __init__(self, rows: Rows, keys: Tensor, subjects: Sequence[str]) -> None:
        self._rows = rows
        self._scopes = [rows.scope(subject) for subject in subjects]
        self._keys = wide = keys.double()
        self._turn = 0
        self._squares = wide.square().sum(1, keepdim=True)  # [b, 1]
        self._low = torch.empty(len(keys), len(rows.codes))  # [b, s]
        for start in range(0, len(rows.codes), COLUMNS):
            self._bound(torch.arange(start, min(start + COLUMNS, len(rows.codes))))
        rows.stirred.clear()

    def turn(self, i: int) -> None:
        """From here on the points asked for lie around key i; keys before it are done with."""
        self._turn = i

    def bounds(self, point: Tensor, everywhere: bool = False) -> Tensor:
        """Lower bounds [s] float32 on the distance of a point [d] to every centre; inf in a free slot.

        Inf also where the subject is another one, unless ``everywhere``.
        """
        i = self._turn
        self._refresh()
        shift = distances(self._keys[i, None], point[None]).item()
        low = self._low[i] if shift == 0 else (self._low[i] * (1 - SLACK) - shift * (1 + SLACK)).clamp_(min=0)
        return low if everywhere else low.masked_fill(self._rows.scopes != self._scopes[i], torch.inf)

    def nearest(self, point: Tensor, unlike: str | None = None) -> tuple[Cluster, float] | None:
        """The nearest cluster (of another label than ``unlike``) and its distance; None where there is none.

        Distances that are equal to rounding count as equal, and the oldest cluster wins: symmetric keys fall
        alike on every machine.
        """
        low = self.bounds(point)
        if unlike is not None:
            low = low.masked_fill(self._rows.codes == self._rows.code(unlike), torch.inf)
        if not len(low) or torch.isinf(low[first := low.argmin()]):
            return None
        limit = distances(point[None], self._rows.centres[first, None]).item() * (1 + TOLERANCE)
        slots = (low <= limit).nonzero()[:, 0]
        exact = distances(point[None], self._rows.centres[slots])[0]  # [n]
        tied = exact <= exact.min() * (1 + TOLERANCE)
        return min(
            zip(self._rows.at(slots[tied].tolist()), exact[tied].tolist(), strict=True), key=lambda found: found[0].id
        )

    def within(self, point: Tensor, limit: Tensor | float, everywhere: bool = False) -> list[Cluster]:
        """Every cluster whose centre is within ``limit`` (a number, or one for each slot), and some beyond."""
        return self._rows.at((self.bounds(point, everywhere) <= limit).nonzero()[:, 0].tolist())

    def _refresh(self) -> None:
        """Brings the columns of changed centres up to date."""
        if grown := len(self._rows.codes) - self._low.shape[1]:
            self._low = torch.cat([self._low, torch.full((len(self._low), grown), torch.inf)], 1)
        if self._rows.stirred:
            self._bound(torch.tensor(sorted(self._rows.stirred)))
            self._rows.stirred.clear()

    def _bound(self, slots: Tensor) -> None:
        """Computes the columns ``slots`` for the keys still to come."""
        keys, squares = self._keys[self._turn :], self._squares[self._turn :]
        centres = self._rows.centres[slots].double()
        total = squares + centres.square().sum(1)  # [later keys, n]
        # |a|^2 + |b|^2 - 2ab is off by no more than this part of |a|^2 + |b|^2, in whatever order it is added up.
        error = (keys.shape[1] + 8) * torch.finfo(torch.float64).eps
        square = torch.addmm(total, keys, centres.T, alpha=-2).sub_(total, alpha=error)
        low = square.clamp_(min=0).sqrt_().mul_(1 - SLACK)
        self._low[self._turn :, slots] = low.masked_fill_(self._rows.codes[slots] == FREE, torch.inf).float()
