"""PEFT, with the adapter that a prompt is routed to, says what the edited model says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.editing.model import EditedModel
from pipeline.export.adapters import adapter_name
from pipeline.export.folder import ADAPTERS, VERSION, export
from tests.editing.edited import new_model, teach, tiny
from tests.editing.test_rules import FACTS, OUTSIDE, edits_of
from tests.editing.tiny import Family

peft = pytest.importorskip("peft", reason="PEFT is not installed: pip install -e '.[test]'")

FAMILIES: tuple[Family, ...] = ("gpt2", "t5", "bert", "llama")
PROMPTS = [prompt for prompt, _, _ in FACTS] + OUTSIDE
SCALE = 0.5
"""Another one than 1, which a scale that was forgotten would pass for."""
T5_BOTH_STACKS = (
    *(f"encoder.block.{layer}.layer.1.DenseReluDense.wo" for layer in (2, 3)),
    *(f"decoder.block.{layer}.layer.2.DenseReluDense.wo" for layer in (2, 3)),
)


def edited(family: Family, **settings: Any) -> EditedModel:
    """Knows FACTS."""
    if family == "t5":
        settings = {"key_layer": "encoder.block.1", "block_modules": T5_BOTH_STACKS} | settings
    model = new_model(family, scale=SCALE, **settings)
    teach(model, edits_of(family))
    return model


def exported(model: EditedModel, family: Family, folder: Path, rank: int | None) -> Path:
    model.save(folder / "saved")
    export(folder / "saved", folder / "exported", rank, backbone=tiny(family))
    return folder / "exported"


def loaded(family: Family, folder: Path, names: Sequence[str]) -> Any:
    """PEFT's model of a fresh backbone with these adapters."""
    first, *others = names
    model = peft.PeftModel.from_pretrained(tiny(family).model, str(folder / ADAPTERS / first), adapter_name=first)
    for name in others:
        model.load_adapter(str(folder / ADAPTERS / name), adapter_name=name)
    return model.eval()


def assert_close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Equal to rounding: logits near zero are sums of large numbers, so they are held against the largest one."""
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def said(model: EditedModel, served: Any, prompts: list[str], **given: Any) -> torch.Tensor:
    """Logits of greedy answers to one batch, a classifier's [b, labels], others' [b, s, v].

    Args:
        model: whose tokens are taken.
        served: who answers: the edited model itself, PEFT's, or a bare backbone.
        prompts: the batch.
        **given: to PEFT's model.
    """
    backbone = model.backbone
    ids, mask = backbone.pad(backbone.tokenize_prompts(prompts), side=backbone.padding_side)
    with torch.no_grad():
        if backbone.task == "classification":
            asked = served.generate(ids, mask) if served is model else served(ids, mask, **given).logits
            return torch.as_tensor(asked)
        greedy = {"do_sample": False, "max_new_tokens": 4, "output_logits": True, "return_dict_in_generate": True}
        given |= backbone.generation_defaults | greedy
        return torch.stack(served.generate(input_ids=ids, attention_mask=mask, **given).logits, dim=1)


@pytest.mark.parametrize("rank", [None, 16])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_gives_the_edited_models_logits(family: Family, rank: int | None, tmp_path: Path) -> None:
    model, plain = edited(family), tiny(family).model
    folder = exported(model, family, tmp_path, rank)
    routes = EditedModel.load(folder / VERSION, backbone=tiny(family), index="memory").route(PROMPTS)
    names = [None if route.block is None else adapter_name(route.block) for route in routes]
    assert None not in names[: len(FACTS)] and names[len(FACTS) :] == [None] * len(OUTSIDE)
    served = loaded(family, folder, sorted({name for name in names if name is not None}))
    for prompt, name in zip(PROMPTS, names, strict=True):
        wanted, bare = said(model, model, [prompt]), said(model, plain, [prompt])
        if name is None:
            with served.disable_adapter():
                assert torch.equal(said(model, served, [prompt]), bare)
            assert torch.equal(wanted, bare)
        else:
            served.set_adapter(name)
            assert_close(said(model, served, [prompt]), wanted)
            assert (wanted.flatten()[0] - bare.flatten()[0]).abs() > 0.01
    mixed = said(model, served, PROMPTS, adapter_names=[name or "__base__" for name in names])
    assert_close(mixed, said(model, model, PROMPTS))


@pytest.mark.parametrize("family", ["qwen2", "t5-gated"])
def test_other_linear_modules_too(family: Family, tmp_path: Path) -> None:
    model = edited(family)
    folder = exported(model, family, tmp_path, None)
    prompt = FACTS[0][0]
    block = model.route([prompt])[0].block
    assert block is not None
    served = loaded(family, folder, [adapter_name(block)])
    assert_close(said(model, served, [prompt]), said(model, model, [prompt]))
