"""Each action by hand, on the line or in the plane."""

from __future__ import annotations

import io
import math
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import schemas.index as schema
from pipeline.editing.clusters import Clusters, Step, UnknownEditError
from pipeline.editing.edit import EditError
from pipeline.editing.fold import Conflicts
from pipeline.editing.index.protocol import TOLERANCE


def fold(clusters: Clusters, edit: str, label: str, *key: float, block: int = 0) -> Step:
    (step,) = clusters.fold([edit], [label], torch.tensor([key], dtype=torch.float32), [block])
    return step


def balls(clusters: Clusters) -> dict[int, tuple[Any, ...]]:
    return {
        row["cluster"]: (row["label"], row["centre"], pytest.approx(row["radius"], rel=1e-4))
        for row in clusters.tables()[0].to_pylist()
    }


def homes(clusters: Clusters) -> dict[str, tuple[int, int]]:
    """Edit id -> cluster and block."""
    return {row["edit_id"]: (row["cluster"], row["block"]) for row in clusters.tables()[1].to_pylist()}


def test_add_beyond_both_radii() -> None:
    clusters = Clusters(2, 1.0)
    assert fold(clusters, "a", "x", 0, 0) == Step("a", "add", 0)
    assert fold(clusters, "b", "x", 2.01, 0) == Step("b", "add", 1)
    assert balls(clusters) == {0: ("x", [0, 0], 1), 1: ("x", [pytest.approx(2.01), 0], 1)}


def test_expand_at_exactly_both_radii_takes_mean_and_largest_distance() -> None:
    clusters = Clusters(2, 1.0)
    fold(clusters, "a", "x", 0, 0)
    assert fold(clusters, "b", "x", 2, 0) == Step("b", "expand", 0)
    assert balls(clusters) == {0: ("x", [1, 0], 1)}
    assert fold(clusters, "c", "x", 1, 1.5).action == "expand"
    assert balls(clusters) == {0: ("x", [1, 0.5], pytest.approx(math.hypot(1, 0.5)))}


@pytest.mark.parametrize("mode", ["keep", "paper"])
def test_conflict_halves_the_distance_and_stays_strictly_apart(mode: Conflicts) -> None:
    clusters = Clusters(1, 1.0, mode)
    fold(clusters, "a", "x", 0)
    assert fold(clusters, "b", "y", 1.5) == Step("b", "conflict", 1)
    assert balls(clusters) == {0: ("x", [0], 0.75), 1: ("y", [1.5], 0.75)}
    radii = clusters.everything(0).radii.double()
    assert radii.sum() * (1 + TOLERANCE) < 1.5


def test_conflict_never_widens_a_scope() -> None:
    clusters = Clusters(1, 1.0)
    fold(clusters, "a", "x", 0)
    fold(clusters, "b", "y", 0.2)  # both 0.1 now
    fold(clusters, "c", "z", -0.8)  # 0.8 from a's centre: c may take 0.4, a keeps its 0.1
    assert [ball[2] for ball in balls(clusters).values()] == [0.1, 0.1, 0.4]


def crowd(mode: Conflicts) -> tuple[Clusters, Step]:
    """x at -3, 0 and 3 (centre 0, radius 3), then y at 2: x's ball shrinks to 1 and two keys lie outside."""
    clusters = Clusters(1, 3.0, mode)
    for edit, at in (("mid", 0), ("left", -3), ("right", 3)):
        fold(clusters, edit, "x", at, block=1)
    assert balls(clusters) == {0: ("x", [0], 3)}
    return clusters, fold(clusters, "new", "y", 2, block=2)


def test_conflict_drops_keys_outside_as_in_the_paper() -> None:
    clusters, step = crowd("paper")
    assert step == Step("new", "conflict", 1, (), ("left", "right"))
    assert balls(clusters) == {0: ("x", [0], 1), 1: ("y", [2], 1)}
    assert homes(clusters) == {"mid": (0, 1), "new": (1, 2)}
    assert clusters.drain(1).gone_keys == ["left", "right"]


def test_conflict_puts_keys_back_where_the_others_leave_room() -> None:
    clusters, step = crowd("keep")
    assert step == Step("new", "conflict", 1, (), ("left", "right"))
    # left: R0 = 3 is more than half of its 5 to y. right: half of its 1 to y, which gives way to the rest.
    assert balls(clusters) == {0: ("x", [0], 1), 1: ("y", [2], 0.5), 2: ("x", [-3], 2.5), 3: ("x", [3], 0.5)}
    assert homes(clusters) == {"mid": (0, 1), "left": (2, 1), "right": (3, 1), "new": (1, 2)}


