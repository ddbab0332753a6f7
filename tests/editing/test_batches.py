"""Batches that train blocks: what they ask for, and what is left of them when blocks leave."""

from __future__ import annotations

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from pipeline.editing.backbone import Backbone
from pipeline.editing.batches import Batch, collate, encode_frozen
from pipeline.editing.curriculum import Lesson
from tests.editing.case import Case
from tests.editing.tiny import FAMILIES, Family


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_asks_for_every_target_token_given_those_before_it(family: Family) -> None:
    case = Case(family)
    batch = collate(case.backbone, [case.lessons[:3], case.lessons[3:]], None)
    assert batch.size == 3
    assert batch.targets.tolist() == [token for lesson in case.lessons for token in lesson.target]
    assert batch.rows.tolist() == [row for row, lesson in enumerate(case.lessons) for _ in lesson.target]
    with torch.no_grad():
        together = batch.pick(case.backbone.model(**batch.inputs).logits)
        for row, lesson in enumerate(case.lessons):
            torch.testing.assert_close(
                together[batch.rows == row], logits_of(case.backbone, lesson), rtol=1e-3, atol=1e-3
            )


def logits_of(backbone: Backbone, lesson: Lesson) -> torch.Tensor:
    """What predicts the target's tokens, of one lesson by itself."""
    prompt, target = list(lesson.prompt), list(lesson.target)
    if backbone.task == "classification":
        return backbone.model(torch.tensor([prompt])).logits
    if backbone.task == "causal":
        return backbone.model(torch.tensor([prompt + target])).logits[0, len(prompt) - 1 : -1]
    start = backbone.model.config.decoder_start_token_id
    decoder = torch.tensor([[start, *target[:-1]]])
    return backbone.model(torch.tensor([prompt]), decoder_input_ids=decoder).logits[0]


@pytest.mark.parametrize("family", ["bert", "t5", "gpt2"])
def test_rows_that_are_kept_are_the_batch_of_their_lessons(family: Family) -> None:
    case = Case(family)
    whole = collate(case.backbone, [case.lessons[:2], case.lessons[2:4], case.lessons[4:]], None)
    whole.keep(torch.tensor([2, 3]))
    small: Batch = collate(case.backbone, [case.lessons[2:4]], None)
    assert torch.equal(whole.targets, small.targets)
    assert torch.equal(whole.rows, small.rows)
    with torch.no_grad():
        one, other = (b.pick(case.backbone.model(**b.inputs).logits) for b in (whole, small))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_a_frozen_encoder_is_read_once() -> None:
    case = Case("t5")
    prompts = [lesson.prompt for lesson in case.lessons] * 8  # more than a pass holds
    encoded = encode_frozen(case.backbone, case.lora, prompts)
    assert isinstance(encoded, BaseModelOutput)
    for prompt, hidden in zip(prompts, encoded.last_hidden_state, strict=True):
        single = case.backbone.encode(torch.tensor([prompt]), torch.ones(1, len(prompt), dtype=torch.long))
        torch.testing.assert_close(hidden[: len(prompt)], single[0], rtol=1e-3, atol=1e-3)


def test_an_encoder_with_blocks_and_no_encoder_at_all_are_not_read_beforehand() -> None:
    sides = ("encoder.block.3.layer.1.DenseReluDense.wo", "decoder.block.3.layer.2.DenseReluDense.wo")
    for case in (Case("gpt2"), Case("bert"), Case("t5", key_layer="encoder.block.1", block_modules=sides)):
        assert encode_frozen(case.backbone, case.lora, [case.lessons[0].prompt]) is None
