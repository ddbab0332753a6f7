"""What every home of the index can do, and what is sent to it.

The fold (``pipeline.editing.clusters``) decides; an index only stores keys and centres and searches them
exactly. It can be rebuilt at any time from the fold's tables, so it holds no truth of its own.

Shape letters: b queries, c clusters, k keys, d key width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from pipeline.editing.edit import Route

TOLERANCE = 1e-5
"""Relative slack of a radius. A prompt's key differs by rounding between batches of different shapes; a
query counts as inside a cluster when distance <= radius * (1 + TOLERANCE)."""


@dataclass(frozen=True, slots=True)
class Delta:
    """Rows that a fold changed. Sending the same delta twice leaves the index as sending it once.

    Attributes:
        cluster_ids: [c] int64, clusters to insert or overwrite.
        centres: [c, d] float32.
        radii: [c] float32.
        gone_clusters: clusters to delete.
        edit_ids: k edit ids; their keys are to be inserted or overwritten.
        keys: [k, d] float32.
        key_clusters: [k] int64, the cluster that each key belongs to.
        key_blocks: [k] int64, the block that answers; -1 marks a withdrawn key, which routes to the backbone.
        gone_keys: edit ids whose keys are to be deleted.
        version: version of the edited model that writes these rows.
        subjects: for each of ``cluster_ids`` what a query must name for it to apply, empty for nothing; an empty list
            where none has any.
    """

    cluster_ids: torch.Tensor
    centres: torch.Tensor
    radii: torch.Tensor
    gone_clusters: list[int]
    edit_ids: list[str]
    keys: torch.Tensor
    key_clusters: torch.Tensor
    key_blocks: torch.Tensor
    gone_keys: list[str]
    version: int
    subjects: list[str] = field(default_factory=list)


def holds(route: Route) -> bool:
    """Whether a query lies inside the cluster that is named with its distance and radius."""
    return route.distance is not None and route.radius is not None and route.distance <= route.radius * (1 + TOLERANCE)


class Index(Protocol):
    """Keys and cluster centres, searched exactly."""

    def apply(self, delta: Delta) -> None:
        """Deletes and upserts rows. Idempotent."""

    def route(
        self, queries: torch.Tensor, outside: bool = False, subjects: Sequence[Sequence[str]] | None = None
    ) -> list[Route]:
        """Nearest cluster by centre, then, inside its radius, the nearest key of that cluster (Eq. 9).

        A query finds clusters of the subjects that are given for it. The nearest of those with a subject and the
        nearest of those without one are found apart; where both hold the query, the nearer key decides.

        Args:
            queries: [b, d] float32.
            subjects: of the clusters that each query may find, empty for those without one; None only where
                all are without one, and nobody looks at them.
            outside: also name the nearest cluster, its distance and radius for queries outside every
                scope. Costs a full search; without it an index may stop once no scope can hold the query.

        Returns:
            b routes. ``block`` is None outside and where the nearest key is a withdrawn one.
        """

    def count(self) -> tuple[int, int]:
        """Number of clusters and number of keys."""

    def close(self) -> None:
        """Releases files, locks and connections; calling it twice is allowed."""
