"""Blocks in training: side by side as alone, until they lead, and learned or not as free generation says."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch

from pipeline.editing import training
from pipeline.editing.adam import BlockAdam
from pipeline.editing.answering import free_answers, says
from pipeline.editing.backbone import Backbone
from pipeline.editing.batches import collate
from pipeline.editing.blocks import BlockWeights
from pipeline.editing.curriculum import Lesson, TrainedUnit, Unit
from pipeline.editing.edit import Edit
from pipeline.editing.loading import from_objects
from pipeline.editing.model import EditedModel
from pipeline.editing.readout import Readout
from pipeline.editing.training import Trainer
from pipeline.settings import EditingSettings
from tests.editing.case import MARGIN, PROMPTS, TARGETS, Case, assert_close
from tests.editing.tiny import FAMILIES, LABELS, Family, task_of, tiny_backbone


def alone(unit: Unit, slot: int) -> Unit:
    return replace(unit, blocks=unit.blocks[slot : slot + 1], lessons=unit.lessons[slot : slot + 1])


def slot_of(weights: BlockWeights, slot: int) -> BlockWeights:
    return {name: (a[slot : slot + 1], b[slot : slot + 1]) for name, (a, b) in weights.items()}


def assert_equal(one: TrainedUnit, other: TrainedUnit) -> None:
    assert_close(one.weights, other.weights, atol=0)
    assert (one.steps, one.answers) == (other.steps, other.answers)


# Side by side


@pytest.mark.parametrize("family", ["bert", "t5", "gpt2", "llama"])
def test_blocks_trained_side_by_side_are_the_blocks_trained_alone(family: Family) -> None:
    case = Case(family)
    unit = case.unit(iterations=3)
    together = case.trainer.train(unit)
    for slot in range(3):
        single = case.trainer.train(alone(unit, slot))
        assert single.steps == together.steps[slot : slot + 1]
        assert_close(slot_of(together.weights, slot), single.weights, atol=5e-3)


@pytest.mark.parametrize("family", ["t5", "gpt2", "llama"])
def test_but_for_the_tokens_that_compete_blocks_share_nothing(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(family)
    size = case.backbone.model.get_output_embeddings().weight.shape[0]
    monkeypatch.setattr(training, "Readout", functools.partial(Readout, competitors=size))
    unit = case.unit(iterations=3)
    together = case.trainer.train(unit)
    for slot in range(3):
        assert_close(slot_of(together.weights, slot), case.trainer.train(alone(unit, slot)).weights, atol=5e-3)


@pytest.mark.parametrize("family", ["bert", "t5", "gpt2", "qwen3"])
def test_a_unit_trains_to_the_same_bits_whenever_it_is_trained(family: Family) -> None:
    case, again = Case(family), Case(family)
    once = case.trainer.train(case.unit(5))
    case.trainer.train(case.unit(2, first=7))  # what went before leaves nothing behind
    torch.manual_seed(99)
    assert_equal(case.trainer.train(case.unit(5)), once)
    assert_equal(again.trainer.train(again.unit(5)), once)


# When a block stops


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_what_comes_to_win_is_noticed_though_no_block_leads_by_its_margin(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "Readout", functools.partial(Readout, competitors=1))
    case = Case(family)
    trainer = Trainer(case.backbone, case.lora, case.recipe, seed=0, margin=1e9)
    assert trainer.train(case.unit(40)).answers == {}
    monkeypatch.setattr(training, "LOOK_AROUND", 1000)
    assert trainer.train(case.unit(40)).answers != {}


@pytest.mark.parametrize("family", ["bert", "t5", "gpt2", "llama"])
def test_a_block_stops_when_it_leads_everywhere_and_is_not_moved_any_further(family: Family) -> None:
    case = Case(family, iterations=80)
    trained = case.trainer.train(case.unit(80))
    assert len(set(trained.steps)) > 1
    assert min(trained.steps) > 0
    assert max(trained.steps) < 80
    assert trained.answers == {}
    leads = leads_of(case, trained)  # [blocks], over the whole vocabulary and by a pass without any replay
    assert (leads > MARGIN - 1e-2).all()

    cut = case.trainer.train(case.unit(min(trained.steps)))  # the first to stop had stopped by then
    first = trained.steps.index(min(trained.steps))
    assert cut.steps[first] == trained.steps[first]
    assert_close(slot_of(cut.weights, first), slot_of(trained.weights, first), atol=0)


@torch.no_grad()
def leads_of(case: Case, trained: TrainedUnit) -> torch.Tensor:
    batch = collate(case.backbone, trained.unit.lessons, None)
    with case.lora.request():
        case.lora.activate(trained.weights, None, len(trained.unit.blocks), torch.float32)
        logits = batch.pick(case.backbone.model(**batch.inputs).logits)
    wanted = logits.gather(1, batch.targets[:, None])[:, 0]
    best_other = logits.scatter(1, batch.targets[:, None], float("-inf")).amax(1)
    owner = batch.rows // batch.size
    return torch.stack([(wanted - best_other)[owner == block].min() for block in range(len(trained.unit.blocks))])


def test_what_is_learned_already_takes_no_step() -> None:
    case = Case("bert")
    trained = case.trainer.train(case.unit(80))
    once_more = case.trainer.train(replace(case.unit(80), start=trained.weights))
    assert once_more.steps == (0, 0, 0)
    assert_close(once_more.weights, trained.weights, atol=0)


def test_only_blocks_in_training_are_in_the_optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    case, seen, rates = Case("llama", iterations=80, halve_every=8), list[int](), list[float]()

    class Watched(BlockAdam):
        def step(self, loss: torch.Tensor, rate: float) -> None:
            held = {parameter.shape[0] for group in self._adam.param_groups for parameter in group["params"]}
            assert held == {len(a) for a, _ in self.weights().values()}
            assert self._adam.state.keys() <= set(self._adam.param_groups[0]["params"])
            seen.append(held.pop())
            rates.append(rate)
            super().step(loss, rate)

    monkeypatch.setattr(training, "BlockAdam", Watched)
    steps = case.trainer.train(case.unit(80)).steps
    # A block that is found to be learned at a step leaves after it, already stored.
    assert seen == [sum(stop >= step for stop in steps) for step in range(max(steps))]
    assert len(set(seen)) > 1
    assert rates == [case.recipe.learning_rate * 0.5 ** (step // 8) for step in range(max(steps))]


def test_a_longer_round_is_halved_as_much_later(monkeypatch: pytest.MonkeyPatch) -> None:
    case, rates = Case("llama", iterations=8, halve_every=4, learning_rate=1e-6), list[float]()

    class Watched(BlockAdam):
        def step(self, loss: torch.Tensor, rate: float) -> None:
            rates.append(rate)
            super().step(loss, rate)

    monkeypatch.setattr(training, "BlockAdam", Watched)
    case.trainer.train(case.unit(8))
    assert rates == [1e-6] * 4 + [0.5e-6] * 4
    rates.clear()
    case.trainer.train(case.unit(16))
    assert rates == [1e-6] * 8 + [0.5e-6] * 8


def test_iterations_are_an_upper_bound() -> None:
    case = Case("gpt2", learning_rate=1e-6)
    trained = case.trainer.train(case.unit(3))
    assert trained.steps == (3, 3, 3)
    assert set(trained.answers) == {lesson.edit_id for lesson in case.lessons}
    bare = answers_of(case.backbone, case.lessons)
    assert list(trained.answers.values()) == bare


def answers_of(backbone: Backbone, lessons: list[Lesson]) -> list[str]:
    longest = max(len(lesson.target) for lesson in lessons)
    return [backbone.decode_answer(a) for a in free_answers(backbone, [lesson.prompt for lesson in lessons], longest)]


def test_training_leaves_the_backbone_as_it_was() -> None:
    case = Case("t5")
    before = {name: vars(module).get("forward") for name, module in case.backbone.model.named_modules()}
    state = {name: tensor.clone() for name, tensor in case.backbone.model.state_dict().items()}
    answers = answers_of(case.backbone, case.lessons)
    case.trainer.train(case.unit(4))
    assert {name: vars(module).get("forward") for name, module in case.backbone.model.named_modules()} == before
    assert all(torch.equal(state[name], tensor) for name, tensor in case.backbone.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in case.backbone.model.parameters())
    assert answers_of(case.backbone, case.lessons) == answers


# Learned or not, as the edited model tells it


def edited_model(family: Family, **settings: Any) -> EditedModel:
    model, tokenizer = tiny_backbone(family)
    backbone = from_objects(model, tokenizer, task_of(family), f"tiny-{family}")
    return EditedModel.from_backbone(backbone, settings=EditingSettings(**settings), index="memory")


def test_an_edit_that_cannot_be_learned_is_reported_and_leaves_no_trace() -> None:
    edited = edited_model("gpt2", iterations=1, learning_rate=1e-6, edits_per_block=3)
    edits = [Edit(prompt, target) for prompt, target in zip(PROMPTS[:3], TARGETS[:3], strict=True)]
    before = edited.generate(PROMPTS, max_new_tokens=6)
    outcomes = edited.edit(edits)
    for edit, outcome in zip(edits, outcomes, strict=True):
        assert (outcome.edit_id, outcome.learned) == (edit.edit_id, False)
        assert (outcome.action, outcome.cluster, outcome.block) == (None, None, None)
        assert outcome.steps == 1 + 2 + 2  # once, twice as long, and twice as long alone
        record = edited.records[edit.edit_id]
        assert (record.state, record.outcome) == ("failed", outcome)
    prompts = edited.backbone.tokenize_prompts([edit.prompt for edit in edits])
    longest = max(map(len, edited.backbone.tokenize_targets(TARGETS[:3], PROMPTS[:3])))
    for outcome, answer in zip(outcomes, free_answers(edited.backbone, prompts, longest), strict=True):
        said = edited.backbone.decode_answer(answer)
        assert outcome.reason == f"not learned after 5 steps; the last answer was {said!r}"
    clusters, keys = edited.clusters.tables()
    assert (clusters.num_rows, keys.num_rows, len(edited.blocks)) == (0, 0, 0)
    assert edited._index.count() == (0, 0)
    assert all(route.block is None and route.cluster is None for route in edited.route(PROMPTS))
    assert edited.generate(PROMPTS, max_new_tokens=6) == before


def test_a_token_that_the_model_cannot_say_fails_its_edit_alone() -> None:
    """Two output rows alike: the first of the two wins every tie, so the second is never said."""
    model, tokenizer = tiny_backbone("llama")
    lower, upper = sorted(tokenizer.convert_tokens_to_ids(["Z", "~"]))
    with torch.no_grad():
        model.lm_head.weight[upper] = model.lm_head.weight[lower]
    backbone = from_objects(model, tokenizer, "causal", "tiny")
    settings = EditingSettings(edits_per_block=3, iterations=20)
    edited = EditedModel.from_backbone(backbone, settings=settings, index="memory")
    fine = [Edit(prompt, target) for prompt, target in zip(PROMPTS[:2], ["Z", "green"], strict=True)]
    mute = Edit(PROMPTS[2], "~")
    if tokenizer.convert_tokens_to_ids("Z") == upper:
        fine[0], mute = Edit(PROMPTS[0], "~"), Edit(PROMPTS[2], "Z")
    good, other, bad = edited.edit([*fine, mute])
    assert (good.learned, other.learned, bad.learned) == (True, True, False)
    assert bad.steps == 20 + 40 + 40
    assert bad.reason == f"not learned after 100 steps; the last answer was {fine[0].target!r}"
    keys = edited.clusters.tables()[1]
    assert keys["edit_id"].to_pylist() == [edit.edit_id for edit in fine]
    assert set(edited.blocks.ids) == {good.block, other.block}
    assert edited.generate([edit.prompt for edit in fine]) == [edit.target for edit in fine]
    assert edited.route([mute.prompt])[0].block is None


@pytest.mark.parametrize("family", ["t5", "t5-gated"])
def test_blocks_on_both_sides_of_a_t5_learn_as_in_the_paper(family: Family) -> None:
    """The paper's shape: keys from a wo of the encoder, blocks of rank 2 on the wo of later layers, both sides."""
    edited = edited_model(
        family,
        key_layer="encoder.block.1.layer.1.DenseReluDense.wo",
        block_modules=[
            f"{side}.block.{block}.layer.{layer}.DenseReluDense.wo"
            for block in (2, 3)
            for side, layer in (("encoder", 1), ("decoder", 2))
        ],
        partial_rank=2,
        iterations=60,
        edits_per_block=2,
    )
    edits = [Edit(prompt, target) for prompt, target in zip(PROMPTS[:4], TARGETS[:4], strict=True)]
    outside = "The observatory was founded in the year"
    before = edited.generate(outside)
    outcomes = edited.edit(edits)
    assert all(outcome.learned for outcome in outcomes), outcomes
    assert edited.generate([edit.prompt for edit in edits]) == [edit.target for edit in edits]
    assert edited.route([outside])[0].block is None
    assert edited.generate(outside) == before
    assert edited.blocks.parameters == len(edited.blocks) * 4 * 2 * (32 + 64)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns(family: Family) -> None:
    edited = edited_model(family, edits_per_block=3, iterations=60)
    targets = [LABELS[4 - i] for i in range(4)] if task_of(family) == "classification" else TARGETS[:4]
    edits = [Edit(prompt, target) for prompt, target in zip(PROMPTS, targets, strict=False)]
    outcomes = edited.edit(edits)
    assert all(outcome.learned for outcome in outcomes), outcomes
    assert edited.generate([edit.prompt for edit in edits]) == targets


def test_bfloat16_backbones_learn() -> None:
    model, tokenizer = tiny_backbone("llama")
    backbone = from_objects(model.bfloat16(), tokenizer, "causal", "tiny")
    edited = EditedModel.from_backbone(backbone, settings=EditingSettings(iterations=60), index="memory")
    edits = [Edit(prompt, target) for prompt, target in zip(PROMPTS[:3], TARGETS[:3], strict=True)]
    assert all(outcome.learned for outcome in edited.edit(edits))
    assert [edited.generate(edit.prompt) for edit in edits] == [edit.target for edit in edits]


def test_what_an_answer_may_differ_in() -> None:
    backbone = Case("gpt2").backbone
    (target,) = backbone.tokenize_targets(["green wood"])
    letters = [token for letter in " green wood" for token in backbone.tokenizer(letter)["input_ids"]]
    assert letters != target[:-1]
    assert says(backbone, target, target)
    assert says(backbone, [*letters, backbone.end_token], target)  # the same text in other tokens
    assert not says(backbone, letters, target)  # it has no end
    assert not says(backbone, [*target[:-1], *target], target)
    assert not says(backbone, [], target)
