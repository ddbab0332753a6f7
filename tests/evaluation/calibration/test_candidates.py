"""Candidates: key layers over the depth before every block, and keys as an edited model makes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.editing.families import resolve
from pipeline.editing.recipe import RecipeError
from pipeline.evaluation.calibration.candidates import (
    BLOCKS,
    Candidate,
    block_settings,
    candidates,
    key_layers,
    keys_of,
)
from pipeline.settings import EditingSettings
from tests.editing.edited import EDITED, new_model, tiny
from tests.editing.tiny import Family, tiny_encoder

PROMPTS = ["Who wrote the first novel?", "The capital is", "Who signed the treaty in the spring of 1847?"]
NONE = EditingSettings()


@pytest.mark.parametrize("family", EDITED)
def test_every_key_layer_lies_before_the_blocks_and_the_default_is_among_them(family: Family) -> None:
    backbone = tiny(family)
    layers = key_layers(backbone, NONE)
    assert resolve(backbone.model, backbone.task, NONE).key_layer in layers
    assert len(layers) > 1
    for layer in layers:
        keys = keys_of(Candidate(layer, "last", None, False), backbone, NONE, PROMPTS)  # checks the order as it runs
        assert keys.shape == (3, 32)
        assert keys.dtype == torch.float32
    above = layers[-1].replace(str(len(layers) - 1), str(len(layers)))
    if family != "t5":  # its blocks are all in the decoder
        with pytest.raises(RecipeError):
            keys_of(Candidate(above, "last", None, False), backbone, NONE, PROMPTS)


def test_blocks_that_are_set_bound_the_key_layers(tmp_path: Path) -> None:
    blocks = ("encoder.block.2.layer.1.DenseReluDense.wo", "decoder.block.3.layer.2.DenseReluDense.wo")
    settings = EditingSettings(block_modules=blocks, key_layer="encoder.block.1.layer.1.DenseReluDense.wo")
    assert key_layers(tiny("t5"), settings) == [f"encoder.block.{i}.layer.1.DenseReluDense.wo" for i in range(2)]
    odd = EditingSettings(block_modules=blocks[1:], key_layer="shared")
    assert key_layers(tiny("t5"), odd) == ["shared"]


def test_hidden_states_come_before_encoders_and_each_encoder_once_whole_and_once_cut_in_half(tmp_path: Path) -> None:
    folder = str(tiny_encoder(tmp_path / "encoder"))
    found = candidates(tiny("gpt2"), NONE, [folder, folder])
    assert [each.layers for each in found if each.encoder == folder] == [None, 1]
    assert found[-1] == Candidate(None, "last", folder, False, layers=1)
    assert found == sorted(found, key=lambda each: each.encoder is not None)
    assert len({each.name for each in found}) == len(found)
    assert keys_of(found[-1], tiny("gpt2"), NONE, PROMPTS).shape == (3, 16)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_keys_are_those_of_a_model_with_the_settings_that_a_candidate_stands_for(pooling: str) -> None:
    made = Candidate("transformer.h.0", "mean" if pooling == "mean" else "last", None, True)
    settings = made.settings(1.0, 2.0)
    model = new_model("gpt2", **settings)
    try:
        expected = model.encoder.of(PROMPTS)
        assert (model.recipe.key_layer, model.recipe.radius, model.recipe.subject_radius) == (
            "transformer.h.0",
            1.0,
            2.0,
        )
    finally:
        model.close()
    assert torch.equal(keys_of(made, tiny("gpt2"), NONE, PROMPTS), expected)
    assert EditingSettings(**settings).subjects  # every field is one of the settings


def test_keys_that_lead_rephrases_get_blocks_that_say_their_target_for_them() -> None:
    hidden, meaning = Candidate("a", "last", None, True), Candidate(None, "last", "e", True)
    assert block_settings(hidden, "causal", NONE) == {}
    assert block_settings(meaning, "causal", NONE) == BLOCKS
    assert block_settings(meaning, "classification", EditingSettings(margin=2.0)) == {"edits_per_block": 1}
    assert EditingSettings(**BLOCKS).wordings


def test_the_cheaper_of_two_candidates_sets_less() -> None:
    hidden = Candidate("a", "last", None, False)
    dearer = [
        Candidate("a", "mean", None, False),
        Candidate("a", "last", None, True),
        Candidate(None, "last", "e", True, layers=1),
        Candidate(None, "last", "e", False),
    ]
    costs = [hidden.cost, *(each.cost for each in dearer)]
    assert costs == sorted(costs)
    assert len(set(costs)) == len(costs)
