from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit
from pipeline.editing.index import TOLERANCE
from pipeline.editing.keys import KeyReader, last_real_token
from pipeline.editing.loading import from_objects
from pipeline.editing.metric import Metric, MetricError, whitened
from pipeline.editing.model import EditedModel
from pipeline.editing.pooling import BATCH
from pipeline.settings import EditingSettings
from tests.editing.edited import new_model, teach
from tests.editing.tiny import FAMILIES, LAYERS, WIDTH, Family, task_of, tiny_backbone

PROMPTS = ["Who wrote the first novel in the series?", "Paris", "The capital of the northern province is", "My sister"]
LAYER = {
    "bert": "bert.encoder.layer.{}",
    "roberta": "roberta.encoder.layer.{}",
    "t5": "encoder.block.{}",
    "t5-gated": "encoder.block.{}",
    "gpt2": "transformer.h.{}",
}


def tiny(family: Family) -> Backbone:
    model, tokenizer = tiny_backbone(family)
    return from_objects(model, tokenizer, task_of(family), f"tiny-{family}")


def layer_of(family: Family, number: int) -> str:
    return LAYER.get(family, "model.layers.{}").format(number)


def assert_same_keys(one: torch.Tensor, other: torch.Tensor) -> None:
    """To the rounding that routing forgives."""
    assert one.shape == other.shape
    assert ((one - other).norm(dim=1) <= TOLERANCE * other.norm(dim=1)).all()


# The place


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 7)), min_size=1, max_size=6))
def test_the_last_real_token_is_found_under_any_padding(rows: list[tuple[int, int]]) -> None:
    width = max(left + real for left, real in rows) + 2
    mask = torch.zeros(len(rows), width, dtype=torch.int64)
    for row, (left, real) in enumerate(rows):
        mask[row, left : left + real] = 1
    assert last_real_token(mask).tolist() == [left + real - 1 for left, real in rows]
    assert last_real_token(mask.bool()).tolist() == last_real_token(mask.float()).tolist()


def test_a_gap_within_a_prompt_is_not_its_end() -> None:
    assert last_real_token(torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]])).tolist() == [2, 1, 3]


# Keys