def test_a_moving_centre_strands_keys_of_another_cluster_and_its_own() -> None:
    clusters = Clusters(1, 1.0)
    for edit, at in (("a", 0), ("b", 2)):
        fold(clusters, edit, "x", at)  # centre 1, radius 1
    assert fold(clusters, "c", "y", 3.5).action == "add"
    # y's centre moves to 2.9: nearer to b than the 1 to its own. b takes 0.45, y keeps 0.45, and c and d are 0.6 out.
    assert fold(clusters, "d", "y", 2.3) == Step("d", "expand", 4, (), ("b", "c"))
    near = pytest.approx
    assert balls(clusters) == {
        0: ("x", [1], 1),
        2: ("x", [2], 0.15),  # cut again by d, 0.3 away
        3: ("y", [3.5], 0.75),
        4: ("y", [near(2.3)], 0.15),
    }
    assert homes(clusters) == {"a": (0, 0), "b": (2, 0), "c": (3, 0), "d": (4, 0)}


def test_replace_takes_the_place_of_a_lone_key_with_r0() -> None:
    for mode in ("keep", "paper"):
        clusters = Clusters(2, 1.0, mode)
        fold(clusters, "a", "x", 5, 5)
        assert fold(clusters, "b", "y", 5, 5 + 1e-6) == Step("b", "replace", 1, ("a",))
        assert balls(clusters) == {1: ("y", [5, pytest.approx(5)], 1)}
        assert homes(clusters) == {"b": (1, 0)}


@pytest.mark.parametrize("mode", ["keep", "paper"])
def test_replace_within_a_cluster_stays_apart_from_what_remains(mode: Conflicts) -> None:
    clusters = Clusters(1, 1.0, mode)
    fold(clusters, "a", "x", 0)
    fold(clusters, "b", "x", 1)  # centre 0.5, radius 1
    step = fold(clusters, "c", "y", 1)
    assert (step.action, step.replaced) == ("replace", ("b",))
    assert step.evicted == ("a",)  # 0.5 from the old centre, which keeps only 0.25, so the old cluster goes
    put_back = {2: ("x", [0], 0.5)} if mode == "keep" else {}
    assert balls(clusters) == {1: ("y", [1], 0.25)} | put_back


def test_replace_takes_r0_limited_by_the_nearest_other_label() -> None:
    clusters = Clusters(1, 1.0)
    fold(clusters, "a", "x", 0)
    fold(clusters, "b", "y", 1)
    assert fold(clusters, "c", "z", 0).replaced == ("a",)
    assert balls(clusters) == {1: ("y", [1], 0.5), 2: ("z", [0], 0.5)}


def test_a_key_on_a_bare_centre_of_another_label_scatters_that_cluster() -> None:
    clusters = Clusters(1, 2.0)
    fold(clusters, "a", "x", -1)
    fold(clusters, "b", "x", 1)  # centre 0, no key there
    step = fold(clusters, "c", "y", 0)
    assert step == Step("c", "conflict", 1, (), ("a", "b"))
    assert balls(clusters) == {1: ("y", [0], 0.5), 2: ("x", [-1], 0.5), 3: ("x", [1], 0.5)}


def test_the_same_edit_again_takes_the_new_block_only() -> None:
    clusters = Clusters(1, 1.0)
    fold(clusters, "a", "x", 4, block=1)
    fold(clusters, "b", "x", 5, block=1)
    before = clusters.tables()
    assert fold(clusters, "a", "x", 4 + 1e-6, block=9) == Step("a", "expand", 0)
    assert clusters.tables()[0].equals(before[0], check_metadata=True)
    assert homes(clusters) == {"a": (0, 9), "b": (0, 1)}


def test_the_same_edit_in_another_wording_moves() -> None:
    clusters = Clusters(1, 1.0)
    fold(clusters, "a", "x", 4)
    assert fold(clusters, "a", "x", 9) == Step("a", "add", 1)
    assert balls(clusters) == {1: ("x", [9], 1)}


def test_another_edit_with_the_same_key_and_label_joins() -> None:
    clusters = Clusters(1, 1.0)
    fold(clusters, "a", "x", 4)
    assert fold(clusters, "b", "x", 4, block=2) == Step("b", "expand", 0)
    assert homes(clusters) == {"a": (0, 0), "b": (0, 2)}


def pair(mode: Conflicts = "keep") -> Clusters:
    clusters = Clusters(1, 1.0, mode)
    fold(clusters, "a", "x", 0, block=1)
    fold(clusters, "b", "x", 1, block=2)
    return clusters


