"""What is replayed is what the paper says, and it keeps what plain fine-tuning forgets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.bench.editors import cmr
from pipeline.bench.editors.cmr import Cmr, CmrSettings
from pipeline.bench.editors.protocol import Prior
from pipeline.bench.editors.weights import edit_loss
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit
from pipeline.editing.forced import teacher_forced
from tests.bench.editors.small import EDITS, Build, answers, edits_for, without_dropout

LEARNING = CmrSettings(epochs=50, learning_rate=3e-3, replayed=4, candidates=6)
"""A random tiny model knows nothing to build on."""
UPSTREAM = Prior(upstream=tuple((f"Who saw number {i}?", str(i)) for i in range(10)))


def remembering(backbone: Backbone, prior: Prior, past: int, settings: CmrSettings) -> Cmr:
    editor = Cmr(backbone, prior, settings)
    editor.past = {f"What is number {i}?": Edit(f"What is number {i}?", str(i)) for i in range(past)}
    return editor


@pytest.mark.parametrize("family", ["t5", "gpt2", "llama", "bert"])
def test_it_learns_with_all_weights_its_own_and_the_backbone_stays(backbone: Build, family: str) -> None:
    model = without_dropout(backbone(family))
    edits = edits_for(model)
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    editor = Cmr(model, Prior(), LEARNING)
    editor.edit(edits)
    assert answers(editor, edits) == [edit.target for edit in edits]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.model.state_dict().items())
    theirs = dict(model.model.named_parameters())
    assert all(tensor.data_ptr() != theirs[name].data_ptr() for name, tensor in editor.refined.model.named_parameters())
    assert not editor.refined.model.training


@pytest.mark.parametrize("candidates", [0, 6])
def test_a_step_replays_its_share_of_both_memories(backbone: Build, candidates: int) -> None:
    settings = replace(LEARNING, replayed=6, upstream_share=1 / 3, candidates=candidates)
    editor = remembering(backbone("gpt2"), UPSTREAM, past=8, settings=settings)
    found = editor.replay(EDITS[:1])
    assert len({edit.prompt for edit in found}) == 6
    assert [edit in editor.upstream for edit in found] == [True] * 2 + [False] * 4
    assert [edit.prompt in editor.past for edit in found] == [False] * 2 + [True] * 4


def test_a_memory_with_less_than_its_share_is_replayed_whole(backbone: Build) -> None:
    editor = remembering(backbone("gpt2"), Prior(), past=1, settings=LEARNING)
    assert editor.replay(EDITS[:1]) == list(editor.past.values())
    assert Cmr(backbone("gpt2"), Prior(), LEARNING).replay(EDITS[:1]) == []


def test_replayed_are_those_whose_loss_an_update_on_the_errors_would_raise_most(backbone: Build) -> None:
    model = backbone("t5")  # without dropout
    settings = replace(LEARNING, replayed=3, upstream_share=0.0, candidates=9, virtual_batch=1)
    editor = remembering(model, Prior(), past=9, settings=settings)
    past = list(editor.past.values())
    found = editor.replay(EDITS)
    # One AdamW step an error, at the rate of the virtual update, on a model of its own.
    virtual = Cmr(model, Prior(), settings)
    adam = virtual._optimiser(virtual.refined, settings.learning_rate / 3)
    for edit in EDITS:
        edit_loss(virtual.refined, [edit]).backward()
        torch.nn.utils.clip_grad_norm_(virtual.refined.model.parameters(), settings.clip)
        adam.step()
        adam.zero_grad()
    asked = [edit.prompt for edit in past], [edit.target for edit in past]
    rise = teacher_forced(virtual.refined, *asked).nll - teacher_forced(model, *asked).nll
    assert {edit.prompt for edit in found} == {past[i].prompt for i in rise.topk(3).indices.tolist()}
    theirs = dict(model.model.named_parameters())  # what was foreseen has not happened
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in editor.refined.model.named_parameters())


def test_replay_keeps_an_edit_that_fine_tuning_alone_forgets(backbone: Build) -> None:
    model = backbone("gpt2")
    later = [Edit(f"Who wrote the first novel of {year}?", "nobody") for year in (1801, 1802, 1803, 1804)]
    kept, lost = Cmr(model, Prior(), LEARNING), Cmr(model, Prior(), replace(LEARNING, replayed=0))
    for editor in (kept, lost):
        editor.edit(EDITS[:1])
        assert answers(editor, EDITS[:1]) == ["Ada"]
        editor.edit(later)
        assert answers(editor, later) == ["nobody"] * 4
    assert answers(kept, EDITS[:1]) == ["Ada"]
    assert answers(lost, EDITS[:1]) != ["Ada"]


def test_a_step_has_so_many_errors_and_what_was_learned_is_remembered(
    backbone: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = Cmr(backbone("gpt2"), UPSTREAM, replace(LEARNING, errors_per_step=2, epochs=1, batch=3))
    asked: list[list[str]] = []

    def watched(model: Backbone, edits: list[Edit]) -> torch.Tensor:
        if model is editor.refined:
            asked.append([edit.prompt for edit in edits])
        return edit_loss(model, edits)

    monkeypatch.setattr(cmr, "edit_loss", watched)
    editor.edit(EDITS)
    assert list(editor.past.values()) == EDITS
    assert [len(batch) for batch in asked] == [3, 1, 3, 2]  # 2 errors and 2 upstream; 1 error, 2 and the 2 past
    first, second = {*asked[0], *asked[1]}, {*asked[2], *asked[3]}
    assert {edit.prompt for edit in EDITS[:2]} < first
    assert {edit.prompt for edit in EDITS} < second


def test_the_latest_target_of_a_prompt_prevails_and_the_old_one_is_never_replayed(backbone: Build) -> None:
    editor = Cmr(backbone("gpt2"), Prior(), LEARNING)
    editor.edit(EDITS[:2])
    latest = replace(EDITS[0], target="green")
    editor.edit([latest])
    assert list(editor.past.values()) == [EDITS[1], latest]
    assert answers(editor, EDITS[:1]) == ["green"]


def test_the_penalty_holds_the_weights_near_those_before_the_step(backbone: Build) -> None:
    model = backbone("gpt2")
    theirs = dict(model.model.named_parameters())

    def moved(l2: float) -> float:
        editor = Cmr(model, Prior(), replace(LEARNING, l2=l2, weight_decay=0.0))
        editor.edit(EDITS)
        own = editor.refined.model.named_parameters()
        return sum((tensor - theirs[name]).pow(2).sum().item() for name, tensor in own)

    assert moved(1.0) < 0.5 * moved(0.0)


def test_its_size_is_all_weights_and_the_tokens_of_both_memories(backbone: Build) -> None:
    model = backbone("t5")
    editor = Cmr(model, UPSTREAM, replace(LEARNING, epochs=0))
    weights = sum(tensor.numel() for tensor in model.model.parameters())
    tokens = [model.tokenizer(text)["input_ids"] for pair in UPSTREAM.upstream for text in pair]
    assert editor.size() == weights + sum(map(len, tokens))
    editor.edit(EDITS[:1])
    told = [model.tokenizer(text)["input_ids"] for text in (EDITS[0].prompt, EDITS[0].target)]
    assert editor.size() == weights + sum(map(len, [*tokens, *told]))


def test_one_seed_gives_one_result_and_leaves_the_global_generator_alone(backbone: Build) -> None:
    model = backbone("bert")  # the family with dropout
    torch.manual_seed(7)
    state = torch.get_rng_state()
    results = []
    for seed in (0, 0, 1):
        editor = Cmr(model, Prior(seed=seed), replace(LEARNING, epochs=2))
        editor.edit(edits_for(model))
        results.append(torch.cat([tensor.detach().flatten() for tensor in editor.refined.model.parameters()]))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
