from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MT5Config,
    MT5ForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from pipeline.editing.families import resolve
from pipeline.editing.presets import PAPER_PRESETS
from pipeline.editing.recipe import Recipe, RecipeError
from pipeline.settings import EditingSettings, Task
from tests.editing.tiny import FAMILIES as TINY_FAMILIES
from tests.editing.tiny import Family, task_of

NOTHING = EditingSettings()


def on_meta(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    """A model of any size without memory for its weights: names and shapes are all that a recipe asks for."""
    with torch.device("meta"):
        return model_class(config)


def paper_backbone(name: str) -> tuple[PreTrainedModel, Task]:
    """The four backbones of the paper, by the configs that are published with them."""
    match name:
        case "bert":
            return on_meta(BertForSequenceClassification, BertConfig(num_labels=11)), "classification"
        case "t5-small":
            config = T5Config(
                d_model=512, d_ff=1024, num_layers=8, num_heads=6, feed_forward_proj="gated-gelu", vocab_size=32128
            )
            return on_meta(T5ForConditionalGeneration, config), "seq2seq"
        case "t5-large":
            config = T5Config(d_model=1024, d_ff=4096, num_layers=24, num_heads=16, vocab_size=32128)
            return on_meta(T5ForConditionalGeneration, config), "seq2seq"
        case _:
            config = GPT2Config(n_embd=1600, n_layer=48, n_head=25)
            return on_meta(GPT2LMHeadModel, config), "causal"


@pytest.mark.parametrize("name", PAPER_PRESETS)
def test_the_papers_backbones_get_the_papers_settings(name: str) -> None:
    model, task = paper_backbone(name)
    assert resolve(model, task, NOTHING) == PAPER_PRESETS[name].recipe


@pytest.mark.parametrize(("name", "published"), [("t5-small", 0.12), ("t5-large", 0.41)])
def test_ten_blocks_have_the_parameters_of_table_3(name: str, published: float) -> None:
    model, task = paper_backbone(name)
    recipe = resolve(model, task, NOTHING)
    linear = [model.get_submodule(module) for module in recipe.block_modules]
    count = sum(10 * recipe.partial_rank * sum(module.weight.shape) for module in linear)
    assert round(count / 1e6, 2) == published


def test_a_neighbour_of_the_papers_backbones_gets_its_familys_defaults() -> None:
    ungated = T5Config(d_model=512, d_ff=1024, num_layers=8, num_heads=6, vocab_size=64)
    recipe = resolve(on_meta(T5ForConditionalGeneration, ungated), "seq2seq", NOTHING)
    assert recipe.radius is None
    assert recipe.key_layer == "encoder.block.4"
    assert all(module.startswith("decoder.block.") for module in recipe.block_modules)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_every_family_has_defaults_that_fit(
    family: Family, tiny_backbone: Callable[..., tuple[PreTrainedModel, object]]
) -> None:
    model, _ = tiny_backbone(family)
    recipe = resolve(model, task_of(family), NOTHING)
    assert model.get_submodule(recipe.key_layer) is not None
    widths = {model.get_submodule(module).weight.shape.numel() for module in recipe.block_modules}
    encoder_only = family in ("bert", "roberta")
    assert len(recipe.block_modules) == (1 if encoder_only else 2)
    assert widths == {2 * 32 * 32}  # every one the MLP's output projection, or its transpose
    expected = Recipe(recipe.key_layer, recipe.block_modules)
    if encoder_only:
        expected = replace(expected, learning_rate=1e-2)
    elif not family.startswith("t5"):
        expected = replace(expected, partial_rank=8, edits_per_block=4)  # of width 32
    assert recipe == expected


@pytest.mark.parametrize(("width", "rank"), [(64, 8), (128, 8), (192, 5), (256, 4), (768, 4)])
def test_a_narrow_decoder_gets_more_ranks(width: int, rank: int) -> None:
    model = on_meta(GPT2LMHeadModel, GPT2Config(n_embd=width, n_head=2, n_layer=2, vocab_size=16))
    assert resolve(model, "causal", NOTHING).partial_rank == rank


@pytest.mark.parametrize(
    ("layers", "key", "blocks"),
    [(2, 0, [1]), (3, 0, [1, 2]), (5, 2, [3, 4]), (8, 5, [6, 7]), (12, 8, [9, 10]), (32, 23, [24, 25])],
)
def test_depths_of_a_decoder(layers: int, key: int, blocks: list[int]) -> None:
    model = on_meta(GPT2LMHeadModel, GPT2Config(n_embd=8, n_head=2, n_layer=layers, vocab_size=16))
    recipe = resolve(model, "causal", NOTHING)
    assert recipe.key_layer == f"transformer.h.{key}"
    assert recipe.block_modules == tuple(f"transformer.h.{block}.mlp.c_proj" for block in blocks)


@pytest.mark.parametrize(
    ("layers", "key", "blocks"),
    [(2, 0, [1]), (4, 1, [3]), (6, 2, [5]), (12, 4, [11]), (24, 8, [23])],
)
def test_depths_of_an_encoder(layers: int, key: int, blocks: list[int]) -> None:
    config = BertConfig(
        hidden_size=8, num_attention_heads=2, intermediate_size=8, num_hidden_layers=layers, vocab_size=16
    )
    recipe = resolve(on_meta(BertForSequenceClassification, config), "classification", NOTHING)
    assert recipe.key_layer == f"bert.encoder.layer.{key}"
    assert recipe.block_modules == tuple(f"bert.encoder.layer.{block}.output.dense" for block in blocks)


@settings(max_examples=20, deadline=None)
@given(encoder=st.integers(1, 12), decoder=st.integers(1, 12))
def test_depths_of_a_t5_whose_sides_differ(encoder: int, decoder: int) -> None:
    config = MT5Config(
        d_model=4, d_kv=2, d_ff=4, num_heads=2, num_layers=encoder, num_decoder_layers=decoder, vocab_size=8
    )
    recipe = resolve(on_meta(MT5ForConditionalGeneration, config), "seq2seq", NOTHING)
    assert recipe.key_layer == f"encoder.block.{encoder // 2}"
    assert len(recipe.block_modules) == min(2, decoder)
    assert recipe.block_modules[-1].startswith("decoder.block.")


def test_real_minilm_is_a_bert_of_six_layers(minilm: Path) -> None:
    model = AutoModelForSequenceClassification.from_config(BertConfig.from_pretrained(minilm))
    recipe = resolve(model, "classification", NOTHING)
    assert recipe.key_layer == "bert.encoder.layer.2"
    assert recipe.block_modules == ("bert.encoder.layer.5.output.dense",)


def test_settings_that_are_given_override_a_preset() -> None:
    model, task = paper_backbone("gpt2-xl")
    settings = EditingSettings(radius=2.5, partial_rank=8, key_layer="transformer.h.30", scale=0.5)
    recipe = resolve(model, task, settings)
    preset = PAPER_PRESETS["gpt2-xl"].recipe
    assert (recipe.radius, recipe.partial_rank, recipe.key_layer, recipe.scale) == (2.5, 8, "transformer.h.30", 0.5)
    assert (recipe.block_modules, recipe.iterations) == (preset.block_modules, preset.iterations)


@pytest.fixture
def neox() -> PreTrainedModel:
    config = GPTNeoXConfig(
        hidden_size=8, num_attention_heads=2, intermediate_size=8, num_hidden_layers=3, vocab_size=16
    )
    return on_meta(GPTNeoXForCausalLM, config)


def test_an_unknown_family_is_refused_with_a_way_out(neox: PreTrainedModel) -> None:
    with pytest.raises(RecipeError, match=r"'gpt_neox'.*known are .*llama.*key_layer and block_modules"):
        resolve(neox, "causal", EditingSettings(key_layer="gpt_neox.layers.0"))


def test_an_unknown_family_works_with_both_names(neox: PreTrainedModel) -> None:
    block = "gpt_neox.layers.2.mlp.dense_4h_to_h"
    settings = EditingSettings(key_layer="gpt_neox.layers.1", block_modules=(block,), radius=3.0)
    assert resolve(neox, "causal", settings) == Recipe("gpt_neox.layers.1", (block,), radius=3.0)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (EditingSettings(key_layer="transformer.h.1.mlp.cfc"), r"no module 'transformer.h.1.mlp.cfc'.*h\.1\.mlp\.c_fc"),
        (EditingSettings(key_layer="h.1"), r"nearest names are transformer\.h\.1"),
        (
            EditingSettings(block_modules=("model.transformer.h.3.mlp.c_fc",)),
            r"nearest names are transformer\.h\.3\.mlp\.c_fc",
        ),
        (EditingSettings(key_layer="€€€"), r"Its modules begin transformer"),
        (EditingSettings(key_layer=""), r"no module ''"),
        (EditingSettings(block_modules=("transformer.h.3.mlp",)), r"is a GPT2MLP.*transformer\.h\.3\.mlp\.c_fc"),
        (EditingSettings(block_modules=("transformer.h.3.ln_1",)), r"is a LayerNorm.*inside it: none"),
        (EditingSettings(block_modules=()), r"No module .* would carry blocks"),
        (EditingSettings(key_layer="transformer.h.3"), r"does not come after key_layer 'transformer\.h\.3'"),
        (EditingSettings(key_layer="transformer.h.2"), r"'transformer\.h\.2\.mlp\.c_proj' does not come after"),
        (EditingSettings(key_layer="transformer.h.2.mlp.c_proj"), r"does not come after"),
    ],
)
def test_names_that_do_not_fit_are_refused(
    settings: EditingSettings, complaint: str, tiny_backbone: Callable[..., tuple[PreTrainedModel, object]]
) -> None:
    model, _ = tiny_backbone("gpt2")
    with pytest.raises(RecipeError, match=complaint):
        resolve(model, "causal", settings)


def test_a_key_layer_within_the_layer_that_carries_the_block_is_left_to_the_run(
    tiny_backbone: Callable[..., tuple[PreTrainedModel, object]],
) -> None:
    model, _ = tiny_backbone("gpt2")
    settings = EditingSettings(key_layer="transformer.h.2.attn")
    assert resolve(model, "causal", settings).key_layer == "transformer.h.2.attn"


def test_a_key_in_the_decoder_is_refused(tiny_backbone: Callable[..., tuple[PreTrainedModel, object]]) -> None:
    model, _ = tiny_backbone("t5")
    with pytest.raises(RecipeError, match="depends on its prompt alone"):
        resolve(model, "seq2seq", EditingSettings(key_layer="decoder.block.0"))


def test_one_layer_is_not_enough_for_a_key_and_a_block() -> None:
    model = on_meta(GPT2LMHeadModel, GPT2Config(n_embd=8, n_head=2, n_layer=1, vocab_size=16))
    with pytest.raises(RecipeError, match="a layer for the key and another one"):
        resolve(model, "causal", NOTHING)
