"""Blocks that are given in place of the route."""

from __future__ import annotations

import pytest

from pipeline.editing.edit import Edit
from tests.editing.edited import EDITED, new_model, teach
from tests.editing.tiny import Family

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
