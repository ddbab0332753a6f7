"""What only the index in memory does: it leaves its bounds for a full product, grows, refits and stays exact."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pipeline.editing.index import TOLERANCE, Delta
from pipeline.editing.index.memory import MemoryIndex, Table


def filled(vectors: torch.Tensor, radius: float) -> MemoryIndex:
    index, count = MemoryIndex(vectors.shape[1]), len(vectors)
    ids = torch.arange(count)
    names = [f"{i:06d}" for i in range(count)]
    index.apply(Delta(ids, vectors, torch.full((count,), radius), [], names, vectors, ids, ids % 50, [], 1))
    return index


@pytest.mark.parametrize("radius", [1.0, 7.0, 14.0])  # the bounds decide, help, and rule out nothing at all
@pytest.mark.parametrize("spread", ["isotropic", "narrow", "offset"])
def test_all_ways_through_the_search_are_exact(radius: float, spread: str) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(4000, 96, generator=generator)
    if spread == "narrow":
        vectors *= torch.linspace(3, 0.02, 96).square()
    if spread == "offset":  # |c|^2 - 2 q.c in float32 puts the centres in a wrong order
        vectors += 2000.0
    noise = torch.randn(48, 96, generator=generator) * torch.linspace(0, 1, 48)[:, None]
    queries = vectors[:48] + noise
    index = filled(vectors, radius)
    distances, nearest = torch.cdist(
        queries.double(), vectors.double(), compute_mode="donot_use_mm_for_euclid_dist"
    ).min(1)
    inside = distances <= radius * (1 + TOLERANCE)
    for outside in (True, False):
        routes = index.route(queries, outside)
        expected = [c if i or outside else None for c, i in zip(nearest.tolist(), inside.tolist(), strict=True)]
        assert [r.cluster for r in routes] == expected
        assert [r.block is not None for r in routes] == inside.tolist()
    assert [r.distance for r in index.route(queries, True)] == pytest.approx(distances.tolist(), rel=1e-12, abs=1e-12)


def test_thousands_of_equal_centres_are_one_tie() -> None:
    index = filled(torch.ones(3000, 8), 1.0)
    assert {r.cluster for r in index.route(torch.ones(3, 8))} == {0}
    assert {r.cluster for r in index.route(torch.zeros(3, 8), outside=True)} == {0}


def test_one_edit_at_a_time_is_found_as_it_comes(delta_of: Callable[..., Delta]) -> None:
    vectors = torch.randn(300, 24, generator=torch.Generator().manual_seed(1))
    index = MemoryIndex(24)
    for i, vector in enumerate(vectors):
        index.apply(delta_of(24, {i: (vector, 0.1)}, {f"{i:03d}": (vector, i, i)}))
        assert index.route(vectors[i : i + 1])[0].block == i
    assert [r.block for r in index.route(vectors)] == list(range(300))


def test_a_query_on_a_graph_is_routed_without_one() -> None:
    index = filled(torch.eye(4), 0.5)
    assert index.route(torch.eye(4, requires_grad=True))[2].cluster == 2


def test_a_table_fills_its_holes_with_the_last_rows() -> None:
    table: Table[str] = Table(1, torch.empty(0, dtype=torch.int64))
    table.put(list("abcdef"), torch.arange(6.0)[:, None], torch.arange(6))
    sources, targets = table.drop(["b", "e", "f", "b", "never"])
    assert (sources.tolist(), targets.tolist()) == ([3], [1])
    assert table.ids == ["a", "d", "c"]
    assert table.row == {"a": 0, "d": 1, "c": 2}
    assert table.vectors[:, 0].tolist() == [0.0, 3.0, 2.0]
    assert table.facts.tolist() == [0, 3, 2]
    assert table.put(["x", "a"], torch.tensor([[9.0], [8.0]]), torch.tensor([9, 8])).tolist() == [3, 0]
    assert table.vectors[:, 0].tolist() == [8.0, 3.0, 2.0, 9.0]
