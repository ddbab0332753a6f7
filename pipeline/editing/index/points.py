"""The index as Qdrant points: what the embedded shard and the server have in common.

One collection holds two named Euclidean vectors, and every point has one of them:

    point id                 vector    payload
    uuid5 of the edit id     key       kind "key", edit, cluster, block, version
    uuid5 of "cluster:<id>"  centre    kind "centre", cluster, radius, subject, version

A route is two exact searches: the nearest centre of those that have no subject, or one that the query names; and, where
its radius holds the query, the nearest key among the points of its cluster. Point ids depend on the row's id alone, so
an upsert can be repeated.
"""

from __future__ import annotations

import math
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Literal, NamedTuple

import torch

from pipeline.editing.edit import Route
from pipeline.editing.index.checks import as_queries, check_delta
from pipeline.editing.index.protocol import Delta, holds
from pipeline.errors import MeloError

VectorName = Literal["key", "centre"]
VECTOR_NAMES: tuple[VectorName, VectorName] = ("key", "centre")
CLUSTER_FIELD, SUBJECT_FIELD = "cluster", "subject"
FILTERED: dict[VectorName, str] = {"centre": SUBJECT_FIELD, "key": CLUSTER_FIELD}
"""What a search among either is narrowed by."""

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
    subjects = delta.subjects or [""] * len(delta.cluster_ids)
    centres = zip(delta.cluster_ids.tolist(), delta.radii.tolist(), subjects, delta.centres, strict=True)
    for cluster, radius, subject, centre in centres:
        about = {"cluster": cluster, "radius": radius, "subject": subject}
        payload = {"kind": "centre", **about, "version": delta.version}
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

    def route(
        self, queries: torch.Tensor, outside: bool = False, subjects: Sequence[Sequence[str]] | None = None
    ) -> list[Route]:
        """Routes queries, [b, d] float32, in two batched searches, see ``Index.route``.

        Raises:
            ValueError: the queries do not have this index's width.
            IndexHomeError: the home cannot be reached.
        """
        queries, places = as_queries(queries, self.width)
        routes = [Route()] * len(queries)
        vectors: dict[int, list[float]] = dict(zip(places.tolist(), queries[places].tolist(), strict=True))
        asked = [(i, [""]) for i in vectors if subjects is None or "" in subjects[i]]
        if subjects is not None:
            asked += [(i, named) for i in vectors if (named := [subject for subject in subjects[i] if subject])]
        near: list[tuple[int, Route]] = []
        about = None if subjects is None else [named for _, named in asked]
        centres = self._search("centre", [vectors[i] for i, _ in asked], about)
        for (i, _), hits in zip(asked, centres, strict=True):
            if hits:
                distance, found = min(hits, key=lambda hit: (hit.distance, hit.payload["cluster"]))
                # The engine reads the decimals of a payload back to within a bit; as float32 the radius is exact.
                radius = torch.tensor(found["radius"], dtype=torch.float32).item()
                near.append((i, Route(None, found["cluster"], distance, radius)))
        if outside:
            for i, route in sorted(near, key=lambda found: (found[1].distance, found[1].cluster), reverse=True):
                routes[i] = route  # the nearest comes last
        inside = [(i, route) for i, route in near if holds(route)]
        best: dict[int, tuple[float, Route]] = {}
        keys = self._search("key", [vectors[i] for i, _ in inside], [[route.cluster or 0] for _, route in inside])
        for (i, scope), hits in zip(inside, keys, strict=True):
            answered = (math.inf, scope)
            if hits:
                distance, found = min(hits, key=lambda hit: (hit.distance, hit.payload["edit"]))
                block = None if found["block"] < 0 else found["block"]
                answered = distance, replace(scope, block=block, edit_id=found["edit"])
            if i not in best or answered[0] < best[i][0]:
                best[i] = answered
        for i, (_, route) in best.items():
            routes[i] = route
        return routes

    def count(self) -> tuple[int, int]:
        """Number of clusters and number of keys."""
        return self._count("centre"), self._count("key")

    @abstractmethod
    def close(self) -> None:
        """Releases files, locks and connections; calling it twice is allowed."""

    @abstractmethod
    def _search(
        self, name: VectorName, vectors: Sequence[list[float]], among: Sequence[list[int]] | Sequence[list[str]] | None
    ) -> list[list[Hit]]:
        """The ``TIES`` nearest points of each vector [d], exactly.

        Args:
            name: which points.
            vectors: queries.
            among: for each the values that a centre's subject, or a key's cluster, is among; None: any.
        """

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
