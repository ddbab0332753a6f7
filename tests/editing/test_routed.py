"""Requests: blocks that are given in place of the route, and routes that are told beside the answers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.editing.edit import Edit, Route
from tests.editing.edited import EDITED, new_model, teach
from tests.editing.tiny import LABELS, Family

PROMPTS = ("The capital of the north is", "The treaty was signed by", "My sister's favourite colour is")
TARGETS = {"bert": ("politics", "sport")}


@pytest.mark.parametrize("family", EDITED)
def test_given_blocks_replace_the_route_of_one_request(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model(family, radius=1e-3, edits_per_block=1)
    targets = TARGETS.get(family, ("Aldershore", "three ministers"))
    edits = [Edit(prompt, target) for prompt, target in zip(PROMPTS, targets, strict=False)]
    teach(model, edits)
    first, second = (model.block_of(edit.edit_id) for edit in edits)
    assert first is not None and second is not None and first != second
    prompts = list(PROMPTS)
    routed = model.answer(prompts, 12)
    with monkeypatch.context() as patch:
        patch.setattr(model._index, "route", None)  # nobody asks it
        assert model.answer(prompts, 12, [first, second, None]) == routed
        swapped = model.answer(prompts, 12, [second, first, second])
        alone = model.answer(prompts[:1], 12, [second])
        base = model.answer(prompts, 12, [None] * 3)
    assert swapped != routed
    assert model.backbone.decode_answer(swapped[0]) == model.backbone.decode_answer(alone[0])
    assert model.answer(prompts, 12) == routed  # nothing is left behind
    model.undo([edit.edit_id for edit in edits])
    assert [model.block_of(edit.edit_id) for edit in edits] == [None, None]
    assert model.answer(prompts, 12) == base
    assert model.block_of("nobody's") is None
    model.close()


@pytest.mark.parametrize("family", ["bert", "t5", "gpt2"])
def test_a_response_is_an_answer_and_the_route_of_the_same_request(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = new_model(family)
    try:
        target = LABELS[1] if family == "bert" else "Ada"
        teach(model, [Edit("Who wrote the first novel?", target)])
        prompts = ["Who wrote the first novel?", "What is the boiling point of ethanol, and why?"]
        expected = list(zip(model.generate(prompts), model.route(prompts), strict=True))
        assert expected[0][0] == target
        search, searches = model._index.route, []

        def count(queries: torch.Tensor, **kwargs: Any) -> list[Route]:
            searches.append(len(queries))
            return search(queries, **kwargs)

        monkeypatch.setattr(model._index, "route", count)
        found = model.respond(prompts)
        assert searches == [2]
        assert [answer for answer, _ in found] == [answer for answer, _ in expected]
        for (_, route), (_, alone) in zip(found, expected, strict=True):
            assert (route.block, route.cluster, route.edit_id) == (alone.block, alone.cluster, alone.edit_id)
            assert route.distance == pytest.approx(alone.distance, rel=1e-4, abs=1e-3)
        with pytest.raises(ValueError, match="num_return_sequences is 2"):
            model.respond(prompts, num_return_sequences=2)
        assert model.respond([]) == []
    finally:
        model.close()