def test_a_withdrawn_key_guards_its_place_and_goes_with_its_cluster() -> None:
    clusters = pair()
    before = clusters.tables()[0]
    clusters.withdraw(["b", "b"])
    assert homes(clusters) == {"a": (0, 1), "b": (0, -1)} and clusters.tables()[0].equals(before)
    clusters.withdraw(["a"])
    assert (balls(clusters), homes(clusters)) == ({}, {})
    clusters.withdraw(["a", "b"])
    with pytest.raises(UnknownEditError, match="edit 'c' was never folded in"):
        clusters.withdraw(["a", "c"])
    assert issubclass(UnknownEditError, KeyError)


def test_nothing_is_withdrawn_when_one_id_is_unknown() -> None:
    clusters = pair()
    with pytest.raises(KeyError):
        clusters.withdraw(["a", "c"])
    assert homes(clusters) == {"a": (0, 1), "b": (0, 2)}


def test_a_withdrawn_key_does_not_shape_its_cluster() -> None:
    clusters = pair()
    clusters.withdraw(["a"])
    fold(clusters, "c", "x", 1.5)  # centre 1.25 of b and c; radius stays 1, so a (1.25 away) is outside
    assert balls(clusters) == {0: ("x", [1.25], 1)}
    assert homes(clusters) == {"b": (0, 2), "c": (0, 0)}


def test_a_withdrawn_edit_comes_back_to_its_place() -> None:
    clusters = pair()
    before = clusters.tables()[0]
    clusters.withdraw(["b"])
    assert fold(clusters, "b", "x", 1, block=7) == Step("b", "expand", 0)
    assert homes(clusters) == {"a": (0, 1), "b": (0, 7)} and clusters.tables()[0].equals(before)


def overshadowed() -> Clusters:
    """x at 0 and 2 with the key at 2 withdrawn; y's centre at 2.9 is nearer to it than x's at 1."""
    clusters = Clusters(1, 1.0)
    fold(clusters, "a", "x", 0)
    fold(clusters, "b", "x", 2)
    clusters.withdraw(["b"])
    fold(clusters, "c", "y", 3.5)
    assert fold(clusters, "d", "y", 2.3).evicted == ()
    return clusters


def test_a_withdrawn_edit_that_comes_back_must_route_to_itself() -> None:
    clusters = overshadowed()
    assert fold(clusters, "b", "x", 2) == Step("b", "expand", 2, (), ("c", "d"))
    assert balls(clusters)[2] == ("x", [2], 0.15)


def test_a_withdrawn_edit_whose_place_was_taken_takes_it_back() -> None:
    clusters = overshadowed()
    assert fold(clusters, "e", "y", 2) == Step("e", "expand", 1)  # nearest is y's centre: the guard stays in x's
    assert homes(clusters)["b"] == (0, -1)
    step = fold(clusters, "b", "x", 2)
    assert (step.action, step.replaced) == ("replace", ("e",))
    assert homes(clusters)["b"] == (step.cluster, 0)


def test_a_key_that_came_back_after_loading_can_be_stranded() -> None:
    clusters = Clusters(1, 1.0)
    for n in range(9):
        fold(clusters, f"a{n}", "x", 0)
    fold(clusters, "b", "x", 10 / 9)  # centre 1/9, where b alone is far from
    clusters.withdraw(["b"])
    clusters = Clusters.from_tables(*clusters.tables())
    assert fold(clusters, "b", "x", 10 / 9).cluster == 0
    for n in range(3):
        assert fold(clusters, f"c{n}", "y", 2.15).cluster == 1
    assert "b" in fold(clusters, "d", "y", 1.6).evicted  # y's centre at 2.01: 0.9 from b, whose own is 1 away


def test_equal_distances_go_to_the_oldest_whatever_rounding_says() -> None:
    clusters = Clusters(1, 0.09)
    fold(clusters, "old", "x", 0.3)
    fold(clusters, "young", "x", 0.1)
    near = torch.tensor([0.2], dtype=torch.float32).double()
    assert (near - clusters.everything(0).centres.double()).abs().argmin() == 1  # as float32, 0.1 is nearer
    assert fold(clusters, "c", "x", 0.2) == Step("c", "expand", 0)


def test_a_new_edit_replaces_a_guard() -> None:
    clusters = pair()
    clusters.withdraw(["b"])
    clusters.drain(1)
    assert fold(clusters, "c", "x", 1, block=3) == Step("c", "expand", 0)
    assert homes(clusters) == {"a": (0, 1), "c": (0, 3)}
    assert clusters.drain(2).gone_keys == ["b"]


def test_two_edits_of_one_prompt_leave_no_guard_in_each_others_way() -> None:
    clusters = pair()
    fold(clusters, "c", "x", 1, block=3)
    clusters.withdraw(["c"])
    assert homes(clusters) == {"a": (0, 1), "b": (0, 2)}


