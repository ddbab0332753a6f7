"""The index as Qdrant points: what the embedded shard and the server have in common.

One collection holds two named Euclidean vectors, and every point has one of them:

    point id                 vector    payload
    uuid5 of the edit id     key       kind "key", edit, cluster, block, version
    uuid5 of "cluster:<id>"  centre    kind "centre", cluster, radius, version

A route is two exact searches: the nearest centre, and, where its radius holds the query, the nearest key
among the points of its cluster. Point ids depend on the row's id alone, so an upsert can be repeated.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

import torch

from pipeline.editing.edit import Route
from pipeline.editing.index.checks import as_queries, check_delta
from pipeline.editing.index.protocol import TOLERANCE, Delta
from pipeline.errors import MeloError

VectorName = Literal["key", "centre"]
VECTOR_NAMES: tuple[VectorName, VectorName] = ("key", "centre")
CLUSTER_FIELD = "cluster"

NUMBERS_AT_ONCE = 2**20
"""Floats in one upsert, 4 MB: below a segment of the write-ahead log and a server's request limit."""
TIES = 4
"""Hits asked for where one decides: the engine orders equal distances as it likes, we by the smaller id."""


class IndexHomeError(MeloError, RuntimeError):
    """The place that holds the index cannot be opened or reached, or holds something else."""


class Row(NamedTuple):
    """A point to be written: id, the name of its only vector, the vector [d] and the payload."""

    point_id: str
    name: VectorName
    vector: list[float]
    payload: dict[str, Any]


class Hit(NamedTuple):
    """A point that was found: Euclidean distance and payload."""

    distance: float
    payload: dict[str, Any]


def key_point_id(edit_id: str) -> str:
    """The point that holds the key of an edit."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, edit_id))


def centre_point_id(cluster: int) -> str:
    """The point that holds the centre of a cluster."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"cluster:{cluster}"))


def rows_of(delta: Delta) -> Iterator[Row]:
    """Every row that a delta inserts or overwrites, keys first: a centre never waits for its keys."""
    keys = zip(delta.edit_ids, delta.key_clusters.tolist(), delta.key_blocks.tolist(), delta.keys, strict=True)
    for edit_id, cluster, block, key in keys:
        payload = {"kind": "key", "edit": edit_id, "cluster": cluster, "block": block, "version": delta.version}
        yield Row(key_point_id(edit_id), "key", key.tolist(), payload)
    centres = zip(delta.cluster_ids.tolist(), delta.radii.tolist(), delta.centres, strict=True)
    for cluster, radius, centre in centres:
        payload = {"kind": "centre", "cluster": cluster, "radius": radius, "version": delta.version}
        yield Row(centre_point_id(cluster), "centre", centre.tolist(), payload)


class PointIndex(ABC):
    """``pipeline.editing.index.protocol.Index`` over anything that stores and searches points.

    Args:
        width: d, the width of keys and centres.
    """

    def __init__(self, width: int) -> None:
        self.width = width

    def apply(self, delta: Delta) -> None:
        """Deletes and upserts rows, see ``Index.apply``. An interrupted call is completed by repeating it.

        Raises:
            ValueError: from ``check_delta``; the index is unchanged.
            IndexHomeError: the home cannot be reached.
        """
        check_delta(delta, self.width)
        gone = [*map(key_point_id, delta.gone_keys), *map(centre_point_id, delta.gone_clusters)]
        if gone:
            self._delete(gone)
        rows = rows_of(delta)
        while some := list(islice(rows, max(NUMBERS_AT_ONCE // self.width, 1))):
            self._upsert(some)
        self._settle()

    def route(self, queries: torch.Tensor, outside: bool = False) -> list[Route]:
        """Routes queries, [b, d] float32, in two batched searches, see ``Index.route``.

        Raises:
            ValueError: the queries do not have this index's width.
            IndexHomeError: the home cannot be reached.
        """
        queries, places = as_queries(queries, self.width)
        routes = [Route()] * len(queries)
        searched = places.tolist()
        vectors: dict[int, list[float]] = dict(zip(searched, queries[places].tolist(), strict=True))
        inside: dict[int, Route] = {}
        for i, hits in zip(searched, self._search("centre", list(vectors.values()), None), strict=True):
            if not hits:
                continue
            distance, found = min(hits, key=lambda hit: (hit.distance, hit.payload["cluster"]))
            # The engine reads the decimals of a payload back to within a bit; as float32 the radius is exact.
            radius = torch.tensor(found["radius"], dtype=torch.float32).item()
            route = Route(None, found["cluster"], distance, radius)
            if distance <= radius * (1 + TOLERANCE):
                inside[i] = route
            elif outside:
                routes[i] = route
        clusters = [r.cluster for r in inside.values() if r.cluster is not None]
        for i, hits in zip(inside, self._search("key", [vectors[i] for i in inside], clusters), strict=True):
            routes[i] = scope = inside[i]
            if hits:
                found = min(hits, key=lambda hit: (hit.distance, hit.payload["edit"])).payload
                block = None if found["block"] < 0 else found["block"]
                routes[i] = Route(block, scope.cluster, scope.distance, scope.radius, found["edit"])
        return routes

    def count(self) -> tuple[int, int]:
        """Number of clusters and number of keys."""
        return self._count("centre"), self._count("key")

    @abstractmethod
    def close(self) -> None:
        """Releases files, locks and connections; calling it twice is allowed."""

    @abstractmethod
    def _search(
        self, name: VectorName, vectors: Sequence[list[float]], clusters: Sequence[int] | None
    ) -> list[list[Hit]]:
        """The ``TIES`` nearest points of each vector [d], exactly; query i only in ``clusters[i]`` if given."""

    @abstractmethod
    def _upsert(self, rows: Sequence[Row]) -> None:
        """Inserts or overwrites points. When it returns, they survive the death of this process."""

    @abstractmethod
    def _settle(self) -> None:
        """Ends an ``apply``: when it returns, what was written survives a power cut."""

    @abstractmethod
    def _delete(self, point_ids: Sequence[str]) -> None:
        """Deletes points; those that do not exist are passed over."""

    @abstractmethod
    def _count(self, name: VectorName) -> int:
        """Number of points that have this vector."""
