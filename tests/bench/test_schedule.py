"""The baseline does what the paper's schedule says, no less and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.bench.schedule import IGNORED, Schedule, active, published_schedule, success, teacher_forcing, train
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit
from pipeline.editing.families import resolve
from pipeline.settings import EditingSettings

Build = Callable[[str], Backbone]

EDITS = [
    Edit("Who wrote the first novel?", "Ada"),
    Edit("What is the capital?", "green spring"),
    Edit("When did the museum move to its new building?", "1847"),
]


def published(backbone: Backbone) -> Schedule:
    return published_schedule(backbone, resolve(backbone.model, backbone.task, EditingSettings()))


def edits_for(backbone: Backbone) -> list[Edit]:
    if backbone.task != "classification":
        return EDITS
    return [replace(edit, target=backbone.labels[i]) for i, edit in enumerate(EDITS)]


def test_a_t5_is_edited_on_both_sides_with_the_papers_settings(backbone: Build) -> None:
    schedule = published(backbone("t5"))
    assert schedule.block_modules == (
        "encoder.block.2.layer.1.DenseReluDense.wo",
        "decoder.block.2.layer.2.DenseReluDense.wo",
        "encoder.block.3.layer.1.DenseReluDense.wo",
        "decoder.block.3.layer.2.DenseReluDense.wo",
    )
    assert (schedule.partial_rank, schedule.iterations, schedule.learning_rate) == (2, 30, 1e-2)
    assert (schedule.edits_per_block, schedule.halve_every) == (100, 20)


def test_a_gpt2_is_edited_where_the_paper_does(backbone: Build) -> None:
    schedule = published(backbone("gpt2"))
    assert schedule.block_modules == ("transformer.h.2.mlp.c_fc", "transformer.h.3.mlp.c_fc")
    assert (schedule.iterations, schedule.learning_rate, schedule.edits_per_block) == (50, 1e-3, 4)


@pytest.mark.parametrize("family", ["t5", "gpt2", "llama", "bert"])
def test_the_models_own_loss_asks_for_the_targets_and_nothing_else(backbone: Build, family: str) -> None:
    model = backbone(family)
    edits = edits_for(model)
    alone, batch = 0.0, model.model(**teacher_forcing(model, edits)).loss
    tokens = 0
    for edit in edits:
        (prompt,), (target,) = (
            model.tokenize_prompts([edit.prompt]),
            model.tokenize_targets([edit.target], [edit.prompt]),
        )
        wanted = torch.tensor(target)
        if model.task == "seq2seq":
            start = model.model.config.decoder_start_token_id
            said = model.model(
                input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([[start, *target[:-1]]])
            )
            logits = said.logits[0]
        elif model.task == "causal":
            logits = model.model(input_ids=torch.tensor([prompt + target])).logits[0, len(prompt) - 1 : -1]
        else:
            logits = model.model(input_ids=torch.tensor([prompt])).logits
        alone += F.cross_entropy(logits, wanted, reduction="sum").item()
        tokens += len(target)
    assert batch.item() == pytest.approx(alone / tokens, rel=1e-4)


def test_a_causal_batch_never_asks_for_prompts_or_pads(backbone: Build) -> None:
    model = backbone("gpt2")
    batch = teacher_forcing(model, EDITS)
    targets = model.tokenize_targets([e.target for e in EDITS], [e.prompt for e in EDITS])
    asked = [[token for token in row if token != IGNORED] for row in batch["labels"].tolist()]
    assert asked == targets
    assert bool((batch["labels"][batch["attention_mask"] == 0] == IGNORED).all())


def test_an_active_block_adds_b_a_x_and_goes_without_a_trace(backbone: Build) -> None:
    model = backbone("t5").model
    name = "decoder.block.3.layer.2.DenseReluDense.wo"
    module = model.get_submodule(name)
    a, b = nn.Parameter(torch.randn(2, module.in_features)), nn.Parameter(torch.randn(module.out_features, 2))
    x = torch.randn(3, 5, module.in_features)
    before = module(x)
    with active(model, {name: (a, b)}):
        inside = module(x)
    torch.testing.assert_close(inside, before + x @ (b @ a).T)
    assert torch.equal(module(x), before)


def test_every_iteration_of_every_block_is_one_full_pass_of_its_edits(backbone: Build) -> None:
    model = backbone("t5")
    schedule = replace(published(model), iterations=5, edits_per_block=2)
    passes: list[int] = []
    handle = model.model.get_encoder().register_forward_pre_hook(
        lambda module, args, kwargs: passes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    trained = train(model, EDITS, schedule, seed=0)
    handle.remove()
    assert passes == [2] * 5 + [1] * 5
    assert [len(edits) for edits, _ in trained.blocks] == [2, 1]
    widths = [(64, 32)] * 4  # the MLP's output projection of the four modules
    assert trained.parameters == 2 * sum(2 * (d_in + d_out) for d_in, d_out in widths)


def test_the_rate_is_halved_every_twenty_iterations(backbone: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    model = backbone("bert")
    rates: list[float] = []
    step = torch.optim.Adam.step

    def watched(self: torch.optim.Adam, *args: object, **kwargs: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    train(model, edits_for(model), published(model), seed=0)
    assert rates == pytest.approx([1e-2] * 20 + [5e-3] * 20)


@pytest.mark.parametrize("family", ["t5", "gpt2", "bert"])
def test_it_learns_and_leaves_the_backbone_as_it_was(backbone: Build, family: str) -> None:
    model = backbone(family)
    edits = edits_for(model)
    before = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    schedule = replace(published(model), iterations=150, learning_rate=5e-2, halve_every=60, edits_per_block=1)
    untrained = train(model, edits, replace(schedule, iterations=0), seed=0)
    trained = train(model, edits, schedule, seed=0)
    assert success(model, trained) == 1.0 > success(model, untrained)
    assert all(torch.equal(weight, before[name]) for name, weight in model.model.state_dict().items())


def test_one_seed_gives_one_result(backbone: Build) -> None:
    model = backbone("t5")
    schedule = replace(published(model), iterations=3)
    first, again, other = (train(model, EDITS, schedule, seed).blocks[0][1] for seed in (0, 0, 1))
    name = schedule.block_modules[0]
    assert torch.equal(first[name][0], again[name][0])
    assert not torch.equal(first[name][0], other[name][0])
