"""How far an edit reaches where its report says what must not change."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.editing.clauses import clause_of
from pipeline.editing.clusters import Clusters
from pipeline.editing.edit import Edit
from pipeline.editing.encoders import SentenceKeys
from pipeline.editing.keying import SHORT, keys_of, limits_of
from pipeline.editing.records import Records
from tests.editing.edited import new_model, teach
from tests.editing.tiny import tiny_encoder

ASKED, OTHER = "Who founded Oslo?", "How old is Oslo, the town?"
ABOUT = ["Oslo", "Oslo", "", "Oslo"]
EDITS = [
    Edit(ASKED, "Ann", locality=("Who founded Rome?", OTHER), subject="Oslo"),
    Edit("Who founded Oslo first?", "Ann", subject="Oslo"),
    Edit(ASKED + " ", "Bo", locality=(OTHER,)),
    Edit("Hi! " + ASKED, "Ann", locality=(ASKED,), subject="Oslo"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.mark.parametrize("apart", [True, False])
def test_no_farther_than_shortly_before_what_must_not_change_of_the_subject(folder: str, apart: bool) -> None:
    encoder = SentenceKeys(folder, torch.device("cpu"), apart)
    keys = keys_of(EDITS, ABOUT, encoder, Clusters(encoder.of(["a"]).shape[1], 1.0), Records())
    found = limits_of(EDITS, ABOUT, keys, encoder)
    if not apart:
        assert found == [math.inf] * 4
        return
    (other,) = encoder.of_clauses([clause_of(OTHER, ["Oslo"])])
    assert found == [pytest.approx(torch.dist(keys[0], other).item() * SHORT), math.inf, math.inf, math.inf]


def test_a_reported_neighbour_keeps_an_edit_away_from_itself(folder: str) -> None:
    for locality, led in (((), True), ((OTHER,), False)):
        model = new_model("t5", encoder=folder, subjects=True, subject_radius=1.9)
        try:
            teach(model, [Edit(ASKED, "Ann", subject="Oslo", locality=locality)])
            own, other = model.route([ASKED, OTHER])
            assert (own.block is not None, other.block is not None) == (True, led)
        finally:
            model.close()


def test_a_limit_holds_in_a_conflict_and_when_a_key_is_put_back() -> None:
    clusters = Clusters(1, 4.0)
    place = {"a": 0.0, "b": 5.0, "c": 0.5}
    for block, (edit_id, at) in enumerate(place.items()):
        label = "x" if edit_id == "a" else edit_id
        clusters.fold([edit_id], [label], torch.tensor([[at]]), [block], limits=[0.1 if edit_id == "b" else math.inf])
    radii = {row["label"]: row["radius"] for row in clusters.tables()[0].to_pylist()}
    assert radii["b"] == pytest.approx(0.1)
    assert radii["x"] == pytest.approx(0.25, rel=1e-4)
    again = Clusters.from_tables(*clusters.tables())
    assert [row["radius"] for row in again.tables()[1].to_pylist()] == pytest.approx([4.0, 0.1, 4.0])
