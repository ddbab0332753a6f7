"""The folds of Figure 3 are those of an edited model, and the projection is that of the covariance."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from pipeline.bench.study.examination import mean
from pipeline.bench.study.figure3 import MULTIPLES, AtRadius, Figure3, Scopes, draw, measure
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit, EditError
from pipeline.editing.fold import Conflicts
from pipeline.editing.keys import KeyReader
from pipeline.editing.model import EditedModel
from tests.editing.edited import SETTINGS, tiny

WORDS = ("river", "winter", "bridge", "museum", "treaty", "orchard", "harbour", "lantern")
EDITS = [
    Edit(
        f"What is number {i} of the {WORDS[i % 8]}?",
        ("paris", "green")[i // 2 % 2],
        (f"What is the number {i} of the {WORDS[i % 8]}?",),
    )
    for i in range(16)
]
UPSTREAM = [*((f"When was the {word} built?", "1847") for word in WORDS), (EDITS[0].prompt, "no longer")]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny("t5")


@pytest.fixture(scope="module")
def found(backbone: Backbone) -> Figure3:
    folded: list[int] = []
    figure = measure(backbone, EDITS, UPSTREAM, SETTINGS, 0, folded.append)
    assert sum(folded) == 2 * len(MULTIPLES) * len(EDITS)
    return figure


@pytest.mark.parametrize("mode", ["paper", "keep"])
@pytest.mark.parametrize("place", [2, 4, 5])
def test_counts_are_those_of_a_model_that_learned_the_stream(
    backbone: Backbone, found: Figure3, place: int, mode: Conflicts
) -> None:
    row = found.radii[place]
    settings = SETTINGS.model_copy(update={"radius": row.radius, "conflicts": mode})
    with closing(EditedModel.from_backbone(backbone, settings=settings, index="memory")) as model:
        outcomes = model.edit(EDITS)
        assert all(model.records[outcome.edit_id].outcome.steps for outcome in outcomes)
        states = [record.state for record in model.records.values()]
        routes = model.route([edit.rephrases[0] for edit in EDITS])
        astray = mean([route.block is not None for route in model.route([prompt for prompt, _ in UPSTREAM[:-1]])])
        clusters = model.clusters.tables()[0].num_rows
    labels = {edit.edit_id: edit.label for edit in EDITS}
    scopes = getattr(row, mode)
    assert (scopes.clusters, scopes.upstream_led) == (clusters, astray)
    assert scopes.conflicts == sum(outcome.action == "conflict" for outcome in outcomes)
    led = [labels.get(route.edit_id or "") == edit.label for route, edit in zip(routes, EDITS, strict=True)]
    assert scopes.holdouts_led == mean(led)
    if mode == "paper":
        assert scopes.evicted == states.count("evicted")


def test_small_radii_leave_every_edit_alone_and_large_ones_provoke_conflicts(found: Figure3) -> None:
    assert [row.radius / found.in_force for row in found.radii] == pytest.approx(MULTIPLES)
    first, last = found.radii[0], found.radii[-1]
    assert (first.keep.clusters, first.keep.conflicts, first.paper.evicted, first.keep.holdouts_led) == (16, 0, 0, 0)
    assert last.paper.clusters < last.keep.clusters < 16
    assert last.keep.conflicts > 0
    assert (found.edits, found.answers, found.holdouts, found.upstream) == (16, 2, 16, 8)


def test_what_the_paper_forgets_is_put_back(found: Figure3) -> None:
    assert found.radii[-1].paper.evicted > 0
    for row in found.radii:
        assert row.keep.lost == 0
        assert row.put_back == row.paper.evicted <= row.paper.lost


def test_superseded_edits_are_neither_lost_nor_asked_for(backbone: Backbone) -> None:
    stream = [*EDITS[:4], Edit(EDITS[0].prompt, "six", ("Six?",))]
    (row,) = measure(backbone, stream, [], SETTINGS, 0, lambda count: None, radii=[1e-3]).radii
    assert row.keep.lost == row.paper.lost == 0
    assert row.keep.holdouts_led == 0.0
    assert (row.keep.clusters, row.keep.upstream_led) == (4, None)


def test_radii_are_taken_as_given_and_sorted(backbone: Backbone) -> None:
    settings = SETTINGS.model_copy(update={"radius": 5.0})
    found = measure(backbone, EDITS[:3], UPSTREAM, settings, 0, lambda count: None, radii=[40.0, 10.0])
    assert found.in_force == 5.0
    assert [row.radius for row in found.radii] == [10.0, 40.0]


def test_the_projection_is_that_of_the_covariance(backbone: Backbone) -> None:
    edits = [
        Edit(f"Who saw the {word}?", word, (f"Who has seen the {word}?", f"By whom seen {word}?")) for word in WORDS
    ]
    found = measure(backbone, edits, [], SETTINGS, 0, lambda count: None, radii=[1.0])
    assert len(found.wordings) == 24
    reader = KeyReader(backbone, found.key_layer)
    keys = reader.keys(backbone.tokenize_prompts([wording.text for wording in found.wordings])).double().numpy()
    reader.close()
    spread, axes = np.linalg.eigh(np.cov(keys.T))
    assert found.explained == pytest.approx(spread[:-3:-1] / spread.sum(), rel=1e-4)
    expected = np.abs((keys - keys.mean(0)) @ axes[:, :-3:-1])
    drawn = np.abs([(wording.x, wording.y) for wording in found.wordings])
    assert drawn == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_questions_with_the_most_wordings_and_distinct_answers_are_projected(backbone: Backbone) -> None:
    edits = [
        Edit("Who saw the river?", "green"),
        Edit("Who saw the winter?", "green", ("Who has seen the winter?",)),
        Edit("Who built the bridge?", "paris", subject="bridge"),
        Edit("By whom was the bridge built?", "Paris", ("Who is the bridge's builder?",), subject="bridge"),
    ]
    found = measure(backbone, edits, [], SETTINGS, 0, lambda count: None, radii=[1.0])
    assert [(wording.text, wording.answer, wording.taught) for wording in found.wordings] == [
        ("Who built the bridge?", "paris", True),
        ("By whom was the bridge built?", "paris", True),
        ("Who is the bridge's builder?", "paris", False),
        ("Who saw the winter?", "green", True),
        ("Who has seen the winter?", "green", False),
    ]


def test_what_cannot_be_folded_is_an_error_and_the_backbone_keeps_no_hooks(backbone: Backbone) -> None:
    with pytest.raises(EditError, match="twice"):
        measure(backbone, [EDITS[0], EDITS[0]], [], SETTINGS, 0, lambda count: None)
    assert not any(module._forward_hooks for module in backbone.model.modules())


def test_it_is_drawn_with_and_without_wordings(found: Figure3, tmp_path: Path) -> None:
    drawn = draw(found, tmp_path / "deep" / "figure3.png")
    scopes = Scopes(clusters=1, conflicts=0, evicted=0, lost=0, holdouts_led=None, upstream_led=None)
    bare = Figure3("h.0", 1.0, 1, 1, 0, 0, (AtRadius(1.0, scopes, scopes, 0),), (), (0.0, 0.0))
    coloured = [
        int((np.ptp(imread(path)[..., :3], axis=-1) > 0.2).sum()) for path in (drawn, draw(bare, tmp_path / "bare.png"))
    ]
    assert coloured[0] > 2 * coloured[1] > 0