@pytest.mark.parametrize("family", FAMILIES)
def test_a_key_is_the_hidden_state_of_the_prompts_last_token(family: Family) -> None:
    backbone = tiny(family)
    rows = backbone.tokenize_prompts(PROMPTS)
    keys = KeyReader(backbone, layer_of(family, 1)).keys(rows)
    assert (keys.shape, keys.dtype, keys.device.type) == ((len(PROMPTS), WIDTH), torch.float32, "cpu")
    reader = backbone.model.get_encoder() if backbone.task == "seq2seq" else backbone.model.base_model
    for row, key in zip(rows, keys, strict=True):
        with torch.no_grad():
            hidden = reader(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states
        assert_same_keys(key[None], hidden[2][:, -1])  # the embeddings come first


@pytest.mark.parametrize("family", FAMILIES)
def test_a_key_depends_on_its_prompt_alone(family: Family) -> None:
    backbone = tiny(family)
    reader = KeyReader(backbone, layer_of(family, 1))
    rows = backbone.tokenize_prompts(PROMPTS)
    alone = torch.cat([reader.keys([row]) for row in rows])
    assert_same_keys(reader.keys(rows), alone)
    assert_same_keys(reader.keys(rows[::-1]).flip(0), alone)
    many = reader.keys(rows * (BATCH // 2))  # more than a pass holds
    assert_same_keys(many, alone.repeat(BATCH // 2, 1))
    for side in ("left", "right"):
        if side == "left" and family in ("bert", "roberta"):
            continue  # absolute positions: a classifier is padded on the right only
        ids, mask = backbone.pad(rows, side=side)
        found: list[torch.Tensor] = []
        extra = {}
        if family == "gpt2":
            extra["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
        model = backbone.model.get_encoder() if backbone.task == "seq2seq" else backbone.model
        with reader.reading(mask, found.append), torch.no_grad():
            model(input_ids=ids, attention_mask=mask, **extra)
        assert_same_keys(found[0], alone)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mean_key_is_the_mean_over_the_prompts_tokens_alone(family: Family) -> None:
    backbone = tiny(family)
    reader = KeyReader(backbone, layer_of(family, 1), "mean")
    rows = backbone.tokenize_prompts(PROMPTS)
    encoder = backbone.model.get_encoder() if backbone.task == "seq2seq" else backbone.model.base_model
    with torch.no_grad():
        alone = [encoder(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states[2] for row in rows]
    expected = torch.cat([hidden.mean(1) for hidden in alone])
    assert_same_keys(reader.of(PROMPTS), expected)
    ids, mask = backbone.pad(rows, side=backbone.padding_side)
    found: list[torch.Tensor] = []
    length = {} if backbone.task == "classification" else {"max_new_tokens": 4, "pad_token_id": backbone.pad_token_id}
    with reader.reading(mask, found.append), torch.no_grad():
        if length:
            backbone.model.generate(input_ids=ids, attention_mask=mask, num_beams=2, **length)
        else:
            backbone.model(input_ids=ids, attention_mask=mask)
    assert_same_keys(found[0], expected)


def test_no_prompts_have_no_keys() -> None:
    assert len(KeyReader(tiny("gpt2"), "transformer.h.1").keys([])) == 0


@pytest.mark.parametrize("family", ["t5", "gpt2", "llama"])
@pytest.mark.parametrize(
    "how", [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}], ids=["greedy", "beams", "samples"]
)
def test_generating_reads_the_keys_once_and_before_any_answer(family: Family, how: dict[str, int]) -> None:
    backbone = tiny(family)
    reader = KeyReader(backbone, layer_of(family, 1))
    rows = backbone.tokenize_prompts(PROMPTS)
    ids, mask = backbone.pad(rows, side=backbone.padding_side)
    found: list[torch.Tensor] = []
    with reader.reading(mask, found.append):
        backbone.model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=4, pad_token_id=backbone.pad_token_id, **how
        )
    assert len(found) == 1
    assert_same_keys(found[0], reader.keys(rows))


def test_bfloat16_keys_come_as_float32() -> None:
    model, tokenizer = tiny_backbone("llama")
    backbone = from_objects(model.bfloat16(), tokenizer, "causal", "tiny")
    keys = KeyReader(backbone, "model.layers.1").keys(backbone.tokenize_prompts(PROMPTS))
    assert keys.dtype == torch.float32
    wide = KeyReader(tiny("llama"), "model.layers.1").keys(backbone.tokenize_prompts(PROMPTS))
    assert torch.nn.functional.cosine_similarity(keys, wide).min() > 0.99


def test_a_pass_that_nobody_asked_about_is_left_alone() -> None:
    backbone = tiny("gpt2")
    reader = KeyReader(backbone, "transformer.h.1")
    ids, mask = backbone.pad(backbone.tokenize_prompts(PROMPTS), side="left")
    found: list[torch.Tensor] = []
    elsewhere = threading.Thread(target=lambda: backbone.model(input_ids=ids, attention_mask=mask))
    with reader.reading(mask, found.append):
        elsewhere.start()  # another thread's request is not this one's
        elsewhere.join()
    assert not found
    backbone.model(input_ids=ids, attention_mask=mask)
    assert not found


def test_a_reader_is_quiet_after_a_failure_and_gone_after_detach() -> None:
    backbone = tiny("gpt2")
    reader = KeyReader(backbone, "transformer.h.1")
    ids, mask = backbone.pad(backbone.tokenize_prompts(PROMPTS), side="left")

    def fail(keys: torch.Tensor) -> None:
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), reader.reading(mask, fail):
        backbone.model(input_ids=ids, attention_mask=mask)
    backbone.model(input_ids=ids, attention_mask=mask)
    reader.close()
    assert not backbone.model.transformer.h[1]._forward_hooks


# Refusals


@pytest.mark.parametrize("family", [family for family in FAMILIES if task_of(family) != "seq2seq"])
def test_a_key_layer_after_a_block_is_refused(family: Family) -> None:
    backbone = tiny(family)
    reader = KeyReader(backbone, layer_of(family, 2))
    inside = "output.dense" if task_of(family) == "classification" else "mlp.c_proj"
    inside = inside if family in LAYER else "mlp.down_proj"
    block = f"{layer_of(family, 1)}.{inside}"
    later = f"{layer_of(family, LAYERS - 1)}.{inside}"
    reader.check_order([later])
    with pytest.raises(ValueError, match=f"key_layer '{layer_of(family, 2)}' runs after block module '{block}'"):
        reader.check_order([later, block])
    reader.check_order([later])  # what was hung there for the check is gone
    assert not any(module._forward_pre_hooks for module in backbone.model.modules())


def test_a_module_inside_the_key_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="must not depend on blocks"):
        KeyReader(tiny("t5"), "encoder.block.2").check_order(["encoder.block.2.layer.1.DenseReluDense.wo"])


def test_a_key_layer_that_does_not_read_the_prompt_is_refused() -> None:
    reader = KeyReader(tiny("t5"), "decoder.block.1")
    with pytest.raises(ValueError, match="did not run on a prompt"):
        reader.check_order(["decoder.block.3.layer.2.DenseReluDense.wo"])


def test_a_prompt_that_comes_in_pieces_is_refused() -> None:
    backbone = tiny("gpt2")
    edited = EditedModel.from_backbone(backbone, settings=EditingSettings(), index="memory")
    ids, _ = backbone.pad(backbone.tokenize_prompts(PROMPTS[:1]), side="left")
    with pytest.raises(ValueError, match="pass the whole prompt"):
        edited.generate(ids, max_new_tokens=2, prefill_chunk_size=2)
    assert edited.generate(ids, max_new_tokens=2).shape[1] > ids.shape[1]


def test_a_request_that_goes_on_from_a_cache_is_refused() -> None:
    backbone = tiny("gpt2")
    edited = EditedModel.from_backbone(backbone, settings=EditingSettings(), index="memory")
    ids, mask = backbone.pad(backbone.tokenize_prompts(PROMPTS[:1]), side="left")
    with torch.no_grad():
        cache = backbone.model(input_ids=ids[:, :-1], use_cache=True).past_key_values
    with pytest.raises(ValueError, match="pass the whole prompt"):
        edited.generate(ids, mask, max_new_tokens=2, past_key_values=cache)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_hidden_states_may_go_through_a_metric_which_a_version_carries(pooling: Any, tmp_path: Path) -> None:
    plain = new_model("gpt2", pooling=pooling)
    states = plain.encoder.of([f"Who was number {i} on the list?" for i in range(60)])
    plain.close()
    metric = whitened(states)
    path = tmp_path / "metric.safetensors"
    path.write_bytes(metric.content)
    asked, other = "Who wrote the first novel?", "When did the museum move?"
    model = new_model("gpt2", pooling=pooling, metric=path)
    torch.testing.assert_close(model.encoder.of([asked])[0].norm(), torch.tensor(1.0))
    teach(model, [Edit(asked, "Ada"), Edit(other, "1847")])
    assert model.generate([asked, other]) == ["Ada", "1847"]
    digest = model.save(tmp_path / "version")
    model.close()
    path.unlink()
    loaded = EditedModel.load(tmp_path / "version", backbone=tiny("gpt2"), index="memory")
    assert loaded.generate([asked, other]) == ["Ada", "1847"]
    assert loaded.save(tmp_path / "again") == digest
    loaded.close()
    path.write_bytes(Metric(torch.zeros(3), torch.eye(3)).content)
    with pytest.raises(MetricError, match="expected 3"):
        new_model("gpt2", pooling=pooling, metric=path)
