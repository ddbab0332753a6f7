"""Every layer below the blocks is tried with the radius of its own keys."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from matplotlib.image import imread

from pipeline.bench.study.examination import examine
from pipeline.bench.study.figure5 import Figure5, draw, key_layers, measure
from pipeline.editing.families import resolve
from pipeline.editing.model import EditedModel
from pipeline.editing.recipe import RecipeError
from pipeline.settings import EditingSettings
from tests.bench.study.test_figure3 import EDITS, UPSTREAM
from tests.editing.edited import SETTINGS, tiny
from tests.editing.tiny import Family

BOTH_SIDES = ("encoder.block.2.layer.1.DenseReluDense.wo", "decoder.block.3.layer.2.DenseReluDense.wo")


@pytest.mark.parametrize(
    ("family", "settings", "expected"),
    [
        ("t5", SETTINGS, {i: f"encoder.block.{i}" for i in range(4)}),
        (
            "t5",
            EditingSettings(block_modules=BOTH_SIDES, key_layer="encoder.block.0"),
            {0: "encoder.block.0", 1: "encoder.block.1"},
        ),
        ("gpt2", SETTINGS, {0: "transformer.h.0", 1: "transformer.h.1"}),
        ("llama", SETTINGS, {0: "model.layers.0", 1: "model.layers.1"}),
        ("bert", SETTINGS, {i: f"bert.encoder.layer.{i}" for i in range(3)}),
        (
            "bert",
            EditingSettings(key_layer="bert.encoder.layer.0.output.dense"),
            {i: f"bert.encoder.layer.{i}.output.dense" for i in range(3)},
        ),
    ],
)
def test_key_layers_are_those_before_the_blocks(
    family: Family, settings: EditingSettings, expected: dict[int, str]
) -> None:
    backbone = tiny(family)
    recipe = resolve(backbone.model, backbone.task, settings)
    assert key_layers(backbone, recipe) == expected
    assert not any(module._forward_hooks for module in backbone.model.modules())


@pytest.fixture(scope="module")
def found() -> Figure5:
    learned: list[int] = []
    settings = SETTINGS.model_copy(update={"radius": 0.5})
    figure = measure(tiny("t5"), EDITS[:6], UPSTREAM, settings, 0, learned.append)
    assert sum(learned) == 4 * 6
    return figure


def test_each_layer_is_what_a_model_with_that_layer_and_its_measured_radius_gives(found: Figure5) -> None:
    backbone = tiny("t5")
    assert [row.layer for row in found.layers] == [0, 1, 2, 3]
    for row in found.layers:
        settings = SETTINGS.model_copy(update={"key_layer": row.name})
        with closing(EditedModel.from_backbone(backbone, settings=settings, index="memory")) as model:
            model.edit(EDITS[:6])
            assert (row.radius, row.clusters) == (model.recipe.radius, model.clusters.tables()[0].num_rows)
            assert row.found == examine(model, EDITS[:6], UPSTREAM, sample=10, seed=0)
    assert len({row.radius for row in found.layers}) == 4


def test_some_layers_may_be_chosen_but_none_above_the_blocks() -> None:
    with pytest.raises(RecipeError, match=r"\[3\] came, expected some of \[0, 1, 2\]"):
        measure(tiny("bert"), EDITS, UPSTREAM, SETTINGS, 0, lambda count: None, layers=[1, 3])


def test_a_key_layer_without_a_number_is_an_error() -> None:
    with pytest.raises(RecipeError, match=r"'shared' is none of a stack"):
        measure(tiny("t5"), EDITS, [], EditingSettings(key_layer="shared"), 0, lambda count: None)


def test_it_is_drawn(found: Figure5, tmp_path: Path) -> None:
    assert imread(draw(found, tmp_path / "figure5.png")).std() > 0.01
