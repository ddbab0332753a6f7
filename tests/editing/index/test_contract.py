"""What every home of the index promises, home by home; the oracle is a float64 scan over plain dictionaries."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch

from pipeline.editing.edit import Route
from pipeline.editing.index import TOLERANCE, Delta, Index

Make = Callable[..., Delta]
Open = Callable[[int], Index]
OUTSIDE = Route()


@dataclass
class Oracle:
    """Clusters: id -> (centre, radius). Keys: edit id -> (key, cluster, block)."""

    clusters: dict[int, tuple[torch.Tensor, float]] = field(default_factory=dict)
    keys: dict[str, tuple[torch.Tensor, int, int]] = field(default_factory=dict)

    def apply(self, delta: Delta) -> None:
        for cluster in delta.gone_clusters:
            self.clusters.pop(cluster, None)
        for edit_id in delta.gone_keys:
            self.keys.pop(edit_id, None)
        for i, cluster in enumerate(delta.cluster_ids.tolist()):
            self.clusters[cluster] = (delta.centres[i].double(), float(delta.radii[i]))
        for i, edit_id in enumerate(delta.edit_ids):
            self.keys[edit_id] = (delta.keys[i].double(), int(delta.key_clusters[i]), int(delta.key_blocks[i]))

    def route(self, queries: torch.Tensor) -> list[Route]:
        ids, names = sorted(self.clusters), sorted(self.keys)
        to_centres = _distances(queries, [self.clusters[i][0] for i in ids])
        to_keys = _distances(queries, [self.keys[name][0] for name in names])
        found = []
        for distances, key_distances in zip(to_centres, to_keys, strict=True):
            distance, cluster = min(zip(distances, ids, strict=True))
            radius = self.clusters[cluster][1]
            members = [(d, n) for d, n in zip(key_distances, names, strict=True) if self.keys[n][1] == cluster]
            if distance > radius * (1 + TOLERANCE) or not members:
                found.append(Route(None, cluster, distance, radius))
                continue
            edit_id = min(members)[1]
            block = self.keys[edit_id][2]
            found.append(Route(None if block < 0 else block, cluster, distance, radius, edit_id))
        return found


def _distances(queries: torch.Tensor, vectors: list[torch.Tensor]) -> list[list[float]]:
    rows = torch.stack(vectors)
    return torch.cdist(queries.double(), rows, compute_mode="donot_use_mm_for_euclid_dist").tolist()


def routes(index: Index, *queries: list[float], outside: bool = False) -> list[Route]:
    return index.route(torch.tensor(queries), outside)


def same(found: Route, expected: Route) -> None:
    """Equal, distances to float32."""
    assert (found.block, found.cluster, found.edit_id) == (expected.block, expected.cluster, expected.edit_id)
    assert found.radius == expected.radius
    assert (found.distance is None) == (expected.distance is None)
    if expected.distance is not None:
        assert found.distance == pytest.approx(expected.distance, rel=1e-5, abs=1e-5)


def test_an_empty_index_routes_nothing(open_home: Open, delta_of: Make) -> None:
    index = open_home(2)
    assert routes(index, [0.0, 0.0], [1.0, 1.0]) == [OUTSIDE, OUTSIDE]
    assert routes(index, [0.0, 0.0], outside=True) == [OUTSIDE]
    index.apply(delta_of(2))
    assert index.count() == (0, 0)
    assert index.route(torch.empty(0, 2)) == []


def test_inside_outside_and_on_the_border(open_home: Open, delta_of: Make) -> None:
    index = open_home(2)
    radius = 0.1  # not a float32: what comes back is the float32 next to it, exactly
    index.apply(delta_of(2, {7: ([0.0, 0.0], 5.0), 8: ([100.0, 0.0], radius)}, {"a": ([0.0, 0.0], 7, 3)}))
    inside, border, rounded, beyond = routes(
        index, [3.0, 3.0], [3.0, 4.0], [3.0, 4.0 * (1 + 5e-6)], [3.0, 4.0 * (1 + 1e-4)]
    )
    same(inside, Route(3, 7, math.sqrt(18), 5.0, "a"))
    same(border, Route(3, 7, 5.0, 5.0, "a"))
    assert rounded.block == 3
    assert beyond == OUTSIDE
    assert routes(index, [99.0, 0.0], outside=True)[0].radius == torch.tensor(radius).item()


def test_the_nearest_centre_decides_even_where_a_wider_scope_holds_the_query(open_home: Open, delta_of: Make) -> None:
    index = open_home(1)
    index.apply(delta_of(1, {1: ([0.0], 10.0), 2: ([6.0], 0.5)}, {"wide": ([0.0], 1, 10), "narrow": ([6.0], 2, 20)}))
    assert routes(index, [5.0]) == [OUTSIDE]
    same(routes(index, [5.0], outside=True)[0], Route(None, 2, 1.0, 0.5))
    assert [r.block for r in routes(index, [2.9], [5.6], [-9.0])] == [10, 20, 10]


def test_a_cluster_with_a_subject_is_there_for_queries_that_name_it(open_home: Open, delta_of: Make) -> None:
    index = open_home(1)
    centres: dict[int, tuple[list[float], float]] = {1: ([0.0], 1.0), 2: ([0.5], 1.0), 3: ([0.4], 1.0), 4: ([9.0], 1.0)}
    keys = {f"e{i}": (centre, i, 10 * i) for i, (centre, _) in centres.items()}
    index.apply(delta_of(1, centres, keys, subjects=["", "Ada", "Bob's", "Ada"]))
    assert index.count() == (4, 4)

    def blocks(at: float, subjects: list[str]) -> int | None:
        return index.route(torch.tensor([[at]]), subjects=[["", *subjects]])[0].block

    assert [blocks(0.5, named) for named in ([], ["Ada"], ["Bob's"], ["Ada", "Bob's"])] == [10, 20, 30, 20]
    assert [blocks(0.1, named) for named in (["Ada"], ["Carl"])] == [10, 10]  # where both hold it, the nearer key
    assert [blocks(1.2, named) for named in (["Ada"], [])] == [20, None]  # the other one does not hold it
    assert [blocks(9.1, named) for named in ([], ["Bob's"], ["Ada"])] == [None, None, 40]
    alone = index.route(torch.tensor([[0.1], [0.1], [0.1]]), True, [["Bob's"], [], ["Ada", ""]])
    assert [route.block for route in alone] == [30, None, 10]  # only the last may find what has no subject
    assert alone[1] == OUTSIDE
    same(index.route(torch.tensor([[9.1]]), True, [[""]])[0], Route(None, 1, 9.1, 1.0))
    same(index.route(torch.tensor([[7.0]]), True, [["", "Ada"]])[0], Route(None, 4, 2.0, 1.0))

    index.apply(
        delta_of(1, {2: ([0.5], 1.0), 1: ([0.0], 1.0)}, gone_clusters=[4], gone_keys=["e4"], subjects=["", "Bob's"])
    )
    assert index.count() == (3, 3)
    assert [blocks(0.5, []), blocks(0.0, ["Bob's"]), blocks(9.1, ["Ada"])] == [20, 10, None]


def test_the_nearest_key_of_that_cluster_answers(open_home: Open, delta_of: Make) -> None:
    index = open_home(2)
    index.apply(
        delta_of(
            2,
            {1: ([0.0, 0.0], 3.0), 2: ([4.0, 0.0], 0.5)},
            {"left": ([-2.0, 0.0], 1, 0), "right": ([2.0, 0.0], 1, 1), "other": ([1.2, 0.0], 2, 2)},
        )
    )
    found = routes(index, [-1.0, 0.5], [1.0, 0.5])
    assert [(r.cluster, r.block, r.edit_id) for r in found] == [(1, 0, "left"), (1, 1, "right")]


def test_a_withdrawn_key_routes_to_the_backbone(open_home: Open, delta_of: Make) -> None:
    index = open_home(1)
    index.apply(delta_of(1, {1: ([0.0], 2.0)}, {"kept": ([-1.0], 1, 4), "withdrawn": ([1.0], 1, -1)}))
    kept, withdrawn = routes(index, [-0.5], [0.5])
    assert kept.block == 4
    assert withdrawn.block is None
    assert (withdrawn.cluster, withdrawn.edit_id) == (1, "withdrawn")


def test_a_scope_without_keys_routes_to_the_backbone(open_home: Open, delta_of: Make) -> None:
    index = open_home(1)
    index.apply(delta_of(1, {1: ([0.0], 2.0)}))
    same(routes(index, [0.5])[0], Route(None, 1, 0.5, 2.0))


def test_rows_are_overwritten(open_home: Open, delta_of: Make) -> None:
    index = open_home(1)
    index.apply(delta_of(1, {1: ([0.0], 1.0), 2: ([10.0], 1.0)}, {"a": ([0.0], 1, 0), "b": ([10.0], 2, 1)}))
    index.apply(delta_of(1, {1: ([5.0], 2.0)}, {"a": ([10.1], 2, 7)}, version=2))
    assert index.count() == (2, 2)
    assert routes(index, [0.0]) == [OUTSIDE]
    same(routes(index, [4.0])[0], Route(None, 1, 1.0, 2.0))
    assert [r.edit_id for r in routes(index, [10.2], [9.9])] == ["a", "b"]


def test_rows_are_deleted(open_home: Open, delta_of: Make) -> None:
    index = open_home(1)
    clusters = {i: ([10.0 * i], 1.0) for i in range(5)}
    index.apply(delta_of(1, clusters, {f"e{i}": ([10.0 * i], i, i) for i in range(5)}))
    index.apply(delta_of(1, gone_clusters=[0, 4, 99], gone_keys=["e0", "e4", "e3", "never"]))
    assert index.count() == (3, 2)
    assert [r.block for r in routes(index, *[[10.0 * i] for i in range(5)])] == [None, 1, 2, None, None]
    assert [r.cluster for r in routes(index, *[[10.0 * i] for i in range(5)])] == [None, 1, 2, 3, None]
    index.apply(delta_of(1, gone_clusters=[1, 2, 3], gone_keys=["e1", "e2"]))
    assert index.count() == (0, 0)
    assert routes(index, [10.0], outside=True) == [OUTSIDE]


def test_a_delta_sent_twice_is_a_delta_sent_once(open_home: Open, delta_of: Make) -> None:
    index = open_home(1)
    index.apply(delta_of(1, {1: ([0.0], 1.0), 2: ([9.0], 1.0)}, {"a": ([0.0], 1, 0), "b": ([9.0], 2, 1)}))
    second = delta_of(1, {1: ([0.5], 1.5), 3: ([20.0], 1.0)}, {"c": ([0.9], 1, 2)}, [2], ["b"], version=2)
    index.apply(second)
    before = index.count(), routes(index, [0.2], [0.8], [9.0], [20.0], outside=True)
    index.apply(second)
    assert (index.count(), routes(index, [0.2], [0.8], [9.0], [20.0], outside=True)) == before
    assert before[0] == (2, 2)


def test_ties_go_to_the_smaller_id(open_home: Open, delta_of: Make) -> None:
    index = open_home(1)
    index.apply(
        delta_of(
            1,
            {9: ([1.0], 2.0), 4: ([-1.0], 2.0)},
            {"d": ([-1.0], 4, 1), "c": ([1.0], 4, 2), "b": ([0.0], 9, 3)},
        )
    )
    assert [(r.cluster, r.edit_id) for r in routes(index, [0.0])] == [(4, "c")]


def test_two_indexes_do_not_see_each_other(open_home: Open, delta_of: Make) -> None:
    first, second = open_home(1), open_home(1)
    first.apply(delta_of(1, {1: ([0.0], 1.0)}, {"a": ([0.0], 1, 0)}))
    assert second.count() == (0, 0)
    assert routes(second, [0.0], outside=True) == [OUTSIDE]


def test_a_query_that_overflowed_is_outside(open_home: Open, delta_of: Make) -> None:
    index = open_home(1)
    index.apply(delta_of(1, {1: ([0.0], 1.0)}, {"a": ([0.0], 1, 5)}))
    found = routes(index, [math.nan], [0.0], [math.inf], outside=True)
    assert (found[0], found[1].block, found[2]) == (OUTSIDE, 5, OUTSIDE)


def test_what_does_not_fit_is_refused_and_changes_nothing(open_home: Open, delta_of: Make) -> None:
    index = open_home(2)
    index.apply(delta_of(2, {1: ([0.0, 0.0], 1.0)}))
    gone = {"gone_clusters": [1]}
    with pytest.raises(ValueError, match="width 2"):
        index.apply(delta_of(3, {2: ([0.0, 0.0, 0.0], 1.0)}, **gone))
    with pytest.raises(ValueError, match="not finite"):
        index.apply(delta_of(2, {2: ([0.0, math.nan], 1.0)}, **gone))
    with pytest.raises(ValueError, match="not finite"):
        index.apply(delta_of(2, {}, {"a": ([math.inf, 0.0], 1, 0)}, **gone))
    with pytest.raises(ValueError, match="0 or more"):
        index.apply(delta_of(2, {2: ([0.0, 0.0], -1.0)}, **gone))
    twice = delta_of(2, {}, {"a": ([0.0, 0.0], 1, 0), "b": ([0.0, 0.0], 1, 0)}, **gone)
    twice.edit_ids[1] = "a"
    with pytest.raises(ValueError, match="'a' twice"):
        index.apply(twice)
    with pytest.raises(ValueError, match=r"\[b, 2\]"):
        index.route(torch.zeros(2))
    assert index.count() == (1, 0)


def test_closing_twice_is_allowed(open_home: Open) -> None:
    index = open_home(3)
    index.close()
    index.close()


def stream(make: Make, width: int, kind: str, seed: int) -> tuple[list[Delta], torch.Tensor]:
    """Random deltas with overwrites and deletions, and queries in, near and far from what they leave."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    groups = torch.randn(6, width, generator=generator) * 4

    def vector() -> torch.Tensor:
        noise = torch.randn(width, generator=generator)
        return noise if kind == "isotropic" else groups[rng.randrange(6)] + 0.4 * noise

    scale = (2 * width) ** 0.5 * (0.5 if kind == "isotropic" else 0.2)
    deltas, seen = [], []
    for version in range(8):
        clusters = {rng.randrange(300): (vector(), rng.uniform(0.2, 1.5) * scale) for _ in range(30)}
        keys = {}
        for _ in range(50):
            cluster = rng.choice(list(clusters)) if rng.random() < 0.7 else rng.randrange(300)
            near = clusters[cluster][0] if cluster in clusters else vector()
            key = near + 0.3 * torch.randn(width, generator=generator)
            keys[f"{rng.randrange(500):04d}"] = (key, cluster, rng.randrange(-1, 40))
        gone_clusters = [rng.randrange(300) for _ in range(25 if version else 0)]
        gone_keys = [f"{rng.randrange(500):04d}" for _ in range(25 if version else 0)]
        deltas.append(make(width, clusters, keys, gone_clusters, gone_keys, version))
        seen += [centre for centre, _ in clusters.values()]
    queries = [rng.choice(seen) + rng.choice([0.0, 0.1, 0.5, 2.0]) * vector() for _ in range(60)]
    return deltas, torch.stack([*queries, *(10 * vector() for _ in range(4))])


@pytest.mark.parametrize("kind", ["isotropic", "clustered"])
@pytest.mark.parametrize(("width", "seed"), [(2, 0), (16, 1), (48, 2)])
def test_random_streams_agree_with_brute_force(
    open_home: Open, delta_of: Make, kind: str, width: int, seed: int
) -> None:
    deltas, queries = stream(delta_of, width, kind, seed)
    index, oracle = open_home(width), Oracle()
    actions: set[bool] = set()
    for delta in deltas:
        index.apply(delta)
        oracle.apply(delta)
        assert index.count() == (len(oracle.clusters), len(oracle.keys))
        expected = oracle.route(queries)
        for found, wanted in zip(index.route(queries, outside=True), expected, strict=True):
            same(found, wanted)
        within = [wanted.distance is not None and wanted.distance <= wanted.radius for wanted in expected]  # type: ignore[operator]
        for found, wanted, is_in in zip(index.route(queries), expected, within, strict=True):
            same(found, wanted if is_in else OUTSIDE)
        actions |= set(within)
    assert actions == {True, False}  # the stream tried both sides
    batch = index.route(queries, outside=True)
    for i, found in enumerate(batch):
        same(index.route(queries[i : i + 1], outside=True)[0], found)
