"""Failures that are known from the public implementation of MELO, and do not happen here."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit, Route
from pipeline.editing.fold import COINCIDENT
from pipeline.editing.model import EditedModel
from tests.editing.edited import EDITED, new_model, teach
from tests.editing.tiny import LABELS, Family, task_of

GENERATORS: tuple[Family, ...] = ("t5", "gpt2", "llama")
SHORT, LONG = (
    "He plays the",
    "When did the old museum of the northern province move to its new building in the capital?",
)
WORDS = ("Paris", "green", "museum", "spring", "novel")


def answer_of(family: Family, i: int) -> str:
    return (LABELS if task_of(family) == "classification" else WORDS)[i % 5]


def many_edits(family: Family, n: int) -> list[Edit]:
    """Prompts that a random model tells apart, and five answers."""
    subjects = ("novel", "province", "museum", "sister", "minister", "building")
    prompts = (
        f"What did the {a} say to the {b} in {year}?"
        for year in range(1847, 1999, 7)
        for a in subjects
        for b in subjects
    )
    return [Edit(prompt, answer_of(family, i)) for i, prompt in zip(range(n), prompts, strict=False)]


@cache
def taught(family: Family) -> EditedModel:
    """Knows SHORT and LONG; for tests that change nothing."""
    model = new_model(family)
    teach(model, [Edit(SHORT, answer_of(family, 0)), Edit(LONG, answer_of(family, 1))])
    return model


def hidden_states(backbone: Backbone, layer: str, rows: list[list[int]], side: Any) -> torch.Tensor:
    """[b, s, d]: the key layer's output for the whole batch, pads and all."""
    found: list[torch.Tensor] = []
    module = backbone.model.get_submodule(layer)
    handle = module.register_forward_hook(lambda m, a, out: found.append(out[0] if isinstance(out, tuple) else out))
    with torch.no_grad():
        backbone.encode(*backbone.pad(rows, side))
    handle.remove()
    return found[0]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


def logits(model: EditedModel, prompts: list[str]) -> torch.Tensor:
    """[b, v] of the first answer token, or [b, labels]."""
    ids, mask = model.backbone.pad(model.backbone.tokenize_prompts(prompts), model.backbone.padding_side)
    if model.backbone.task == "classification":
        return model.generate(ids, mask)
    output = model.generate(ids, mask, max_new_tokens=1, output_scores=True, return_dict_in_generate=True)
    return output.scores[0]


# The key of a padded row was a pad's


@pytest.mark.parametrize("family", EDITED)
def test_the_key_of_a_padded_row_is_not_a_pads(family: Family) -> None:
    model = taught(family)
    rows = model.backbone.tokenize_prompts([SHORT, LONG])
    states = hidden_states(model.backbone, model.recipe.key_layer, rows, "right")
    alone = hidden_states(model.backbone, model.recipe.key_layer, rows[:1], "right")[0, -1]
    key = model.encoder.of([SHORT, LONG])[0]
    assert relative(key, alone) <= COINCIDENT
    assert relative(states[0, -1], alone) > 0.01, "the pad's state must differ, or this test shows nothing"


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", GENERATORS)
def test_a_padded_prompt_finds_its_edit(family: Family, side: Any) -> None:
    model = taught(family)
    ids, mask = model.backbone.pad(model.backbone.tokenize_prompts([LONG, SHORT]), side)
    sequences = model.generate(ids, mask, max_new_tokens=8)
    answers = sequences[:, ids.shape[1] :] if model.backbone.task == "causal" else sequences
    assert [model.backbone.decode_answer(row) for row in answers] == [WORDS[1], WORDS[0]]


# The answer was part of the key


@pytest.mark.parametrize("family", EDITED)
def test_the_answer_is_not_part_of_the_key(family: Family) -> None:
    keys = []
    for target in (answer_of(family, 0), answer_of(family, 1)):
        model = new_model(family)
        teach(model, [Edit(SHORT, target)])
        keys.extend(model.clusters.tables()[1]["key"].to_pylist())
    assert keys[0] == keys[1]
    prompt = model.backbone.tokenize_prompts([SHORT])
    states = hidden_states(model.backbone, model.recipe.key_layer, prompt, "right")
    assert relative(torch.tensor(keys[0]), states[0, -1]) <= COINCIDENT
    (route,) = model.route([SHORT])
    assert route.distance is not None and route.distance <= COINCIDENT * float(states[0, -1].norm())


