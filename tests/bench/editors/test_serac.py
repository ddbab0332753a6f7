"""SERAC: who is asked what, what training is for, and edits of tiny models."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.bench.editors import serac
from pipeline.bench.editors.protocol import Prior
from pipeline.bench.editors.serac import Serac, SeracSettings
from pipeline.bench.editors.serac_scope import ScopeClassifier, ScopeSettings, last_layers, scope_loss, train_until
from pipeline.editing.answering import free_answers, says
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit
from pipeline.editing.forced import teacher_forced
from pipeline.settings import Task
from tests.bench.editors.small import without_dropout
from tests.editing.tiny import LABELS, POSITIONS, Family, task_of

Build = Callable[[Family], Backbone]
WORDS = ("river", "winter", "bridge", "museum", "treaty", "orchard", "harbour", "lantern", "village", "desert")
ANSWERS: dict[Task, tuple[str, ...]] = {"seq2seq": ("b", "c"), "causal": ("b", "c"), "classification": LABELS[:2]}
SCOPE = ScopeSettings(steps=40, rate=1e-3)
QUICK: dict[str, SeracSettings] = {
    "t5": SeracSettings(steps=80, rate=1e-2, swapped=1.0, scope=SCOPE),
    "gpt2": SeracSettings(steps=200, rate=1e-2, swapped=1.0, scope=SCOPE, patience=10),
    "bert": SeracSettings(steps=400, rate=3e-3, batch=24, swapped=1.0, scope=SCOPE, patience=20, enough=0.0),
}

SURE: dict[str, SeracSettings] = {
    "t5": QUICK["t5"],
    "gpt2": replace(QUICK["gpt2"], steps=400, batch=24, patience=40, enough=0.0),
    "bert": replace(QUICK["bert"], steps=600, patience=40),
}
"""Long enough that whether every edit is read does not hang on how a processor rounds."""


def pairs_for(family: Family, first: int = 0, count: int = 24) -> list[Edit]:
    answers = ANSWERS[task_of(family)]
    return [
        Edit(
            f"{WORDS[i % 10]} {i}?",
            answers[i % 2],
            (f"the {WORDS[i % 10]} {i}?",),
            (f"When was the {WORDS[(i + 3) % 10]} built?",),
        )
        for i in range(first, first + count)
    ]


@pytest.mark.parametrize("family", ["t5", "gpt2", "bert"])
def test_it_learns_and_the_backbone_stays(family: Family, backbone: Build) -> None:
    model, edits = without_dropout(backbone(family)), pairs_for(family, first=50, count=6)
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    answers = ANSWERS[task_of(family)]
    editor = Serac(model, Prior(tuple(pairs_for(family, count=40))), SURE[family])
    editor.prepare()
    assert editor.losses["scope"][1] < editor.losses["scope"][0]
    assert editor.losses["counterfactual"][1] < editor.losses["counterfactual"][0]
    turned = [Edit(edit.prompt, answers[1 - answers.index(edit.target)]) for edit in edits]
    for chosen in (edits, turned):  # of equal prompts the latest edit prevails, and its text is what is answered
        editor.edit(chosen)
        told = editor.answer([edit.prompt for edit in chosen], 4)
        wanted = model.tokenize_targets([edit.target for edit in chosen], [edit.prompt for edit in chosen])
        assert [says(model, said, target) for said, target in zip(told, wanted, strict=True)] == [True] * 6
    asked = editor.forced([edit.prompt for edit in turned], [edit.target for edit in turned])
    assert asked.said == asked.wanted
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.model.state_dict().items())


def test_an_edits_own_prompt_goes_to_the_counterfactual_model_with_that_edit(backbone: Build) -> None:
    model = backbone("t5")
    editor = Serac(model, Prior())
    edits = [Edit("Who saw the river?", "Anna"), Edit("When was the museum built?", "1847")]
    assert [part.rows for part in editor.parts(["Who saw the river?"]) if part.rows] == [[0]]
    assert editor.parts(["Who saw the river?"])[0].backbone is model
    editor.edit(edits)
    other = "My sister's colour is green."
    outside, inside = editor.parts([other, "When was the museum built?"])
    assert (outside.backbone, list(outside.rows), list(outside.prompts)) == (model, [0], [other])
    assert (inside.backbone, list(inside.rows)) == (editor.counterfactual, [1])
    assert inside.prompts[0] == "When was the museum built? 1847 When was the museum built?"


def test_outside_of_every_scope_the_backbone_answers_bit_for_bit(backbone: Build) -> None:
    model = backbone("gpt2")
    editor = Serac(model, Prior())
    editor.edit([Edit("Who saw the river?", "Anna")])
    others, targets = ["1847 1847 1847", "green, green"], ["Paris", "the museum"]
    assert editor.parts([*others, "Who saw the river?"])[0].rows == [0, 1]
    assert torch.equal(editor.forced(others, targets).nll, teacher_forced(model, others, targets).nll)
    assert editor.answer(others, 5) == free_answers(model, model.tokenize_prompts(others), 4)


def test_the_latest_edit_of_a_prompt_prevails_and_takes_no_more_room(backbone: Build) -> None:
    editor = Serac(backbone("t5"), Prior())
    editor.edit([Edit("Who saw the river?", "Anna")])
    before = editor.size()
    editor.edit([Edit("who saw  the river?", "Olga"), Edit("Who saw the river?", "Bert")])
    (part,) = [part for part in editor.parts(["Who saw the river?"]) if part.rows]
    assert part.prompts == ["Who saw the river? Bert Who saw the river?"]
    tokens = len(editor.backbone.tokenizer("Bert", add_special_tokens=False)["input_ids"])
    assert editor.size() - before == tokens - len(
        editor.backbone.tokenizer("Anna", add_special_tokens=False)["input_ids"]
    )


def test_the_loss_is_binary_cross_entropy_of_the_hardest() -> None:
    probabilities = torch.tensor([[0.9, 0.2, 0.4], [0.3, 0.1, 0.6]])
    inside = torch.tensor([[True, False, False], [False, False, False]])
    wanted = -torch.log(torch.tensor(0.9)) - (torch.log(torch.tensor(1 - 0.4)) + torch.log(torch.tensor(1 - 0.6))) / 2
    assert scope_loss(-probabilities.log(), inside, hardest=1).item() == pytest.approx(wanted.item(), rel=1e-5)
    alone = torch.tensor([[True]])
    assert scope_loss(torch.tensor([[0.5]]), alone, hardest=4).item() == 0.5  # nothing lies outside


def test_training_lowers_the_scope_loss_of_pairs_that_it_never_saw(minilm: Path, backbone: Build) -> None:
    pairs = pairs_for("t5")
    settings = ScopeSettings(steps=10, layers=1, batch=4)
    made = []
    for _ in range(2):
        classifier = ScopeClassifier(backbone("t5"), minilm, settings)
        losses = classifier.train(pairs[6:], pairs[:6], ["Who lit the lantern?"], random.Random(3))
        assert losses[1] < losses[0]
        made.append(classifier.embed(["Who saw the river?"]))
    assert torch.equal(*made)
    frozen = classifier._encoder.parameters
    assert classifier.size == frozen + classifier.projection.numel()


def test_only_the_last_layers_are_trained() -> None:
    names = ["embeddings.weight", "encoder.layer.0.a.1.weight", "encoder.layer.1.a.weight", "encoder.layer.10.a.weight"]
    assert last_layers(names, 1) == ["encoder.layer.10.a.weight"]
    assert last_layers(names, 10) == names[2:]
    assert last_layers(["head.weight"], 2) == []


@pytest.mark.parametrize("family", ["gpt2", "bert", "t5"])
def test_long_texts_are_shortened_and_the_target_stays(family: Family, backbone: Build) -> None:
    model = backbone(family)
    editor = Serac(model, Prior())
    long = "The treaty was signed in the spring. " * 4
    text = editor.in_context(Edit(long, LABELS[0]), f"My sister asks: {long} Who?")
    assert len(model.tokenize_prompts([text])[0]) <= min(editor.settings.context_tokens, POSITIONS)
    assert LABELS[0] in text
    assert text.endswith("Who?") if family == "gpt2" else "My sister asks" in text.replace("my sister", "My sister")
    short = editor.in_context(Edit("Who?", "Anna"), "Who then?")
    assert short == "Who? Anna Who then?"


def test_a_causal_answer_always_finds_room(backbone: Build) -> None:
    editor = Serac(backbone("gpt2"), Prior())
    prompt = "The old museum moved to its new building " * 3
    editor.edit([Edit(prompt, "in the spring of 1847")])
    assert len(editor.answer([prompt], 40)[0]) <= 40
    assert len(editor.forced([prompt], ["in the spring " * 4]).said[0]) > 20


def test_without_pairs_upstream_answers_are_what_it_learns_from(backbone: Build) -> None:
    upstream = tuple((f"Who saw the {word}?", "b") for word in WORDS)
    settings = SeracSettings(steps=20, scope=ScopeSettings(steps=20))
    editor = Serac(backbone("gpt2"), Prior(upstream=upstream), settings)
    editor.prepare()
    assert editor.losses["counterfactual"][1] < editor.losses["counterfactual"][0]
    nothing = Serac(backbone("gpt2"), Prior())
    nothing.prepare()
    assert nothing.losses == {}


def test_the_same_seed_gives_the_same_models_and_leaves_the_random_state(backbone: Build) -> None:
    made: list[tuple[torch.Tensor, ...]] = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(made))
        state = torch.get_rng_state()
        settings = SeracSettings(steps=10, scope=ScopeSettings(steps=10))
        editor = Serac(backbone("bert"), Prior(tuple(pairs_for("bert")), seed=seed), settings)
        editor.prepare()
        assert torch.equal(torch.get_rng_state(), state)
        made.append((editor.classifier.projection, *editor.counterfactual.model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(made[0], made[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(made[0], made[2], strict=True))


def test_training_stops_when_the_held_out_loss_is_low_enough() -> None:
    weight = torch.nn.Parameter(torch.tensor(1.0))
    falling = iter([1.0, 0.5, 0.1, 0.01, 0.001])
    adam = torch.optim.Adam([weight], lr=1e-3)
    first, best = train_until(adam, lambda: weight**2, lambda: next(falling), steps=1000, patience=5, enough=0.05)
    assert (first, best, next(falling)) == (1.0, 0.01, 0.001)


@pytest.mark.parametrize(("width", "rate"), [(32, 3e-3), (256, 1e-4)])
def test_pretrained_models_are_taught_at_a_lower_rate(
    width: int, rate: float, backbone: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []

    def stop(adam: torch.optim.Adam, *_: object) -> tuple[float, float]:
        rates.append(adam.param_groups[0]["lr"])
        return 0.0, 0.0

    model = backbone("bert")
    monkeypatch.setattr(model.model.config, "hidden_size", width)
    editor = Serac(model, Prior(tuple(pairs_for("bert"))), SeracSettings(pairs=4))
    monkeypatch.setattr(serac, "train_until", stop)
    monkeypatch.setattr(editor.classifier, "train", lambda *_: (0.0, 0.0))
    editor.prepare()
    assert rates == [rate]
