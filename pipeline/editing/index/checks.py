"""What every home of the index demands of the rows and the queries that enter it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pipeline.editing.index.protocol import Delta

LARGEST = 1e15
"""Largest magnitude of a stored or queried number: its square times any width stays finite in float32."""


def check_delta(delta: Delta, width: int) -> None:
    """Refuses a delta that would leave an index in doubt; nothing has been written when it raises.

    Raises:
        ValueError: shapes do not agree with each other or with ``width``, a vector or a radius is not
            finite or beyond ``LARGEST``, a radius is negative, or one id is written twice.
    """
    clusters, edits = len(delta.cluster_ids), len(delta.edit_ids)
    shapes: list[tuple[str, torch.Tensor, tuple[int, ...]]] = [
        ("cluster_ids", delta.cluster_ids, (clusters,)),
        ("centres", delta.centres, (clusters, width)),
        ("radii", delta.radii, (clusters,)),
        ("keys", delta.keys, (edits, width)),
        ("key_clusters", delta.key_clusters, (edits,)),
        ("key_blocks", delta.key_blocks, (edits,)),
    ]
    for name, tensor, expected in shapes:
        if tuple(tensor.shape) != expected:
            raise ValueError(
                f"delta.{name} has shape {tuple(tensor.shape)}, expected {expected}: this index holds vectors of "
                f"width {width}. Give one row per id, or open an index of the width of these keys."
            )
        if tensor.is_floating_point() and not _bounded(tensor):
            raise ValueError(
                f"delta.{name} holds a value that is not finite or beyond {LARGEST:.0e}, expected hidden states and "
                "radii of a model. Look for an overflow in the layer that gives the keys (half precision overflows "
                "beyond 65504); nothing was written."
            )
    if delta.subjects and len(delta.subjects) != clusters:
        raise ValueError(
            f"delta.subjects has {len(delta.subjects)} texts, expected one for each of {clusters} clusters."
        )
    if clusters and float(delta.radii.min()) < 0:
        raise ValueError(f"delta.radii holds {float(delta.radii.min())}, expected every radius to be 0 or more.")
    _once("cluster_ids", delta.cluster_ids.tolist())
    _once("edit_ids", delta.edit_ids)


def _bounded(tensor: torch.Tensor) -> bool:
    if not tensor.numel():
        return True
    least, most = torch.aminmax(tensor)  # both are NaN if any value is
    return float(least) >= -LARGEST and float(most) <= LARGEST


def _once(name: str, ids: Sequence[int] | Sequence[str]) -> None:
    if len(set(ids)) < len(ids):
        seen: set[int | str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise ValueError(f"delta.{name} writes {twice!r} twice, expected each id once: merge its rows.")


def as_queries(queries: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries on the CPU in float32, without a graph, and which of them can be searched for.

    Returns:
        [b, width] float32, and the places [n] int64 of queries that are finite and not beyond ``LARGEST``.
        The others (a model that overflowed) are outside every scope: the backbone answers them.

    Raises:
        ValueError: the queries are not of shape [b, width].
    """
    if queries.dim() != 2 or queries.shape[1] != width:
        raise ValueError(
            f"queries have shape {tuple(queries.shape)}, expected [b, {width}]: one key of this index's width a row."
        )
    queries = queries.detach().to("cpu", torch.float32)
    return queries, (queries.abs().amax(1) <= LARGEST).nonzero()[:, 0]
