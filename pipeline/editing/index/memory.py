"""The index in memory: exact tensors, searched through lower bounds.

Two tables hold the rows, one of centres and one of keys. A query is routed in four steps, each for a whole
batch: scopes that the bounds cannot rule out are measured; where one holds the query, centres that the bounds
cannot prove farther are measured too, unless their scopes would hold it as well and so were measured already,
and the nearest decides (Eq. 9); queries for which the bounds rule out too little are compared with every centre
in one product; last comes the nearest key of the cluster.

Clusters with a subject stand apart from these: a query is measured against those whose subjects it names, which are
few.

Every distance that decides is a float64 sum of squared differences of the float32 vectors, so a route depends
neither on the batch nor on the path that found it, and ties go to the smaller id.

Shape letters: b queries, c clusters, k keys, d width, n pairs of a query and a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter, itemgetter
from typing import Generic, TypeVar

import torch

from pipeline.editing.edit import Route
from pipeline.editing.index.bounds import ROUNDING, Bounds
from pipeline.editing.index.checks import as_queries, check_delta
from pipeline.editing.index.protocol import TOLERANCE, Delta, holds

Id = TypeVar("Id", int, str)

PAIRS_AT_ONCE = 2048
CENTRES_AT_ONCE = 1024
LEAST_CROWD = 64


class Table(Generic[Id]):
    """Vectors and facts under ids. Capacity doubles; deleting moves the last rows into the holes.

    Args:
        width: d.
        facts: an empty tensor, [0, ...], with the type and the row shape of the facts.
    """

    def __init__(self, width: int, facts: torch.Tensor) -> None:
        self.ids: list[Id] = []
        self.row: dict[Id, int] = {}
        self._vectors = torch.empty(0, width)  # [capacity, d]
        self._facts = facts  # [capacity, ...]

    @property
    def vectors(self) -> torch.Tensor:
        """[rows, d] float32."""
        return self._vectors[: len(self.ids)]

    @property
    def facts(self) -> torch.Tensor:
        """[rows, ...]."""
        return self._facts[: len(self.ids)]

    def put(self, ids: list[Id], vectors: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        """Inserts or overwrites rows and returns their numbers, [n] int64; new rows follow the last."""
        for i in ids:
            if i not in self.row:
                self.row[i] = len(self.ids)
                self.ids.append(i)
        if len(self.ids) > len(self._vectors):
            capacity = max(2 * len(self._vectors), len(self.ids))
            self._vectors = _grown(self._vectors, capacity)
            self._facts = _grown(self._facts, capacity)
        rows = torch.tensor([self.row[i] for i in ids], dtype=torch.int64)
        self._vectors[rows] = vectors.detach().to("cpu", self._vectors.dtype)
        self._facts[rows] = facts.detach().to("cpu", self._facts.dtype)
        return rows

    def drop(self, ids: list[Id]) -> tuple[torch.Tensor, torch.Tensor]:
        """Deletes rows, if they exist, and returns which rows moved: (sources, targets), [n] int64 each."""
        gone = {self.row.pop(i) for i in set(ids) if i in self.row}
        count = len(self.ids) - len(gone)
        targets = sorted(r for r in gone if r < count)
        sources = [r for r in range(count, len(self.ids)) if r not in gone]
        for source, target in zip(sources, targets, strict=True):
            self.ids[target] = self.ids[source]
            self.row[self.ids[target]] = target
        del self.ids[count:]
        moved = torch.tensor(sources, dtype=torch.int64), torch.tensor(targets, dtype=torch.int64)
        self._vectors[moved[1]] = self._vectors[moved[0]]
        self._facts[moved[1]] = self._facts[moved[0]]
        return moved


def _grown(rows: torch.Tensor, capacity: int) -> torch.Tensor:
    larger = rows.new_empty(capacity, *rows.shape[1:])
    larger[: len(rows)] = rows
    return larger


class MemoryIndex:
    """Implements ``pipeline.editing.index.protocol.Index`` in memory; nothing is kept when it is gone.

    At width d it takes about 4 d bytes for each centre and for each key.

    Args:
        width: d, the width of keys and centres.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._centres: Table[int] = Table(width, torch.empty(0))  # facts: the radius
        self._keys: Table[str] = Table(width, torch.empty(0, 2, dtype=torch.int64))  # facts: cluster, block
        self._members: dict[int, set[str]] = {}
        self._named: Table[int] = Table(width, torch.empty(0))  # the centres of clusters with a subject
        self._subject: dict[int, str] = {}
        self._about: dict[str, set[int]] = {}
        self._bounds = Bounds(width)

    def apply(self, delta: Delta) -> None:
        """Deletes and upserts rows, see ``Index.apply``.

        Raises:
            ValueError: from ``check_delta``; the index is unchanged.
        """
        check_delta(delta, self.width)
        delta = self._put_named(delta)
        sources, targets = self._centres.drop(delta.gone_clusters)
        self._bounds.move(sources, targets, len(self._centres.ids))
        rows, centres = self._centres.put(delta.cluster_ids.tolist(), delta.centres, delta.radii), delta.centres
        if len(rows) and len(self._centres.ids) >= 2 * self._bounds.fitted:
            rows, centres = torch.arange(len(self._centres.ids)), self._centres.vectors
            self._bounds.fit(centres)
        self._bounds.put(rows, centres, self._centres.facts[rows].double() * (1 + TOLERANCE))

        self._leave([*delta.gone_keys, *delta.edit_ids])
        self._keys.drop(delta.gone_keys)
        self._keys.put(delta.edit_ids, delta.keys, torch.stack((delta.key_clusters, delta.key_blocks), 1))
        for edit_id, cluster in zip(delta.edit_ids, delta.key_clusters.tolist(), strict=True):
            self._members.setdefault(cluster, set()).add(edit_id)

    @torch.no_grad()
    def route(
        self, queries: torch.Tensor, outside: bool = False, subjects: Sequence[Sequence[str]] | None = None
    ) -> list[Route]:
        """Routes queries, [b, d] float32, see ``Index.route``.

        Raises:
            ValueError: the queries do not have this index's width.
        """
        queries, places = as_queries(queries, self.width)
        routes = [Route()] * len(queries)
        if not len(places):
            return routes
        named = self._nearest_named(queries, places.tolist(), subjects)
        free = self._nearest_free(queries, places, subjects, outside)
        for i in places.tolist():
            found = [near[i] for near in (named, free) if i in near]
            inside = [route for route in found if holds(route)]
            if len(inside) == 1:
                routes[i] = self._answered(queries[i], inside[0], contested=False)[1]
            elif inside:
                routes[i] = min((self._answered(queries[i], route) for route in inside), key=itemgetter(0))[1]
            elif found and outside:
                routes[i] = min(found, key=attrgetter("distance", "cluster"))
        return routes

    def count(self) -> tuple[int, int]:
        """Number of clusters and number of keys."""
        return len(self._centres.ids) + len(self._named.ids), len(self._keys.ids)

    def close(self) -> None:
        """Nothing to release: the tensors go with the object."""

    def _put_named(self, delta: Delta) -> Delta:
        """Takes the clusters with a subject out of a delta into their own table; returns what is left."""
        ids = delta.cluster_ids.tolist()
        subjects = delta.subjects or [""] * len(ids)
        for cluster in (*delta.gone_clusters, *ids):
            if cluster in self._subject:
                self._about[self._subject.pop(cluster)].discard(cluster)
        self._named.drop([*delta.gone_clusters, *(i for i, subject in zip(ids, subjects, strict=True) if not subject)])
        apart = [place for place, subject in enumerate(subjects) if subject]
        for place in apart:
            self._subject[ids[place]] = subjects[place]
            self._about.setdefault(subjects[place], set()).add(ids[place])
        if not apart:
            return delta
        chosen = [ids[place] for place in apart]
        self._named.put(chosen, delta.centres[apart], delta.radii[apart])
        kept = [place for place, subject in enumerate(subjects) if not subject]
        return replace(
            delta,
            cluster_ids=delta.cluster_ids[kept],
            centres=delta.centres[kept],
            radii=delta.radii[kept],
            gone_clusters=[*delta.gone_clusters, *chosen],
            subjects=[],
        )

    def _nearest_named(
        self, queries: torch.Tensor, places: Sequence[int], subjects: Sequence[Sequence[str]] | None
    ) -> dict[int, Route]:
        """Query -> the cluster with the nearest centre whose subject it names, if there is one."""
        found: dict[int, Route] = {}
        if subjects is None:
            return found
        for i in places:
            clusters = sorted({c for subject in subjects[i] for c in self._about.get(subject, ())})
            if clusters:
                rows = [self._named.row[cluster] for cluster in clusters]
                squares = (self._named.vectors[rows].double() - queries[i]).square_().sum(1).tolist()
                square, cluster, row = min(zip(squares, clusters, rows, strict=True))
                found[i] = Route(None, cluster, math.sqrt(square), float(self._named.facts[row]))
        return found

    def _nearest_free(
        self, queries: torch.Tensor, places: torch.Tensor, subjects: Sequence[Sequence[str]] | None, outside: bool
    ) -> dict[int, Route]:
        """Query -> the nearest cluster without a subject, if it may find one and a scope may hold it."""
        if subjects is not None:
            places = torch.tensor([i for i in places.tolist() if "" in subjects[i]], dtype=torch.int64)
        if not (len(places) and self._centres.ids):
            return {}
        rows, squares = self._nearest(queries[places], outside)  # [n], [n]
        return {
            i: Route(None, self._centres.ids[row], math.sqrt(square), float(self._centres.facts[row]))
            for i, row, square in zip(places.tolist(), rows, squares, strict=True)
            if row >= 0
        }

    def _leave(self, edit_ids: list[str]) -> None:
        for edit_id in edit_ids:
            if edit_id in self._keys.row:
                cluster = int(self._keys.facts[self._keys.row[edit_id], 0])
                members = self._members.get(cluster, set())
                members.discard(edit_id)
                if not members:
                    self._members.pop(cluster, None)

    def _nearest(self, queries: torch.Tensor, outside: bool) -> tuple[list[int], list[float]]:
        """Nearest centre of each query: b rows and b squared distances.

        Row -1 stands for a query that no scope can hold, unless ``outside`` asks for those too.
        """
        crowd = max(len(self._centres.ids) // 16, LEAST_CROWD)  # beyond it one product with all centres is faster
        probe = self._bounds.probe(queries)
        rows = [-1] * len(queries)
        best = torch.full((len(queries),), math.inf, dtype=torch.float64)

        pairs = self._bounds.scopes(probe, crowd)
        which, candidates, crowded = pairs.queries, pairs.rows, pairs.crowded
        if not (len(which) or outside or crowded.any()):
            return rows, best.tolist()
        if len(which):
            squares = self._squares(queries, which, candidates)
            reached = squares.sqrt() <= self._centres.facts[candidates].double() * (1 + TOLERANCE)
            best.scatter_reduce_(0, which[reached], squares[reached], "amin")
        if outside and len(lost := (best.isinf() & ~crowded).nonzero()[:, 0]):
            guesses = self._bounds.lowest(probe[lost])
            best[lost] = self._squares(queries, lost, guesses)

        settled = best <= self._bounds.least_reach()
        if len(which) and settled.any():  # whatever centre is as near holds the query too, so it is among these
            known = settled[which]
            self._decide(which[known], candidates[known], squares[known], rows, best)
        some = (best.isfinite() & ~crowded & ~settled).nonzero()[:, 0]
        if len(some):
            pairs = self._bounds.within(probe[some], best[some], crowd)
            crowded[some[pairs.crowded]] = True
            which = some[pairs.queries]
            self._decide(which, pairs.rows, self._squares(queries, which, pairs.rows), rows, best)
        full = crowded.nonzero()[:, 0]
        if len(full):
            which, candidates = self._scan_all(queries[full])
            self._decide(full[which], candidates, self._squares(queries, full[which], candidates), rows, best)
        return rows, best.tolist()

    def _decide(
        self,
        which: torch.Tensor,
        candidates: torch.Tensor,
        squares: torch.Tensor,
        rows: list[int],
        best: torch.Tensor,
    ) -> None:
        """Writes the nearest candidate of each query into ``rows`` and ``best``; the smaller cluster id wins ties.

        Args:
            which: [n] int64, queries.
            candidates: [n] int64, a row for each.
            squares: [n] float64, how far they are apart, squared.
            rows: b rows, written.
            best: [b] float64, written.
        """
        best[which] = math.inf  # a guess from another batch stood here, and no sum promises the same last bit
        best.scatter_reduce_(0, which, squares, "amin")
        least = squares == best[which]
        for i, row in zip(which[least].tolist(), candidates[least].tolist(), strict=True):
            if rows[i] < 0 or self._centres.ids[row] < self._centres.ids[rows[i]]:
                rows[i] = row

    def _squares(self, queries: torch.Tensor, which: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Squared distances [n] float64 of queries [b, d] at places ``which`` [n] to centres at ``rows`` [n]."""
        chunks = [
            (self._centres.vectors[r].double() - queries[w]).square_().sum(1)
            for w, r in zip(which.split(PAIRS_AT_ONCE), rows.split(PAIRS_AT_ONCE), strict=True)
        ]
        return torch.cat(chunks)

    def _scan_all(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pairs (query, row), [n] int64 each, among which the nearest centres are.

        |c|^2 - 2 q.c in float32 for all centres, of which only those within its rounding of the least matter.
        """
        squares = queries.double().square().sum(1)  # [b]
        least = torch.full((len(queries),), math.inf)
        which, rows = [], []
        for start, centres in enumerate(self._centres.vectors.split(CENTRES_AT_ONCE)):
            norms = torch.linalg.vecdot(centres, centres)  # [t]
            scores = torch.addmm(norms[:, None], centres, queries.T, alpha=-2)  # [t, b]
            rounding = 2 * (self.width + 4) * ROUNDING * (squares + norms.max().double()).float()  # [b]
            torch.minimum(least, scores.amin(0) + rounding, out=least)
            row, query = (scores <= least + rounding).nonzero(as_tuple=True)
            which.append(query)
            rows.append(row + start * CENTRES_AT_ONCE)
        return torch.cat(which), torch.cat(rows)

    def _answered(self, query: torch.Tensor, route: Route, contested: bool = True) -> tuple[float, Route]:
        """A route into a cluster that holds a query [d], to its nearest key; and the square of how far that is.

        The smaller edit id wins ties. The only key of an uncontested cluster is not measured.
        """
        edit_ids = sorted(self._members.get(route.cluster or 0, ()))
        if not edit_ids:
            return math.inf, route
        if len(edit_ids) == 1 and not contested:
            return 0.0, self._to(edit_ids[0], route)
        keys = self._keys.vectors[torch.tensor([self._keys.row[e] for e in edit_ids])]
        # Of equal distances argmin may name any; the first among equals is the smallest id.
        squares = (keys.double() - query).square_().sum(1)  # [k]
        return squares.min().item(), self._to(edit_ids[int((squares == squares.min()).nonzero()[0])], route)

    def _to(self, edit_id: str, route: Route) -> Route:
        block = int(self._keys.facts[self._keys.row[edit_id], 1])
        return Route(None if block < 0 else block, route.cluster, route.distance, route.radius, edit_id)
