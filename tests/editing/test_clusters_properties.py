"""Random streams on a grid so coarse that ties and coincidences happen all the time, against the oracle."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.editing.clusters import Clusters, Step
from pipeline.editing.fold import Conflicts
from pipeline.editing.index.protocol import TOLERANCE, Delta
from pipeline.editing.rows import distances
from tests.editing.oracle import Oracle

MANY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SOME = settings(MANY, max_examples=40)


@dataclass(frozen=True)
class Fold:
    edit: str
    label: str
    key: tuple[float, ...]
    block: int


@dataclass(frozen=True)
class Withdraw:
    edit: str


Stream = tuple[int, float, list[Fold | Withdraw]]


@st.composite
def streams(draw: st.DrawFn) -> tuple[int, float, list[Fold | Withdraw]]:
    """Width, R0 and a log in which prompts come back: repeated, relabelled, reworded or withdrawn."""
    width = draw(st.integers(1, 3))
    radius = draw(st.sampled_from([0.5, 1.0, 1.5, 2.5]))
    size = draw(st.sampled_from([2, 4, 8]))
    log: list[Fold | Withdraw] = []
    for n in range(draw(st.integers(1, 25))):
        folded = [entry for entry in log if isinstance(entry, Fold)]
        kind = draw(st.sampled_from(["new", "new", "new", "new", "repeat", "reword", "withdraw"])) if folded else "new"
        key = tuple(float(draw(st.integers(-size, size))) for _ in range(width))
        if kind == "new":
            log.append(Fold(f"e{n}", draw(st.sampled_from("ab" if size < 8 else "abcd")), key, n))
            continue
        old = draw(st.sampled_from(folded))
        if kind == "withdraw":
            log.append(Withdraw(old.edit))
        else:
            log.append(Fold(old.edit, old.label, old.key if kind == "repeat" else key, n))
    return width, radius, log


def play(clusters: Clusters, log: list[Fold | Withdraw]) -> list[Step]:
    """One edit a call."""
    steps = []
    for entry in log:
        if isinstance(entry, Withdraw):
            clusters.withdraw([entry.edit])
        else:
            steps += clusters.fold([entry.edit], [entry.label], torch.tensor([entry.key]), [entry.block])
    return steps


def check_against(clusters: Clusters, oracle: Oracle) -> None:
    balls, keys = clusters.tables()
    assert balls["cluster"].to_pylist() == sorted(oracle.balls)
    for row in balls.to_pylist():
        ball = oracle.balls[row["cluster"]]
        assert (row["label"], tuple(row["centre"])) == (ball.label, ball.centre)
        assert row["radius"] == pytest.approx(ball.radius, rel=1e-6)
    assert [(r["edit_id"], r["cluster"], r["block"], r["position"], tuple(r["key"])) for r in keys.to_pylist()] == [
        (e, oracle.entries[e].cluster, oracle.entries[e].block, oracle.entries[e].position, oracle.entries[e].key)
        for e in oracle.arrived()
    ]


def check_routes(clusters: Clusters) -> None:
    """Every live key routes to itself, or to another live key of the same place and label."""
    rows = clusters.everything(0)
    away = distances(rows.keys, rows.centres)  # [k, c]
    for k, (cluster, block) in enumerate(zip(rows.key_clusters, rows.key_blocks, strict=True)):
        if block < 0:
            continue
        own = int((rows.cluster_ids == cluster).nonzero())
        assert bool((away[k].argsort(stable=True)[0] == own) & ((away[k] <= away[k, own]).sum() == 1))
        assert away[k, own] <= rows.radii[own].item() * (1 + TOLERANCE)
        here = (rows.key_clusters == cluster) & (distances(rows.keys[k, None], rows.keys)[0] == 0)
        assert (rows.key_blocks[here] >= 0).all(), "a guard contends with a live key"


def contents(delta: Delta) -> tuple[dict, dict]:
    clusters = {
        int(i): (c.numpy().tobytes(), r.numpy().tobytes())
        for i, c, r in zip(delta.cluster_ids, delta.centres, delta.radii, strict=True)
    }
    keys = {
        e: (k.numpy().tobytes(), int(c), int(b))
        for e, k, c, b in zip(delta.edit_ids, delta.keys, delta.key_clusters, delta.key_blocks, strict=True)
    }
    return clusters, keys


def _at(edit: str, label: str, place: float, block: int) -> Fold:
    return Fold(edit, label, (place,), block)


LAST_LIVE_KEY_LEAVES_BEFORE_A_GUARD: Stream = (
    1,
    1.5,
    [
        *(_at("e0", "b", 0.0, 0), _at("e1", "a", -1.0, 1), _at("e2", "a", 0.0, 2), _at("e5", "a", 0.0, 3)),
        *(_at("e7", "a", -3.0, 4), _at("e5", "a", -2.0, 5), _at("e9", "a", 0.0, 6), _at("e10", "a", 0.0, 7)),
        *(_at(f"e{n}", "a", 0.0, n) for n in (11, 12, 13, 14)),
        Withdraw("e5"),
        _at("e16", "b", -1.0, 16),
    ],
)


@pytest.mark.parametrize("mode", ["keep", "paper"])
@MANY
@given(stream=streams())
@example(stream=LAST_LIVE_KEY_LEAVES_BEFORE_A_GUARD)
def test_every_step_is_the_oracles(mode: Conflicts, stream: Stream) -> None:
    width, radius, log = stream
    clusters, oracle = Clusters(width, radius, mode), Oracle(radius, mode)
    for entry in log:
        steps = play(clusters, [entry])
        if isinstance(entry, Withdraw):
            oracle.withdraw(entry.edit)
        else:
            action, cluster, replaced, evicted = oracle.fold(entry.edit, entry.label, entry.key, entry.block)
            assert steps == [Step(entry.edit, action, cluster, replaced, evicted)]
        check_against(clusters, oracle)


@MANY
@given(stream=streams())
def test_every_live_key_routes_to_itself(stream: Stream) -> None:
    width, radius, log = stream
    clusters = Clusters(width, radius)
    for entry in log:
        play(clusters, [entry])
        check_routes(clusters)


@SOME
@given(stream=streams())
def test_keep_loses_no_edit(stream: Stream) -> None:
    width, radius, log = stream
    clusters, expected = Clusters(width, radius), set()
    for entry in log:
        steps = play(clusters, [entry])
        expected.discard(entry.edit)
        if isinstance(entry, Fold):
            expected.add(entry.edit)
            expected -= set(steps[0].replaced)
        rows = clusters.everything(0)
        assert {e for e, b in zip(rows.edit_ids, rows.key_blocks, strict=True) if b >= 0} == expected


@pytest.mark.parametrize("mode", ["keep", "paper"])
@pytest.mark.parametrize("width", [2, 33])
@SOME
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_cutting_the_stream_into_batches_changes_no_bit(
    mode: Conflicts, width: int, data: st.DataObject, seed: int
) -> None:
    n = data.draw(st.integers(1, 40))
    draw = torch.Generator().manual_seed(seed)
    keys = torch.randn(n, width, generator=draw) * 3 + 20  # real numbers: rounding would show
    ids, labels, blocks = [f"e{i}" for i in range(n)], [str(i % 3) for i in range(n)], list(range(n))
    whole, parts = Clusters(width, width**0.5, mode), Clusters(width, width**0.5, mode)
    steps = whole.fold(ids, labels, keys, blocks)
    cuts = sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=n))})
    again = []
    for a, b in pairwise(cuts):
        again += parts.fold(ids[a:b], labels[a:b], keys[a:b], blocks[a:b])
    assert again == steps
    for one, other in zip(whole.tables(), parts.tables(), strict=True):
        assert one.equals(other, check_metadata=True)
    assert contents(whole.everything(1)) == contents(parts.everything(1))


@pytest.mark.parametrize("mode", ["keep", "paper"])
@SOME
@given(stream=streams(), data=st.data())
def test_saved_and_loaded_it_continues_the_same(mode: Conflicts, stream: Stream, data: st.DataObject) -> None:
    width, radius, log = stream
    cut = data.draw(st.integers(0, len(log)))
    clusters = Clusters(width, radius, mode)
    play(clusters, log[:cut])
    loaded = Clusters.from_tables(*clusters.tables())
    assert contents(loaded.drain(1)) == ({}, {})
    assert play(loaded, log[cut:]) == play(clusters, log[cut:])
    for one, other in zip(loaded.tables(), clusters.tables(), strict=True):
        assert one.equals(other, check_metadata=True)


@pytest.mark.parametrize("mode", ["keep", "paper"])
@SOME
@given(stream=streams(), data=st.data())
def test_drained_deltas_add_up_to_everything(mode: Conflicts, stream: Stream, data: st.DataObject) -> None:
    width, radius, log = stream
    clusters = Clusters(width, radius, mode)
    centres: dict = {}
    keys: dict = {}
    for entry in log:
        play(clusters, [entry])
        if data.draw(st.booleans()) or entry is log[-1]:
            delta = clusters.drain(7)
            changed_clusters, changed_keys = contents(delta)
            assert not set(delta.gone_clusters) & set(changed_clusters)
            assert not set(delta.gone_keys) & set(changed_keys)
            centres = {i: c for i, c in centres.items() if i not in delta.gone_clusters} | changed_clusters
            keys = {e: k for e, k in keys.items() if e not in delta.gone_keys} | changed_keys
    assert (centres, keys) == contents(clusters.everything(7))
    assert clusters.drain(8).version == 8 and contents(clusters.drain(8)) == ({}, {})


@SOME
@given(stream=streams(), data=st.data())
def test_withdrawing_leaves_every_other_edit_bit_identical(stream: Stream, data: st.DataObject) -> None:
    width, radius, log = stream
    clusters = Clusters(width, radius)
    play(clusters, log)
    centres, keys = contents(clusters.everything(0))
    folded = [entry.edit for entry in log if isinstance(entry, Fold)] if log else []
    gone = data.draw(st.lists(st.sampled_from(folded), unique=True)) if folded else []
    clusters.withdraw(gone)
    after_centres, after_keys = contents(clusters.everything(0))
    live = {e: k for e, k in keys.items() if k[2] >= 0 and e not in gone}
    assert {e: k for e, k in after_keys.items() if k[2] >= 0} == live
    assert after_centres == {i: centres[i] for i in {k[1] for k in live.values()}}
    check_routes(clusters)
