"""Other wordings: of the edit alone, in every block's training, and what they buy."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.editing.batches import collate
from pipeline.editing.curriculum import Lesson
from pipeline.editing.edit import Edit
from pipeline.editing.readout import Readout
from pipeline.editing.recipe import RecipeError
from pipeline.editing.wordings import ELSEWHERE, SENTENCES, reworded, wordings
from pipeline.settings import Task
from tests.editing.edited import new_model
from tests.editing.tiny import Family


@pytest.mark.parametrize("task", ["seq2seq", "causal"])
def test_wordings_come_of_the_edit_alone_by_turns(task: Task) -> None:
    prompt, subject = "Who founded Acme Corp last year?", "Acme Corp"
    after, general, cut, other, both = wordings("ab", prompt, subject, task, 5)
    assert after in [f"{sentence} {prompt}" for sentence in SENTENCES]
    assert subject in general and subject in both and both.startswith(SENTENCES)
    assert prompt.startswith(f"{cut} ")
    assert other in ELSEWHERE[task]
    assert wordings("ab", prompt, subject, task, 7)[:5] == [after, general, cut, other, both]
    assert wordings("cd", prompt, subject, task, 7) != wordings("ab", prompt, subject, task, 7)
    assert all(wordings("ab", "x", "", task, 10))  # no subject, one word


def test_long_targets_and_classes_have_none_and_what_does_not_fit_is_the_prompt() -> None:
    model = new_model("gpt2", wordings=4, long_target=3, edits_per_block=1)
    limit = model.backbone.max_prompt_tokens
    assert limit is not None
    edits = [Edit("a b c", "x"), Edit("a b c", "y"), Edit("a b c", "z")]
    lessons = [
        Lesson("short", (5, 6), (7, 1)),
        Lesson("long", (5, 6), (7, 8, 9, 1)),
        Lesson("full", (5,) * (limit - 2), (7, 1)),
    ]
    short, long, full = reworded(lessons, edits, model.backbone, model.recipe)
    assert len(short.wordings) == 4 and short.rows == ((5, 6), *short.wordings)
    assert long.wordings == ()
    assert len(full.wordings) == 4
    assert all(len(row) + 2 <= limit for row in full.rows)
    assert reworded(lessons, edits, model.backbone, replace(model.recipe, wordings=0)) == lessons
    bert = new_model("bert", wordings=4, edits_per_block=1)
    assert reworded(lessons, edits, bert.backbone, bert.recipe) == lessons


def test_a_block_of_several_edits_has_none() -> None:
    with pytest.raises(RecipeError, match="set edits_per_block to 1"):
        new_model("gpt2", wordings=1)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_a_block_is_trained_in_all_and_asked_its_prompt(family: Family) -> None:
    model = new_model(family, wordings=3, edits_per_block=1, iterations=100, margin=2.0)
    plan = model.plan([Edit("who founded Acme?", "Ada"), Edit("where is Rome?", "1847"), Edit("what is it?", "green")])
    units, trainer = plan.curriculum.units(), model.trainer()
    for unit in units:
        trained = trainer.train(unit)
        assert not trained.answers  # said by free generation, asked of the prompt
        rows = [row for lesson in unit.lessons[0] for row in lesson.rows]
        assert len(rows) == 4 * len(unit.lessons[0])
        with model._lora.request(), torch.no_grad():
            model._lora.activate(trained.weights, None, len(unit.blocks), model.backbone.dtype)
            batch = collate(model.backbone, unit.lessons, None)
            hidden = batch.pick(model.backbone.model(**batch.inputs, use_cache=False).logits)
            leads = Readout(None).leads(hidden, batch.targets, extend=False)
        assert max(trained.steps) < unit.iterations and (leads > 2.0 - 1e-3).all()  # in every wording, every token
    model.close()


def test_a_lead_that_is_given_has_to_be_earned() -> None:
    logits, targets = torch.tensor([[3.0, 0.0, -1.0]]), torch.tensor([0])
    loss, lead = Readout(None).losses(logits, targets, given=torch.tensor([2.0]))
    torch.testing.assert_close(lead, torch.tensor([1.0]))
    torch.testing.assert_close(loss, Readout(None).losses(logits - torch.tensor([2.0, 0, 0]), targets)[0])
