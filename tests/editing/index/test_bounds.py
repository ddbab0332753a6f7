"""The bounds against brute force: nothing that matters may be ruled out, and most of the rest has to be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.editing.index.bounds import Bounds

NO_LIMIT = 10**9
KINDS = ("isotropic", "clustered", "tied", "offset", "small", "large", "flat")


def vectors_of(kind: str, count: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, width, generator=generator)
    match kind:
        case "clustered":
            groups = torch.randn(max(count // 20, 1), width, generator=generator) * 5
            return groups[torch.randint(len(groups), (count,), generator=generator)] + 0.3 * noise
        case "tied":
            return noise.sign()
        case "offset":  # float32 loses most of a distance here, as with an outlier feature of a language model
            return noise + 3000.0
        case "small":
            return noise * 1e-20
        case "large":
            return noise * 1e12
        case "flat":
            return noise * (torch.arange(width) < 2)
    return noise


def bounds_of(vectors: torch.Tensor, reaches: torch.Tensor) -> Bounds:
    bounds = Bounds(vectors.shape[1])
    bounds.fit(vectors)
    bounds.put(torch.arange(len(vectors)), vectors, reaches)
    return bounds


def found(pairs: torch.Tensor, rows: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[pairs, rows] = True
    return mask


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    count=st.integers(1, 700),
    width=st.sampled_from([1, 3, 14, 40]),
    queries=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_no_row_that_matters_is_ruled_out(kind: str, count: int, width: int, queries: int, seed: int) -> None:
    vectors = vectors_of(kind, count, width, seed)
    asked = vectors_of(kind, queries, width, seed + 1)
    asked[0] = vectors[count // 2]
    distances = torch.cdist(asked.double(), vectors.double(), compute_mode="donot_use_mm_for_euclid_dist")
    reaches = distances[:, torch.randperm(count, generator=torch.Generator().manual_seed(seed))][0] * 0.7
    bounds = bounds_of(vectors, reaches)
    probe = bounds.probe(asked)

    scopes = bounds.scopes(probe, NO_LIMIT)
    holds = distances <= reaches
    assert not (holds & ~found(scopes.queries, scopes.rows, holds.shape)).any()

    for limits in (distances.min(1).values, distances.median(1).values):
        within = bounds.within(probe, limits.square(), NO_LIMIT)
        near = distances <= limits[:, None]
        assert not (near & ~found(within.queries, within.rows, near.shape)).any()
        assert not within.crowded.any()


@pytest.mark.parametrize("kind", ["isotropic", "clustered"])
def test_almost_everything_else_is_ruled_out(kind: str) -> None:
    vectors = vectors_of(kind, 5000, 512, seed=0)
    bounds = bounds_of(vectors, torch.full((5000,), 1.0))
    queries = vectors[:20] + 0.5 / 512**0.5  # at distance 0.5 of one row each, and far outside all others
    pairs = bounds.scopes(bounds.probe(queries), NO_LIMIT)
    assert set(range(20)) <= set(pairs.rows.tolist())
    assert len(pairs.rows) < 20 * 5000 * 0.01


def test_one_wide_scope_does_not_bring_the_others_back() -> None:
    vectors = vectors_of("isotropic", 3000, 128, seed=3)
    reaches = torch.full((3000,), 0.5)
    reaches[17] = 1000.0
    bounds = bounds_of(vectors, reaches)
    pairs = bounds.scopes(bounds.probe(vectors_of("isotropic", 4, 128, seed=4)), NO_LIMIT)
    assert pairs.rows.tolist() == [17] * 4


def test_crowded_queries_are_named_and_give_no_pairs() -> None:
    vectors = torch.cat((torch.zeros(600, 8), torch.full((1, 8), 50.0)))
    bounds = bounds_of(vectors, torch.full((601,), 1.0))
    pairs = bounds.scopes(bounds.probe(torch.stack((vectors[0], vectors[600]))), limit=100)
    assert pairs.crowded.tolist() == [True, False]
    assert pairs.queries.tolist() == [1]
    assert pairs.rows.tolist() == [600]


def test_many_tiles_and_a_part_of_a_block_are_searched() -> None:
    vectors = vectors_of("isotropic", 2**18 // 64 + 300, 16, seed=5)  # 64 queries: several tiles
    bounds = bounds_of(vectors, torch.zeros(len(vectors)))
    last = vectors[-64:]
    pairs = bounds.scopes(bounds.probe(last), NO_LIMIT)
    assert set(range(len(vectors) - 64, len(vectors))) <= set(pairs.rows.tolist())
    assert pairs.rows.max() < len(vectors)
    assert bounds.lowest(bounds.probe(last)).tolist() == list(range(len(vectors) - 64, len(vectors)))


def test_rows_move_and_vanish() -> None:
    vectors = vectors_of("isotropic", 10, 32, seed=6)
    bounds = bounds_of(vectors, torch.full((10,), 0.1))
    bounds.move(torch.tensor([9]), torch.tensor([2]), 9)
    pairs = bounds.scopes(bounds.probe(vectors[[9, 2]]), NO_LIMIT)
    assert (pairs.queries.tolist(), pairs.rows.tolist()) == ([0], [2])


def test_fitting_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    bounds_of(vectors_of("isotropic", 50, 20, seed=7), torch.zeros(50))
    assert torch.equal(torch.rand(3), expected)
