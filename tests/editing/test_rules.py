"""The nine rules that hold everywhere, each by its name, on tiny random models."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
from ast import literal_eval
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.editing.backbone import Backbone
from pipeline.editing.curriculum import Curriculum, Lesson
from pipeline.editing.edit import Edit, EditError, Route
from pipeline.editing.fold import COINCIDENT
from pipeline.editing.folder import BLOCKS, KEYS, MANIFEST, CheckpointError
from pipeline.editing.index import Delta
from pipeline.editing.model import EditedModel
from pipeline.editing.records import Record
from pipeline.editing.training import Trainer
from schemas.manifest import FileEntry, Manifest
from tests.editing.edited import EDITED, SETTINGS, new_model, teach, tiny
from tests.editing.tiny import LABELS, Family, task_of

FACTS = (
    ("Who wrote the first novel in the series?", "Paris", "sport"),
    ("The capital of the northern province is", "green", "food"),
    ("What is the capital of France?", "museum", "music"),
    ("The treaty was signed in the spring of", "1847", "weather"),
    ("My sister's favourite colour has always been", "spring", "politics"),
    ("When did the old museum move?", "novel", "sport"),
)
MORE = (
    ("Which river flows through the old town?", "the treaty", "food"),
    ("He plays the", "colour", "music"),
    ("The name of the third minister was", "France", "weather"),
)
OUTSIDE = ["How tall is the highest mountain?", "She studied chemistry at the University of", "Why?"]
HUGE = 1e4  # a radius that takes every prompt in


def edits_of(family: Family, facts: tuple[tuple[str, str, str], ...] = FACTS) -> list[Edit]:
    return [Edit(prompt, label if task_of(family) == "classification" else target) for prompt, target, label in facts]


@cache
def taught(family: Family, dtype: torch.dtype = torch.float32) -> EditedModel:
    """Knows FACTS, each in a cluster of its own; for tests that change nothing."""
    model = new_model(family, dtype)
    assert {outcome.action for outcome in teach(model, edits_of(family))} == {"add"}
    return model


@cache
def plain(family: Family, dtype: torch.dtype = torch.float32) -> Backbone:
    """The same backbone, never edited."""
    return tiny(family, dtype=dtype)


def answers(model: EditedModel, edits: list[Edit]) -> list[str]:
    return list(model.generate([edit.prompt for edit in edits], max_new_tokens=16))


def wanted(model: EditedModel, edits: list[Edit]) -> list[str]:
    if model.backbone.task == "classification":
        return [model.backbone.labels[model.backbone.label_id(edit.target)] for edit in edits]
    return [edit.target for edit in edits]


def scores(answering: EditedModel | Backbone, prompts: list[str], **arguments: Any) -> list[torch.Tensor]:
    """Sequences and the scores of every step (a classifier: the logits), of an edited model or of a backbone."""
    backbone = answering.backbone if isinstance(answering, EditedModel) else answering
    ids, mask = backbone.pad(backbone.tokenize_prompts(prompts), backbone.padding_side)
    if backbone.task == "classification":
        if isinstance(answering, EditedModel):
            return [answering.generate(ids, mask)]
        with torch.no_grad():
            return [backbone.model(input_ids=ids, attention_mask=mask).logits]
    generate = answering.generate if isinstance(answering, EditedModel) else backbone.model.generate
    arguments = {"max_new_tokens": 8, "output_scores": True, "return_dict_in_generate": True} | arguments
    output = generate(
        input_ids=ids, attention_mask=mask, pad_token_id=backbone.pad_token_id, eos_token_id=[2], **arguments
    )
    return [output.sequences, *output.scores]


def same_bits(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def watch_queries(model: EditedModel, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The keys that the index is asked for from now on, a tensor a search."""
    seen: list[torch.Tensor] = []
    search = model._index.route

    def route(queries: torch.Tensor, **kwargs: Any) -> list[Route]:
        seen.append(queries.clone())
        return search(queries, **kwargs)

    monkeypatch.setattr(model._index, "route", route)
    return seen


