from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from pipeline.editing.backbone import Backbone
from pipeline.editing.batches import Batch, collate, encode_frozen
from pipeline.editing.blocks import BlockWeights, DynamicLora, initial_weights
from pipeline.editing.curriculum import Lesson
from pipeline.editing.families import resolve
from pipeline.editing.loading import from_objects
from pipeline.editing.replay import Replay, map_tensors
from pipeline.settings import EditingSettings
from tests.editing.tiny import FAMILIES, LABELS, Family, task_of, tiny_backbone

PROMPTS = ["Who wrote the first novel?", "The capital is", "My sister's favourite colour has always been", "Paris"]
TARGETS = ["green", "three ministers", "1847", "a new museum"]
BOTH_SIDES = tuple(
    f"{side}.block.3.layer.{layer}.DenseReluDense.wo" for side, layer in (("encoder", 1), ("decoder", 2))
)


@dataclass
class Training:
    """Two blocks of two edits each, in the middle of training."""

    backbone: Backbone
    lora: DynamicLora
    batch: Batch
    replay: Replay

    def forward(self, weights: BlockWeights, kept: list[int]) -> torch.Tensor:
        self.lora.activate(slots(weights, kept), None, len(kept), torch.float32)
        no_cache = {} if self.backbone.task == "classification" else {"use_cache": False}
        return self.batch.pick(self.backbone.model(**self.batch.inputs, **no_cache).logits)

    def gradients(self, weights: BlockWeights, kept: list[int]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        output = self.forward(weights, kept)
        loss = nn.functional.cross_entropy(output, self.batch.targets)
        tensors = [tensor for name in sorted(weights) for tensor in weights[name]]
        return output.detach(), list(torch.autograd.grad(loss, tensors))


def training(family: Family, modules: tuple[str, ...] | None = None) -> Training:
    model, tokenizer = tiny_backbone(family)
    backbone = from_objects(model, tokenizer, task_of(family), "tiny")
    settings = EditingSettings(key_layer=None if modules is None else "encoder.block.1", block_modules=modules)
    lora = DynamicLora(model, resolve(model, backbone.task, settings).block_modules, 1.0)
    targets = list(LABELS[:4]) if backbone.task == "classification" else TARGETS
    lessons = [
        Lesson(str(i), tuple(prompt), tuple(target))
        for i, (prompt, target) in enumerate(
            zip(backbone.tokenize_prompts(PROMPTS), backbone.tokenize_targets(targets, PROMPTS), strict=True)
        )
    ]
    encoded = encode_frozen(backbone, lora, [lesson.prompt for lesson in lessons])
    batch = collate(backbone, [lessons[:2], lessons[2:]], encoded)
    return Training(backbone, lora, batch, Replay(model, 4))


def weights_of(lora: DynamicLora, seed: int) -> BlockWeights:
    """Blocks as they are some steps later: B is no longer zero."""
    generator = torch.Generator().manual_seed(seed)
    start = initial_weights(lora.widths, [0, 1], 2, 1.0, seed)
    return {
        name: (a.requires_grad_(), torch.randn(b.shape, generator=generator).mul_(0.1).requires_grad_())
        for name, (a, b) in start.items()
    }


def slots(weights: BlockWeights, kept: list[int]) -> BlockWeights:
    return {name: (a[kept], b[kept]) for name, (a, b) in weights.items()}


def record(run: Training) -> None:
    with run.replay.record():
        run.forward(weights_of(run.lora, 0), [0, 1])


def assert_same(one: tuple[torch.Tensor, list[torch.Tensor]], other: tuple[torch.Tensor, list[torch.Tensor]]) -> None:
    """To rounding, which grows with the largest number of a tensor."""
    for mine, theirs in zip([one[0], *one[1]], [other[0], *other[1]], strict=True):
        assert mine.any()
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


CASES = [*((family, None) for family in FAMILIES), ("t5", BOTH_SIDES), ("t5-gated", BOTH_SIDES)]
every_case = pytest.mark.parametrize(
    ("family", "modules"), CASES, ids=[f if m is None else f"{f}-both-sides" for f, m in CASES]
)


@every_case
def test_a_replayed_pass_is_a_full_one(family: Family, modules: tuple[str, ...] | None) -> None:
    run = training(family, modules)
    later = weights_of(run.lora, 1)
    with run.lora.request(), torch.enable_grad():
        record(run)
        full = run.gradients(later, [0, 1])
        for _ in range(2):  # a recording can be played again
            with run.replay.play():
                replayed = run.gradients(later, [0, 1])
            assert_same(replayed, full)


@every_case
@pytest.mark.parametrize("kept", [0, 1])
def test_a_replay_of_the_rows_that_were_kept_is_a_full_pass_of_them(
    family: Family, modules: tuple[str, ...] | None, kept: int
) -> None:
    run = training(family, modules)
    later = weights_of(run.lora, 1)
    rows = torch.tensor([2 * kept, 2 * kept + 1])
    with run.lora.request(), torch.enable_grad():
        record(run)
        whole = run.forward(later, [0, 1])[(run.batch.rows // 2) == kept]
        run.batch.keep(rows)
        run.replay.keep(rows)
        full = run.gradients(later, [kept])
        with run.replay.play():
            replayed = run.gradients(later, [kept])
    assert_same(replayed, full)
    assert_same((replayed[0], []), (whole.detach(), []))


def frozen_modules(family: Family, both_sides: bool) -> list[str]:
    """Modules that cannot depend on blocks in the last two layers (of T5 also: in its encoder's last)."""
    if family in ("bert", "roberta"):
        stack = f"{family}.encoder.layer"
        return [f"{family}.embeddings", f"{stack}.0.output", f"{stack}.1", f"{stack}.2.attention"]
    if family == "gpt2":
        return ["transformer.wte", "transformer.h.0.attn", "transformer.h.1", "transformer.h.2.mlp.c_fc"]
    if task_of(family) == "causal":
        return ["model.embed_tokens", "model.layers.0.self_attn", "model.layers.1", "model.layers.2.mlp.up_proj"]
    if both_sides:
        return ["encoder.block.0", "encoder.block.2.layer.1", "encoder.block.3.layer.0", "decoder.block.0.layer.0"]
    cross = "decoder.block.3.layer.1.EncDecAttention"
    return ["encoder.block.0", "decoder.block.0", "decoder.block.2.layer.1", f"{cross}.k", f"{cross}.v"]


def count_calls(model: nn.Module) -> Counter[str]:
    """Counts what each module really computes from here on, whatever stands in for it."""
    calls: Counter[str] = Counter()

    def counting(name: str, forward: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return forward(*args, **kwargs)

        return call

    for name, module in model.named_modules():
        vars(module)["forward"] = counting(name, module.forward)
    return calls


@every_case
def test_what_is_frozen_is_not_computed_again(family: Family, modules: tuple[str, ...] | None) -> None:
    run = training(family, modules)
    calls = count_calls(run.backbone.model)
    with run.lora.request(), torch.enable_grad():
        record(run)
        recorded = Counter(calls)
        calls.clear()
        with run.replay.play():
            run.forward(weights_of(run.lora, 1), [0, 1])
    frozen = frozen_modules(family, modules is not None)
    assert not any(calls[name] for name in frozen), calls
    assert any(recorded[name] for name in frozen)
    assert recorded[""] == calls[""] == 1  # the model itself runs, from its first live module on
    assert sum(calls.values()) < 0.7 * sum(recorded.values())


def forwards(model: nn.Module) -> dict[str, Any]:
    return {name: vars(module).get("forward") for name, module in model.named_modules()}


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_backbone_is_itself_again_even_after_a_failure(wrapped: bool) -> None:
    run = training("gpt2")
    model = run.backbone.model
    calls = count_calls(model) if wrapped else Counter()  # somebody else's wrapper must survive
    forwards_before, hooks_before = forwards(model), hooks(model)
    with run.lora.request(), torch.enable_grad():
        with pytest.raises(RuntimeError, match="while recording"), run.replay.record():
            assert hooks(model) > hooks_before
            raise RuntimeError("while recording")
        assert hooks(model) == hooks_before
        record(run)
        assert hooks(model) == hooks_before
        with pytest.raises(RuntimeError, match="while playing"), run.replay.play():
            assert forwards(model) != forwards_before
            raise RuntimeError("while playing")
        assert forwards(model) == forwards_before
        calls.clear()
        full = run.forward(weights_of(run.lora, 1), [0, 1])
        assert not wrapped or calls["transformer.h.0"] == 1
        with run.replay.play():
            torch.testing.assert_close(run.forward(weights_of(run.lora, 1), [0, 1]), full)
        assert forwards(model) == forwards_before


def test_a_bias_that_all_rows_share_stays_whole_when_rows_leave() -> None:
    """T5's table of relative positions has the answer's length, not the batch, as its first axis."""
    run = training("t5", ("decoder.block.0.layer.0.SelfAttention.v", BOTH_SIDES[1]))
    width = int(run.batch.inputs["decoder_input_ids"].shape[1])
    lessons = [Lesson(str(i), (5 + i, 1), (*range(6, 5 + width), 2)) for i in range(width)]
    prompts = [lesson.prompt for lesson in lessons]
    encoded = encode_frozen(run.backbone, run.lora, prompts)
    assert encoded is not None
    run.batch = collate(run.backbone, [[lesson] for lesson in lessons], encoded)
    run.replay = Replay(run.backbone.model, width)
    weights = {
        name: (a, torch.full_like(b, 0.1))
        for name, (a, b) in initial_weights(run.lora.widths, range(width), 2, 1.0, 0).items()
    }
    for pair in weights.values():
        for tensor in pair:
            tensor.requires_grad_()
    rows = torch.tensor([0, width - 1])
    with run.lora.request(), torch.enable_grad():
        with run.replay.record():
            run.forward(weights, list(range(width)))
        run.batch.keep(rows)
        run.replay.keep(rows)
        full = run.forward(weights, rows.tolist())
        with run.replay.play():
            replayed = run.forward(weights, rows.tolist())
    torch.testing.assert_close(replayed, full, rtol=1e-4, atol=1e-5)


def test_tensors_are_found_wherever_outputs_hide_them() -> None:
    one = torch.ones(2)
    nested = {"a": (one, [one, None]), "b": BaseModelOutput(last_hidden_state=one), "c": "text"}
    doubled = map_tensors(nested, lambda tensor: tensor * 2)
    assert isinstance(doubled["b"], BaseModelOutput)
    found = [doubled["a"][0], doubled["a"][1][0], doubled["b"].last_hidden_state]
    assert all(torch.equal(tensor, 2 * one) for tensor in found)
    assert (doubled["a"][1][1], doubled["c"]) == (None, "text")
    assert torch.equal(nested["a"][0], one)