# The route was searched again at each step of decoding


@pytest.mark.parametrize("family", GENERATORS)
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"do_sample": True},
        {"do_sample": True, "num_return_sequences": 3},
        {"num_beams": 3},
        {"num_beams": 3, "num_return_sequences": 2, "do_sample": True},
        {"use_cache": False},
    ],
    ids=["greedy", "sampling", "samples", "beams", "sampled beams", "no cache"],
)
def test_the_route_is_searched_once_a_request(
    family: Family, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, searches, steps = taught(family), [], 0
    search = model._index.route

    def count(queries: torch.Tensor, **kwargs: Any) -> list[Route]:
        searches.append(len(queries))
        return search(queries, **kwargs)

    def step(module: torch.nn.Module, args: Any, output: Any) -> None:
        nonlocal steps
        steps += 1

    monkeypatch.setattr(model._index, "route", count)
    handle = model.backbone.model.get_submodule(model.recipe.block_modules[0]).register_forward_hook(step)
    model.generate([SHORT, "How tall is it?", LONG], min_new_tokens=10, max_new_tokens=10, **arguments)
    handle.remove()
    assert steps >= 10
    assert searches == [3]


# The same prompt with a new label fell back to the backbone's answer


@pytest.mark.parametrize(
    ("conflicts", "at_once", "dtype"),
    [
        ("keep", True, torch.float32),
        ("keep", False, torch.float32),
        ("paper", False, torch.float32),
        ("keep", False, torch.bfloat16),
    ],
    ids=["one call", "two calls", "the paper's way", "bfloat16"],
)
@pytest.mark.parametrize("family", EDITED)
def test_the_same_prompt_with_a_new_label_gets_the_new_answer(
    family: Family, conflicts: str, at_once: bool, dtype: torch.dtype
) -> None:
    model = new_model(family, dtype, conflicts=conflicts)
    tokens: dict[str, Any] = {} if family == "bert" else {"max_new_tokens": 8}
    base = model.generate(SHORT, **tokens)
    first, second, other = [answer for i in range(4) if (answer := answer_of(family, i)) != base][:3]
    # The prompt is read in other company the second time, and so with another rounding.
    old, beside, new = Edit(SHORT, first), Edit(LONG, other), Edit(SHORT, second)
    for call in [[old, beside, new]] if at_once else [[old], [beside, new]]:
        teach(model, call)
    assert model.generate([SHORT, LONG]) == [second, other]
    assert model.records[new.edit_id].outcome.action == "replace"
    assert model.records[old.edit_id].state == "replaced"
    assert model._index.count() == (2, 2)
    teach(model, [Edit(SHORT, first)])  # and back again
    assert model.generate([SHORT, LONG]) == [first, other]
    assert model._index.count() == (2, 2)


# A batch beyond the capacity learned nothing


@pytest.mark.parametrize("family", EDITED)
def test_there_is_no_capacity_to_run_out_of(family: Family) -> None:
    model = new_model(family)
    assert (len(model.blocks), model.blocks.parameters) == (0, 0)
    edits = many_edits(family, 24)
    for call in (edits[:1], edits[1:16], edits[16:18], edits[18:]):
        before = len(model.blocks)
        teach(model, call)
        assert len(model.blocks) >= before + -(-len(call) // 2)
    assert {record.state for record in model.records.values()} == {"live"}
    assert model.generate([edit.prompt for edit in edits]) == [edit.target for edit in edits]


# Adding blocks changed old edits


@pytest.mark.parametrize("family", EDITED)
def test_adding_blocks_leaves_old_edits_as_they_are(family: Family) -> None:
    model = new_model(family)
    edits = many_edits(family, 13)
    old, new = edits[:4], edits[4:]
    teach(model, old)
    prompts = [edit.prompt for edit in old]
    scale, before = model._lora.scale, logits(model, prompts)
    for i in range(0, len(new), 3):
        teach(model, new[i : i + 3])
        assert torch.equal(logits(model, prompts), before)
    assert model._lora.scale == scale
    assert len(model.blocks) >= 8