def test_cluster_ids_are_never_used_twice_even_after_loading() -> None:
    clusters = Clusters(1, 1.0)
    fold(clusters, "a", "x", 0)
    fold(clusters, "b", "x", 9)
    clusters.withdraw(["b"])
    assert fold(Clusters.from_tables(*clusters.tables()), "c", "x", 20).cluster == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": torch.tensor([[0.0, 1.0], [math.nan, 1.0]])}, "key of edit 'd' holds a number that is not finite"),
        ({"keys": torch.tensor([[0.0, math.inf], [1.0, 1.0]])}, "key of edit 'c' holds a number that is not finite"),
        ({"keys": torch.zeros(2, 3)}, r"expected \[2, 2\]"),
        ({"keys": torch.zeros(2, 2, dtype=torch.float64)}, "torch.float64"),
        ({"keys": torch.zeros(1, 2)}, r"keys \[1, 2\]"),
        ({"labels": ["x"]}, "1 labels"),
        ({"blocks": [1, 2, 3]}, "3 blocks"),
        ({"blocks": [1, -1]}, "block -1"),
        ({"edit_ids": ["c", "c"]}, "'c' came twice"),
        ({"edit_ids": ["c", "a"]}, "is here with 'q'"),
    ],
)
def test_a_bad_call_changes_nothing(change: dict[str, Any], message: str) -> None:
    clusters = Clusters(2, 1.0)
    fold(clusters, "a", "q", 8, 8)
    before = clusters.tables()
    call: dict[str, Any] = {"edit_ids": ["c", "d"], "labels": ["x", "x"], "keys": torch.zeros(2, 2), "blocks": [1, 1]}
    with pytest.raises(ValueError, match=message):
        clusters.fold(**call | change)
    assert all(a.equals(b, check_metadata=True) for a, b in zip(before, clusters.tables(), strict=True))


@pytest.mark.parametrize("bad", [{"width": 0}, {"radius": 0.0}, {"radius": math.nan}, {"conflicts": "drop"}])
def test_settings_are_checked(bad: dict[str, Any]) -> None:
    with pytest.raises(EditError, match="expected"):
        Clusters(**{"width": 2, "radius": 1.0} | bad)


def test_tables_are_explained_and_survive_parquet() -> None:
    clusters, _ = crowd("keep")
    clusters.withdraw(["left"])
    stored = []
    for table, expected in zip(clusters.tables(), (schema.clusters(1), schema.keys(1)), strict=True):
        assert table.schema.equals(expected) and all(f.metadata[b"doc"] for f in table.schema)
        pq.write_table(table, buffer := io.BytesIO())
        stored.append(pq.read_table(buffer))
    loaded = Clusters.from_tables(*stored)
    assert (loaded.width, loaded.radius, loaded.conflicts) == (1, 3.0, "keep")
    assert all(a.equals(b, check_metadata=True) for a, b in zip(loaded.tables(), clusters.tables(), strict=True))


def test_tables_that_do_not_fit_are_refused() -> None:
    balls_table, keys_table = pair().tables()
    with pytest.raises(EditError, match=r"melo\.fold"):
        Clusters.from_tables(balls_table.replace_schema_metadata(None), keys_table)
    with pytest.raises(EditError, match="clusters that the clusters table lacks: \\[0\\]"):
        Clusters.from_tables(balls_table.slice(0, 0), keys_table)
    with pytest.raises(EditError, match="an edit id twice"):
        Clusters.from_tables(balls_table, pa.concat_tables([keys_table, keys_table]))
    with pytest.raises(EditError, match="keys table has the columns"):
        Clusters.from_tables(balls_table, keys_table.drop_columns(["block"]))
    other = {schema.STATE: balls_table.schema.metadata[schema.STATE].replace(b'"format": 3', b'"format": 2')}
    with pytest.raises(EditError, match="not of format 3"):
        Clusters.from_tables(balls_table.replace_schema_metadata(other), keys_table)


def test_a_thousand_clusters_and_a_wide_batch_match_one_edit_at_a_time() -> None:
    """Beyond one block of bounds, with rows grown several times and slots used again."""
    draw = torch.Generator().manual_seed(3)
    keys = torch.randn(700, 16, generator=draw)
    ids, labels = [f"e{i}" for i in range(700)], [str(i % 5) for i in range(700)]
    whole, singly = Clusters(16, 1.4), Clusters(16, 1.4)
    whole.fold(ids, labels, keys, list(range(700)))
    for i in range(700):
        singly.fold(ids[i : i + 1], labels[i : i + 1], keys[i : i + 1], [i])
    assert whole.everything(0).centres.equal(singly.everything(0).centres)
    assert homes(whole) == homes(singly)
    actions = {int(c) for c in whole.everything(0).cluster_ids}
    assert max(actions) + 1 > len(actions) > 300