def key_alone(backbone: Backbone, layer: str, ids: list[int]) -> torch.Tensor:
    """[d], by the definition: the key layer's output at the last token of the prompt, alone and without pads."""
    found: list[torch.Tensor] = []
    module = backbone.model.get_submodule(layer)
    handle = module.register_forward_hook(lambda m, a, out: found.append(out[0] if isinstance(out, tuple) else out))
    with torch.no_grad():
        reader = backbone.model.encoder if backbone.task == "seq2seq" else backbone.model.base_model
        reader(input_ids=torch.tensor([ids]))
    handle.remove()
    return found[0][0, -1].float()


def assert_same_keys(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to the rounding of a forward pass, by which the index takes two prompts for one."""
    assert found.shape == expected.shape
    apart = (found.double() - expected.double()).norm(dim=1) / expected.double().norm(dim=1)
    assert apart.max() <= COINCIDENT, f"keys differ by {apart.tolist()} of their norm"


def keys_table(model: EditedModel) -> dict[str, list[float]]:
    table = model.clusters.tables()[1]
    return dict(zip(table["edit_id"].to_pylist(), table["key"].to_pylist(), strict=True))


# 1. A key depends on its prompt alone


@pytest.mark.parametrize("family", EDITED)
def test_rule_1_a_key_depends_on_its_prompt_alone_in_training_and_in_every_batch(family: Family) -> None:
    model = taught(family)
    edits = edits_of(family)
    prompts = [edit.prompt for edit in edits] + OUTSIDE
    ids = model.backbone.tokenize_prompts(prompts)
    assert len({len(row) for row in ids}) > 3, "prompts of one length would need no pads"
    expected = torch.stack([key_alone(plain(family), model.recipe.key_layer, row) for row in ids])
    assert_same_keys(model.encoder.of(prompts), expected)
    assert_same_keys(model.encoder.of(prompts[::-1]), expected.flip(0))
    stored = keys_table(model)
    assert_same_keys(torch.tensor([stored[edit.edit_id] for edit in edits]), expected[: len(edits)])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", EDITED)
def test_rule_1_a_key_depends_on_its_prompt_alone_with_any_padding(
    family: Family, side: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = taught(family)
    rows = model.backbone.tokenize_prompts([prompt for prompt, _, _ in FACTS] + OUTSIDE)
    rows.append([*rows[0], *rows[1], *rows[2]])  # many pads in every other row
    ids, mask = model.backbone.pad(rows, side)
    expected = torch.stack([key_alone(plain(family), model.recipe.key_layer, row) for row in rows])
    seen = watch_queries(model, monkeypatch)
    arguments: dict[str, Any] = {} if model.backbone.task == "classification" else {"max_new_tokens": 3}
    model.generate(ids, mask, **arguments)
    assert_same_keys(seen[0], expected)


@pytest.mark.parametrize("family", ["t5", "gpt2", "llama"])
@pytest.mark.parametrize(
    "arguments",
    [{}, {"num_beams": 3}, {"num_beams": 4, "num_return_sequences": 2}, {"do_sample": True, "num_return_sequences": 3}],
    ids=["greedy", "beams", "beams returned", "samples"],
)
def test_rule_1_a_key_depends_on_its_prompt_alone_however_the_answer_is_found(
    family: Family, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = taught(family)
    prompts = [FACTS[0][0], OUTSIDE[0], FACTS[3][0], "Why?"]
    ids = model.backbone.tokenize_prompts(prompts)
    expected = torch.stack([key_alone(plain(family), model.recipe.key_layer, row) for row in ids])
    seen = watch_queries(model, monkeypatch)
    model.generate(prompts, max_new_tokens=5, **arguments)
    assert len(seen) == 1
    assert_same_keys(seen[0], expected)


@pytest.mark.parametrize("family", EDITED)
def test_rule_1_a_key_depends_on_its_prompt_alone_and_not_on_the_target(family: Family) -> None:
    prompt = FACTS[0][0]
    targets = ("sport", "food") if task_of(family) == "classification" else ("Paris", "the old museum in the spring")
    keys: list[list[float]] = []
    for target in targets:
        model = new_model(family)
        teach(model, [Edit(prompt, target)])
        keys.extend(keys_table(model).values())
    assert keys[0] == keys[1]


# 2. A request is routed once


@pytest.mark.parametrize("family", ["t5", "gpt2", "llama"])
@pytest.mark.parametrize(
    "arguments",
    [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}, {"num_beams": 2, "do_sample": True}],
    ids=["greedy", "beams", "samples", "sampled beams"],
)
def test_rule_2_a_request_is_routed_once_and_the_route_is_held_to_the_last_token(
    family: Family, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = taught(family)
    prompts = [OUTSIDE[0], FACTS[2][0], OUTSIDE[1], FACTS[4][0]]
    edited = [False, True, False, True]
    changed: list[list[bool]] = []  # for each pass through the last block module: which prompts' rows it changed

    def compare(module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        difference = (output != module.forward(args[0])).flatten(1).any(1)  # [rows]
        changed.append(difference.view(len(prompts), -1).any(1).tolist())

    seen = watch_queries(model, monkeypatch)
    handle = model.backbone.model.get_submodule(model.recipe.block_modules[-1]).register_forward_hook(compare)
    try:
        model.generate(prompts, min_new_tokens=12, max_new_tokens=12, **arguments)
    finally:
        handle.remove()
    assert len(seen) == 1
    assert len(changed) >= 12
    assert changed == [edited] * len(changed)


def test_rule_2_a_request_leaves_nothing_behind_even_when_it_fails() -> None:
    class Broken:
        def put(self, value: torch.Tensor) -> None:
            if value.numel() == 1:
                raise OSError("the client has gone")

        def end(self) -> None: ...

    model, prompt = taught("gpt2"), FACTS[0][0]
    with pytest.raises(OSError, match="the client has gone"):
        model.generate(prompt, streamer=Broken())
    ids, mask = model.backbone.pad(model.backbone.tokenize_prompts([prompt]), "left")
    with torch.no_grad():
        direct = model.backbone.model(input_ids=ids, attention_mask=mask).logits
        assert torch.equal(direct, plain("gpt2").model(input_ids=ids, attention_mask=mask).logits)
    assert model.generate(prompt) == FACTS[0][1]


# 3. Outside every scope the output is the backbone's, bit for bit


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", EDITED)
def test_rule_3_outside_every_scope_the_output_is_the_backbones_bit_for_bit(family: Family, dtype: torch.dtype) -> None:
    model = taught(family, dtype)
    assert [route.block for route in model.route(OUTSIDE)] == [None] * len(OUTSIDE)
    assert same_bits(scores(model, OUTSIDE), scores(plain(family, dtype), OUTSIDE))
    for prompt in OUTSIDE:
        assert same_bits(scores(model, [prompt]), scores(plain(family, dtype), [prompt]))


@pytest.mark.parametrize("family", ["t5", "gpt2", "llama"])
@pytest.mark.parametrize("arguments", [{"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}])
def test_rule_3_outside_every_scope_beams_and_samples_are_the_backbones_bit_for_bit(
    family: Family, arguments: dict[str, Any]
) -> None:
    found = []
    for answering in (taught(family), plain(family)):
        torch.manual_seed(7)
        found.append(scores(answering, OUTSIDE, **arguments))
    assert same_bits(*found)


@pytest.mark.parametrize("family", EDITED)
def test_rule_3_a_model_without_edits_and_a_closed_one_are_the_backbone(family: Family) -> None:
    model = new_model(family)
    prompts = [prompt for prompt, _, _ in FACTS]
    assert same_bits(scores(model, prompts), scores(plain(family), prompts))
    teach(model, edits_of(family)[:2])
    assert not same_bits(scores(model, prompts), scores(plain(family), prompts))
    model.close()
    assert same_bits(scores(model.backbone, prompts), scores(plain(family), prompts))
    assert not any(module._forward_hooks for module in model.backbone.model.modules())


@pytest.mark.parametrize("family", EDITED)
def test_rule_3_editing_leaves_the_backbones_weights_alone(family: Family) -> None:
    before, after = plain(family).model.state_dict(), taught(family).backbone.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(parameter.requires_grad for parameter in taught(family).backbone.model.parameters())


# 4. Growing never changes what exists


@pytest.mark.parametrize("family", EDITED)
def test_rule_4_growing_never_changes_what_exists(family: Family) -> None:
    model = new_model(family)
    old, new = edits_of(family)[:4], edits_of(family)[4:] + edits_of(family, MORE)
    teach(model, old)
    prompts = [edit.prompt for edit in old] + OUTSIDE
    ids, blocks = list(model.blocks.ids), model.blocks.gather(model.blocks.ids)
    routes, before = model.route(prompts), scores(model, prompts)
    for edit in new:
        teach(model, [edit])
    assert len(model.blocks) == len(ids) + len(new)
    assert model.route(prompts)[: len(old)] == routes[: len(old)]
    assert [route.block for route in model.route(OUTSIDE)] == [None] * len(OUTSIDE)
    assert same_bits(scores(model, prompts), before)
    after = model.blocks.gather(ids)
    assert all(torch.equal(a, b) for name in blocks for a, b in zip(blocks[name], after[name], strict=True))


def test_rule_4_there_is_no_preallocated_capacity() -> None:
    model = new_model("gpt2", edits_per_block=1)
    assert model.blocks.parameters == 0
    a_block = model.recipe.partial_rank * sum(i + o for i, o in model._lora.widths.values())
    for number, edit in enumerate(edits_of("gpt2"), start=1):
        teach(model, [edit])
        assert model.blocks.parameters == number * a_block


# 5. Labels are equal when their normalised text is equal; edits of one batch see each other


@pytest.mark.parametrize("target", ["Paris", " paris ", "PARIS", "\tParis\n", "Ｐａｒｉｓ"])
def test_rule_5_labels_are_equal_when_their_normalised_text_is_equal(target: str) -> None:
    assert Edit("Where?", target).label == Edit("Who?", "Paris").label
    assert Edit("  WHERE? ", target).edit_id == Edit("Where?", "Paris").edit_id
    assert Edit("Where?", target).label != Edit("Where?", "Pari s").label


def test_rule_5_equal_labels_share_a_cluster() -> None:
    model = new_model("t5", radius=HUGE)
    targets = ["Paris", " paris ", "PARIS"]
    edits = [Edit(prompt, target) for (prompt, _, _), target in zip(FACTS, targets, strict=False)]
    outcomes = teach(model, edits)
    assert [outcome.action for outcome in outcomes] == ["add", "expand", "expand"]
    assert {outcome.cluster for outcome in outcomes} == {0}
    assert [answer.casefold() for answer in answers(model, edits)] == ["paris"] * 3
    assert teach(model, [Edit(FACTS[0][0].upper(), "pArIs")])[0].steps == 0  # one it knows, in another spelling


@pytest.mark.parametrize("radius", [HUGE, None], ids=["all near", "all apart"])
@pytest.mark.parametrize("family", EDITED)
def test_rule_5_edits_of_one_batch_see_each_other(family: Family, radius: float | None) -> None:
    edits = edits_of(family)
    at_once, in_turn = new_model(family, radius=radius), new_model(family, radius=radius)
    together = teach(at_once, edits)
    apart = [outcome for edit in edits for outcome in teach(in_turn, [edit])]
    assert [(o.action, o.cluster) for o in together] == [(o.action, o.cluster) for o in apart]
    assert {o.action for o in together} > {"add"} if radius else {o.action for o in together} == {"add"}
    one, many = at_once.clusters.tables(), in_turn.clusters.tables()
    assert one[0]["label"] == many[0]["label"]
    for table, column in ((0, "centre"), (0, "radius"), (1, "key")):  # keys were read in other batches
        left, right = (torch.tensor(tables[table][column].to_pylist()) for tables in (one, many))
        assert_same_keys(left.view(len(left), -1), right.view(len(left), -1))


# 6. The index is a fold over the edit log and every block can be trained alone


@pytest.mark.parametrize("family", EDITED)
def test_rule_6_the_same_edits_give_the_same_digest(family: Family, tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        model = new_model(family)
        teach(model, edits_of(family))
        teach(model, edits_of(family, MORE))
        digests.add(model.save(tmp_path / name))
    assert len(digests) == 1


@pytest.mark.parametrize(("family", "workers"), [("t5", 3), ("gpt2", 1), ("gpt2", 3), ("llama", 2), ("bert", 3)])
def test_rule_6_any_number_of_trainers_in_any_order_make_the_same_version(
    family: Family, workers: int, tmp_path: Path
) -> None:
    # A block a unit, and too few iterations for some blocks: so there are units of later rounds.
    iterations = {"t5": 14, "gpt2": 8, "llama": 6, "bert": 30}[family]
    settings = SETTINGS.model_copy(update={"edits_per_step": 1, "iterations": iterations})
    edits = edits_of(family) + edits_of(family, MORE)
    alone = EditedModel.from_backbone(tiny(family), index="memory", settings=settings)
    teach(alone, edits)
    spread, *others = (
        EditedModel.from_backbone(tiny(family), index="memory", settings=settings) for _ in range(1 + workers)
    )
    crew, order, rounds = [other.trainer() for other in others], random.Random(workers), []
    plan = spread.plan(edits)
    while units := plan.curriculum.units():
        rounds.append(len(units))
        order.shuffle(units)
        trained = [crew[i % workers].train(unit) for i, unit in enumerate(units)]
        order.shuffle(trained)
        plan.curriculum.finish(trained)
    assert all(outcome.learned for outcome in spread.commit(plan))
    assert rounds[0] > 2
    assert len(rounds) > 1 or family == "bert"
    assert spread.save(tmp_path / "spread") == alone.save(tmp_path / "alone")


def test_rule_6_a_plan_is_for_the_version_that_it_was_made_for() -> None:
    model = new_model("gpt2")
    plan = model.plan(edits_of("gpt2"))
    assert (model.version, model.records) == (0, {})
    teach(model, edits_of("gpt2", MORE))
    with pytest.raises(EditError, match="made for version 0, but this is 1: plan again"):
        model.commit(plan)


def test_rule_6_a_unit_that_is_trained_again_after_a_crash_gives_the_same_bits() -> None:
    model = new_model("gpt2")
    prompts = model.backbone.tokenize_prompts([edit.prompt for edit in edits_of("gpt2")])
    targets = model.backbone.tokenize_targets([edit.target for edit in edits_of("gpt2")])
    lessons = [Lesson(str(i), tuple(p), tuple(t)) for i, (p, t) in enumerate(zip(prompts, targets, strict=True))]
    unit = Curriculum(lessons, 0, 2, 16, 24, 30).units()[0]
    trainer = Trainer(model.backbone, model._lora, model.recipe, 0, 0.3)
    first = trainer.train(unit)

    calls = 0

    def crash(module: torch.nn.Module, args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise MemoryError("killed in the third pass")

    handle = model.backbone.model.get_submodule(model.recipe.block_modules[0]).register_forward_pre_hook(crash)
    with pytest.raises(MemoryError):
        trainer.train(unit)
    handle.remove()
    again = trainer.train(unit)
    assert (again.steps, again.answers) == (first.steps, first.answers)
    for name in first.weights:
        assert all(torch.equal(a, b) for a, b in zip(first.weights[name], again.weights[name], strict=True))
    assert same_bits(scores(model, OUTSIDE), scores(plain("gpt2"), OUTSIDE))


# 7. Nothing is lost


@pytest.mark.parametrize("at_once", [True, False], ids=["one call", "a call each"])
@pytest.mark.parametrize("family", EDITED)
def test_rule_7_nothing_is_lost_in_conflicts(family: Family, at_once: bool) -> None:
    model = new_model(family, radius=HUGE)
    edits = edits_of(family) + edits_of(family, MORE)
    # Two edits of one label, then a third of another label between them: that pushes keys out.
    edits.insert(1, Edit("Who wrote the novel?", edits[0].target))
    for call in [edits] if at_once else [[edit] for edit in edits]:
        teach(model, call)
    assert "conflict" in {record.outcome.action for record in model.records.values()}
    assert {record.state for record in model.records.values()} == {"live"}
    assert len(model.records) == len(edits)
    assert answers(model, edits) == wanted(model, edits)


@pytest.mark.parametrize("at_once", [True, False], ids=["one call", "a call each"])
@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_rule_7_what_the_paper_drops_is_reported(family: Family, at_once: bool) -> None:
    model = new_model(family, radius=HUGE, conflicts="paper")
    label = "sport" if family == "bert" else "Paris"
    edits = [Edit(prompt, label) for prompt, _, _ in FACTS[:3]] + edits_of(family, MORE)
    for call in [edits] if at_once else [[edit] for edit in edits]:
        model.edit(call)
    records = [model.records[edit.edit_id] for edit in edits]
    assert any(record.state == "evicted" for record in records)
    claimed = [record.edit for record in records if record.state == "live" and record.outcome.learned]
    assert answers(model, claimed) == wanted(model, claimed)


@pytest.mark.parametrize("family", EDITED)
def test_rule_7_an_edit_that_is_not_learned_is_recorded_with_its_reason(family: Family) -> None:
    model = new_model(family, iterations=1, learning_rate=1e-9)
    edits = [edit for edit in edits_of(family) if answers(model, [edit]) != wanted(model, [edit])]
    assert edits
    outcomes = model.edit(edits)
    assert [(o.learned, o.action, o.cluster, o.block) for o in outcomes] == [(False, None, None, None)] * len(edits)
    for answer, edit, outcome in zip(said(model, edits), edits, outcomes, strict=True):
        reported = literal_eval(outcome.reason.partition("the last answer was ")[2])
        assert reported  # an examination ends a token after the longest target of its blocks
        assert answer.startswith(reported)
        assert model.records[edit.edit_id] == Record(edit, outcome, "failed", version=1)
    prompts = [edit.prompt for edit in edits]
    assert same_bits(scores(model, prompts), scores(plain(family), prompts))
    assert len(model.blocks) == 0


def said(model: EditedModel, edits: list[Edit]) -> list[str]:
    """Answers as long as an examination of these edits lets them be: the longest target with its end, and one more."""
    if model.backbone.task == "classification":
        return answers(model, edits)
    targets = model.backbone.tokenize_targets([edit.target for edit in edits], [edit.prompt for edit in edits])
    return list(model.generate([edit.prompt for edit in edits], max_new_tokens=max(map(len, targets)) + 1))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("conflicts", ["keep", "paper"])
def test_rule_7_whatever_is_claimed_holds_after_any_edits_corrections_and_undos(conflicts: str, seed: int) -> None:
    rng = random.Random(seed)
    model = new_model("bert", conflicts=conflicts, radius=(1.0, 3.0, 10.0)[seed])  # scopes that meet, overlap, cover
    sent: dict[str, Edit] = {}
    for _ in range(12):
        live = sorted(edit_id for edit_id, record in model.records.items() if record.state == "live")
        if live and rng.random() < 0.25:
            model.undo([rng.choice(live)])
        else:
            edits = [Edit(rng.choice(FACTS + MORE)[0], rng.choice(LABELS)) for _ in range(rng.choice([1, 1, 2, 3]))]
            call = {edit.edit_id: edit for edit in edits}
            model.edit(list(call.values()))
            sent |= call
        claimed = [r.edit for r in model.records.values() if r.state == "live" and r.outcome.learned]
        assert not claimed or answers(model, claimed) == wanted(model, claimed)
        assert model.records.keys() == sent.keys()
        if conflicts == "keep":
            assert all(r.outcome.learned and r.state != "evicted" for r in model.records.values())


@pytest.mark.parametrize("family", EDITED)
def test_the_latest_of_a_call_prevails_even_where_the_model_knew_it(family: Family, tmp_path: Path) -> None:
    model = new_model(family)
    known, other = ("sport", "music") if family == "bert" else ("Aldershore", "nobody")
    first, second = Edit("Who is the king?", known), Edit("Who is the king?", other)
    teach(model, [first])
    outcomes = teach(model, [second, first])
    assert [outcome.replaced for outcome in outcomes] == [(first.edit_id,), (second.edit_id,)]
    assert [model.records[edit.edit_id].state for edit in (first, second)] == ["live", "replaced"]
    assert model.generate([first.prompt]) == [known]
    model.save(tmp_path / "version")
    loaded = EditedModel.load(tmp_path / "version", backbone=model.backbone, index="memory")
    assert loaded.generate([first.prompt]) == [known]


def test_rule_7_a_superseded_edit_is_named() -> None:
    model = new_model("llama")
    (old,) = teach(model, [Edit(FACTS[0][0], "Paris")])
    (new,) = teach(model, [Edit(FACTS[0][0], "green")])
    assert (new.action, new.replaced) == ("replace", (old.edit_id,))
    assert model.records[old.edit_id].state == "replaced"
    assert model.records[new.edit_id].state == "live"


# 8. Versions are immutable and verified


@pytest.mark.parametrize("family", EDITED)
def test_rule_8_a_version_is_immutable_and_comes_back_bit_for_bit(family: Family, tmp_path: Path) -> None:
    model = taught(family)
    digest = model.save(tmp_path / "v")
    content = {path.name: path.read_bytes() for path in (tmp_path / "v").iterdir()}
    with pytest.raises(CheckpointError, match="never overwritten"):
        model.save(tmp_path / "v")
    assert {path.name: path.read_bytes() for path in (tmp_path / "v").iterdir()} == content

    loaded = EditedModel.load(tmp_path / "v", backbone=tiny(family), index="memory")
    prompts = [prompt for prompt, _, _ in FACTS] + OUTSIDE
    assert same_bits(scores(loaded, prompts), scores(model, prompts))
    assert loaded.records == model.records
    assert loaded.save(tmp_path / "again") == digest


def test_rule_8_a_changed_a_truncated_and_a_foreign_version_are_refused(tmp_path: Path) -> None:
    model, folder = taught("gpt2"), tmp_path / "v"
    model.save(folder)
    content = (folder / KEYS).read_bytes()
    entry = Manifest.model_validate_json((folder / MANIFEST).read_bytes()).files[KEYS]

    (folder / KEYS).write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match=f"{KEYS} has {entry.bytes - 1} bytes, expected {entry.bytes}"):
        EditedModel.load(folder, backbone=tiny("gpt2"), index="memory")
    (folder / KEYS).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    with pytest.raises(CheckpointError, match=rf"{KEYS} was changed: .*[0-9a-f]{{64}}, expected {entry.sha256}"):
        EditedModel.load(folder, backbone=tiny("gpt2"), index="memory")
    (folder / KEYS).write_bytes(content)
    other = tiny("gpt2", seed=1)
    with pytest.raises(CheckpointError, match=f"{model.backbone.digest}, but tiny-gpt2 .* has {other.digest}"):
        EditedModel.load(folder, backbone=other, index="memory")
    assert EditedModel.load(folder, backbone=tiny("gpt2"), index="memory").generate(FACTS[0][0]) == FACTS[0][1]


class Trap:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (TRAP,)


TRAP = "sprung"


def test_rule_8_no_pickle_is_ever_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    taught("gpt2").save(tmp_path / "v")
    torch.save({"blocks": Trap()}, tmp_path / "v" / BLOCKS)
    files = [tmp_path / "v" / BLOCKS]
    plain_pickle = tmp_path / "plain"
    plain_pickle.write_bytes(pickle.dumps(Trap()))
    for content in (files[0].read_bytes(), plain_pickle.read_bytes()):
        files[0].write_bytes(content)
        list_as_ours(tmp_path / "v", BLOCKS)  # whoever can write the blocks can write the manifest
        with pytest.raises(CheckpointError, match="is not safetensors"):
            EditedModel.load(tmp_path / "v", backbone=tiny("gpt2"), index="memory")
    assert not (tmp_path / TRAP).exists()
    with pytest.raises(FileExistsError):  # the trap does work
        for _ in range(2):
            pickle.loads(plain_pickle.read_bytes())


def list_as_ours(folder: Path, name: str) -> None:
    """Enters the file into the manifest as it is now."""
    content = (folder / name).read_bytes()
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    entry = FileEntry(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    manifest = manifest.model_copy(update={"files": manifest.files | {name: entry}})
    manifest = manifest.model_copy(update={"digest": manifest.computed_digest()})
    (folder / MANIFEST).write_text(manifest.model_dump_json())


@pytest.mark.parametrize("family", EDITED)
def test_rule_8_undoing_removes_the_key_and_makes_a_new_version(family: Family, tmp_path: Path) -> None:
    model, edits = new_model(family), edits_of(family)
    teach(model, edits)
    before = model.save(tmp_path / "before")
    gone, kept = edits[2], edits[:2] + edits[3:]
    kept_prompts = [edit.prompt for edit in kept]
    kept_scores = scores(model, kept_prompts)
    version = model.version

    model.undo([gone.edit_id])
    assert model.version == version + 1
    assert gone.edit_id not in keys_table(model)
    assert model.records[gone.edit_id].state == "undone"
    assert same_bits(scores(model, [gone.prompt]), scores(plain(family), [gone.prompt]))
    assert same_bits(scores(model, kept_prompts), kept_scores)
    assert model.save(tmp_path / "after") != before
    earlier = EditedModel.load(tmp_path / "before", backbone=tiny(family), index="memory")
    assert answers(earlier, edits) == wanted(earlier, edits)
    later = EditedModel.load(tmp_path / "after", backbone=tiny(family), index="memory")
    assert same_bits(scores(later, [gone.prompt]), scores(plain(family), [gone.prompt]))


# 9. Every step can be run again


@pytest.mark.parametrize("family", EDITED)
def test_rule_9_an_edit_can_be_sent_again(family: Family, tmp_path: Path) -> None:
    model, edits = new_model(family), edits_of(family)
    first = teach(model, edits)
    digest, version = model.save(tmp_path / "one"), model.version
    again = teach(model, edits)
    assert again == [replace(outcome, steps=0) for outcome in first]
    assert model.version == version
    assert model.save(tmp_path / "two") == digest


@pytest.mark.parametrize("home", ["memory", "edge"])
def test_rule_9_every_delta_can_be_applied_again(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model("gpt2", index="memory" if home == "memory" else tmp_path / "edge", radius=HUGE)
    deltas: list[Delta] = []
    apply = model._index.apply

    def keep(delta: Delta) -> None:
        deltas.append(delta)
        apply(delta)

    monkeypatch.setattr(model._index, "apply", keep)
    edits = edits_of("gpt2")
    for edit in edits:
        teach(model, [edit])
    model.undo([edits[1].edit_id])
    assert any(delta.gone_clusters or delta.gone_keys for delta in deltas)
    prompts = [edit.prompt for edit in edits] + OUTSIDE
    routes, count = model.route(prompts), model._index.count()
    apply(deltas[-1])
    assert (model.route(prompts), model._index.count()) == (routes, count)
    for delta in deltas:  # a journal that is replayed from its beginning
        apply(delta)
    assert (model.route(prompts), model._index.count()) == (routes, count)
    model.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_rule_9_an_index_that_fails_in_the_middle_is_caught_up(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits, correction = edits_of("gpt2"), Edit(FACTS[0][0], "colour")
    steady, shaken = new_model("gpt2", edits_per_block=1), new_model("gpt2", edits_per_block=1)
    for model in (steady, shaken):
        teach(model, edits)
    teach(steady, [correction])

    fail_once(shaken, when, monkeypatch)
    with pytest.raises(ConnectionError, match="the index is gone"):
        shaken.edit([correction])
    asked = [correction, *edits[1:]]
    assert answers(shaken, asked) == wanted(shaken, asked)
    teach(shaken, [correction])
    assert shaken.blocks.ids == steady.blocks.ids
    assert shaken.save(tmp_path / "shaken") == steady.save(tmp_path / "steady")


@pytest.mark.parametrize("when", ["before", "after"])
def test_rule_9_an_undo_that_fails_in_the_middle_is_caught_up(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits = edits_of("gpt2")
    steady, shaken = new_model("gpt2"), new_model("gpt2")
    for model in (steady, shaken):
        teach(model, edits)
    steady.undo([edits[0].edit_id])
    fail_once(shaken, when, monkeypatch)
    with pytest.raises(ConnectionError, match="the index is gone"):
        shaken.undo([edits[0].edit_id])
    prompts = [edit.prompt for edit in edits]
    assert same_bits(scores(shaken, prompts), scores(steady, prompts))
    assert same_bits(scores(shaken, prompts[:1]), scores(plain("gpt2"), prompts[:1]))
    assert shaken.save(tmp_path / "shaken") == steady.save(tmp_path / "steady")


def fail_once(model: EditedModel, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next ``apply`` of the index raises, before or after it has done its work."""
    apply, left = model._index.apply, 1

    def flaky(delta: Delta) -> None:
        nonlocal left
        fails, left = left > 0, 0
        if not fails or when == "after":
            apply(delta)
        if fails:
            raise ConnectionError("the index is gone")

    monkeypatch.setattr(model._index, "apply", flaky)
