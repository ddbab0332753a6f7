"""What every home of the index can do, and what is sent to it.

The fold (``pipeline.editing.clusters``) decides; an index only stores keys and centres and searches them
exactly. It can be rebuilt at any time from the fold's tables, so it holds no truth of its own.

Shape letters: b queries, c clusters, k keys, d key width.
"""

from __future__ import annotations

from dataclasses import dataclass
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


class Index(Protocol):
    """Keys and cluster centres, searched exactly."""

    def apply(self, delta: Delta) -> None:
        """Deletes and upserts rows. Idempotent."""

    def route(self, queries: torch.Tensor, outside: bool = False) -> list[Route]:
        """Nearest cluster by centre, then, inside its radius, the nearest key of that cluster (Eq. 9).

        Args:
            queries: [b, d] float32.
            outside: also name the nearest cluster, its distance and radius for queries outside every
                scope. Costs a full search; without it an index may stop once no scope can hold the query.

        Returns:
            b routes. ``block`` is None outside and where the nearest key is a withdrawn one.
        """

    def count(self) -> tuple[int, int]:
        """Number of clusters and number of keys."""

    def close(self) -> None:
        """Releases files, locks and connections; calling it twice is allowed."""
