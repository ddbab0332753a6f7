"""Other wordings: of the edit alone, in every block's training, and what they buy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.bench.blocks import own_answers
from pipeline.editing.batches import collate
from pipeline.editing.curriculum import Lesson
from pipeline.editing.edit import Edit
from pipeline.editing.loading import load_backbone
from pipeline.editing.model import EditedModel
from pipeline.editing.readout import Readout
from pipeline.editing.recipe import RecipeError
from pipeline.editing.spelling import ORDINARY
from pipeline.editing.wordings import FEWEST, MOST, reworded, wordings, words_of
from pipeline.evaluation.asking import BackboneAnswers
from pipeline.settings import EditingSettings, Task
from tests.editing.edited import new_model
from tests.editing.tiny import Family

WORDS = ["red", "house", "from", "seven", "winter"]


@pytest.mark.parametrize("task", ["seq2seq", "causal"])
def test_wordings_come_of_the_edit_alone_and_mostly_stand_behind_other_text(task: Task) -> None:
    prompt, subject = "Who founded Acme Corp last year?", "Acme Corp"
    drawn = partial(wordings, prompt=prompt, subject=subject, task=task, words=WORDS)
    found = drawn("ab", count=10)
    behind = [text for place, text in enumerate(found) if place % 5 in (0, 2, 4)]
    for text in (*behind, found[1]):
        before, _, after = text.partition(". ")
        assert FEWEST <= len(before.split()) <= MOST and set(before.lower().split()) <= set(WORDS)
        assert (after == prompt) == (text in behind)
    assert subject in found[1] and subject in found[3] and prompt not in found[3]
    assert len(set(behind)) == 6  # never the same
    assert drawn("ab", count=3) == found[:3] and drawn("cd", count=10) != found
    assert all(wordings("ab", "x", "", task, WORDS, 10))  # no subject, one word


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_words_are_whole_ones_of_the_vocabulary(family: Family) -> None:
    model = new_model(family)
    tokenizer = model.backbone.tokenizer
    words = words_of(tokenizer.get_vocab())
    assert words and all(tokenizer.tokenize(f"a {word}")[-1][1:] == word for word in words)  # a token each
    model.close()


def test_words_come_by_their_tokens_and_are_plain_english_where_none_is_marked() -> None:
    assert words_of({"Ġwinter": 7, "Ġred": 3, "red": 1, "Ġa": 2, "Ġ1847": 4, "": 0}) == ["red", "winter"]
    assert words_of({"a": 0, "##b": 1, "red": 2}) == sorted(ORDINARY)


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


def test_rephrases_are_answered_right_by_blocks_that_were_taught_other_wordings(
    shared_model: Callable[[str], Path], shared_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    backbone = load_backbone(str(shared_model("gpt2-counterfact")))
    rows = shared_rows("counterfact")[:16]
    edits = [Edit(row["prompt"], row["target"], tuple(row["rephrases"]), subject=row["subject"]) for row in rows]
    right = []
    for count in (0, 10):
        settings = EditingSettings(edits_per_block=1, margin=5.0, wordings=count)
        with closing(EditedModel.from_backbone(backbone, settings=settings, index="memory")) as model:
            assert sum(outcome.learned for outcome in model.edit(edits)) >= 15
            right.append(sum(own_answers(model, edits, BackboneAnswers(backbone))))
    without, with_wordings = right  # the rephrases stand behind a sentence that has nothing to do with them
    assert without <= 8 and with_wordings >= 11
