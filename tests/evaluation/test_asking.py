"""Asking a version: what it says, what its backbone says, and that slicing the questions makes no difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
import torch

from pipeline.editing.answering import free_answers
from pipeline.editing.edit import Edit, Route
from pipeline.editing.model import EditedModel
from pipeline.evaluation import ask, asking, questions
from pipeline.evaluation.generation import BATCH, BATCH_TOKENS, batches
from schemas.answers import ANSWERS
from tests.editing.edited import new_model, teach, tiny
from tests.editing.tiny import POSITIONS
from tests.evaluation.conftest import Asked
from tests.evaluation.tables import reports

NUMBERS = ("f1", "base_f1", "nll", "base_nll", "distance", "radius")


def kind(table: pa.Table, name: str) -> list[dict[str, Any]]:
    return [row for row in table.to_pylist() if row["kind"] == name]


def test_every_question_gets_a_row_in_its_place(asked: Asked) -> None:
    assert asked.answers.schema.equals(ANSWERS, check_metadata=True)
    columns = [name for name in asked.questions.schema.names if name != "version"]
    assert asked.answers.select(columns).equals(asked.questions.select(columns))
    assert min(asked.answers["seconds"].to_pylist()) > 0


def test_edits_are_said_by_their_blocks(asked: Asked) -> None:
    rows = kind(asked.answers, "edit")
    assert [row["exact_match"] for row in rows] == [1.0] * 3
    assert [row["routed_edit"] for row in rows] == [edit.edit_id for edit in asked.edits]
    assert [row["version"] for row in rows] == [1, 1, 2]
    assert [row["answer"].lower() for row in rows] == [edit.target.lower() for edit in asked.edits]
    assert [row["answer"] for row in rows] == asked.model.generate([edit.prompt for edit in asked.edits])
    assert sum(row["base_exact_match"] for row in rows) < 3


def test_outside_every_scope_the_answer_is_the_backbones(asked: Asked) -> None:
    rows = [*kind(asked.answers, "locality"), *kind(asked.answers, "upstream")]
    assert [row["block"] for row in rows] == [None] * 8
    assert [row["answer"] for row in rows] == [row["base_answer"] for row in rows]
    assert [row["exact_match"] for row in rows] == [row["base_exact_match"] for row in rows]
    assert [row["nll"] for row in rows] == [row["base_nll"] for row in rows]
    backbone = asked.model.backbone
    for row in rows[:2]:
        (alone,) = free_answers(backbone, backbone.tokenize_prompts([row["prompt"]]), 15)  # 16 tokens with the slack
        assert row["base_answer"] == backbone.decode_answer(alone)


def test_what_nobody_expected_is_not_scored(asked: Asked) -> None:
    for row in asked.answers.to_pylist():
        measured = {
            name
            for name in ("exact_match", "f1", "nll", "base_exact_match", "base_f1", "base_nll")
            if row[name] is not None
        }
        if row["expected"] is None:
            assert measured == set()
        else:
            assert {"exact_match", "base_exact_match"} <= measured
            assert ("f1" in measured) == (asked.model.backbone.task != "classification")
            assert ("nll" in measured) == (asked.model.backbone.task == "causal")


def test_slices_give_the_same_rows(asked: Asked) -> None:
    sizes = (1, 2, 7)
    for size in sizes:
        parts = [asked.questions.slice(start, size) for start in range(0, len(asked.questions), size)]
        sliced = pa.concat_tables([ask(asked.model, part) for part in parts])
        for one, other in zip(sliced.to_pylist(), asked.answers.to_pylist(), strict=True):
            for name in set(ANSWERS.names) - {"seconds"}:
                if name in NUMBERS and other[name] is not None:
                    assert one[name] == pytest.approx(other[name], rel=1e-4, abs=1e-4), name
                else:
                    assert one[name] == other[name], name


def test_no_questions_no_answers(asked: Asked) -> None:
    assert ask(asked.model, asked.questions.slice(0, 0)).equals(asked.answers.slice(0, 0))
    with pytest.raises(ValueError, match="expected"):
        ask(asked.model, asked.questions.drop_columns(["expected"]))


def test_a_question_that_does_not_fit_costs_its_own_row_only() -> None:
    model = new_model("gpt2", radius=1e-3)
    edit = Edit("The capital is", "Aldershore", rephrases=("", "the " * POSITIONS), locality=("The spring",))
    teach(model, [edit])
    upstream = [("One " * POSITIONS, "two"), ("One", "two " * POSITIONS), ("One", "two")]
    rows = ask(model, questions(reports([edit]), upstream)).to_pylist()
    model.close()
    assert [row["answer"] is not None for row in rows] == [True, False, False, True, False, False, True]
    assert rows[0]["exact_match"] == 1.0
    measured = ("base_answer", "exact_match", "f1", "nll", "block", "seconds")
    assert {row[name] for row in rows if row["answer"] is None for name in measured} == {None}


@pytest.mark.parametrize("inside", [True, False])
def test_a_backbones_continuation_counts_as_far_as_the_expected_one_goes(
    monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    """What a block says was taught with its end, so there a run-on is a mistake."""
    model = new_model("gpt2", radius=1e-3)
    edit = Edit("The treaty was signed by", "three ministers")
    teach(model, [edit])
    prompt = edit.prompt if inside else "Who signed the treaty? Signed by"
    (said,) = model.backbone.tokenize_targets(["three ministers in the spring"], [prompt])
    monkeypatch.setattr(model, "answer", lambda prompts, new_tokens: [said])
    monkeypatch.setattr(asking, "backbone_answers", lambda backbone, prompts, new_tokens: [said])
    (row,) = ask(model, questions(reports([]), [(prompt, "three ministers")])).to_pylist()
    model.close()
    assert (row["block"] is not None) == inside
    assert row["base_exact_match"] == row["base_f1"] == 1.0
    assert row["exact_match"] == (0.0 if inside else 1.0)
    assert row["answer"].startswith("three ministers ") and row["answer"] != "three ministers in the spring"  # cut


@pytest.mark.parametrize("family", ["gpt2", "t5", "bert"])
def test_score_is_the_likelihood_under_the_route_of_the_prompt_alone(family: Any) -> None:
    model = new_model(family, radius=1e-3)
    classes = family == "bert"
    edit = Edit("The capital of the north is", "politics" if classes else "Aldershore")
    teach(model, [edit])
    prompts = [edit.prompt, "The treaty was signed by three"]
    targets = ["politics", "sport"] if classes else [edit.target, "ministers in the spring"]
    together = model.forced(prompts, targets).nll
    alone = torch.cat([model.forced([prompt], [target]).nll for prompt, target in zip(prompts, targets, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert together.shape == (2,) and together[0] < 1.0  # taught
    model.undo([edit.edit_id])
    before = model.forced(prompts, targets).nll
    model.close()
    assert before[0] > together[0] + 1.0
    torch.testing.assert_close(before[1:], together[1:], rtol=0, atol=1e-5)  # never had a block


def test_score_of_a_causal_model_worked_out_token_by_token() -> None:
    model = new_model("gpt2")
    backbone = model.backbone
    prompt, target = "The capital is", "Aldershore"
    (ids,), (wanted,) = backbone.tokenize_prompts([prompt]), backbone.tokenize_targets([target], [prompt])
    seen, losses = list(ids), []
    for token in wanted[:-1]:  # without the end
        logits = backbone.model(input_ids=torch.tensor([seen])).logits[0, -1]
        losses.append(-logits.log_softmax(-1)[token].item())
        seen.append(token)
    short = model.forced([prompt, "The treaty was signed in the spring of 1847 by"], [target, "three ministers"]).nll
    model.close()
    assert short[0].item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_batches_hold_every_prompt_once_and_keep_to_their_bounds() -> None:
    backbone = tiny("gpt2")
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, POSITIONS - 40, (300,), generator=generator).tolist()
    rooms = torch.randint(1, 40, (300,), generator=generator).tolist()
    prompts = [[5] * length for length in lengths]
    found = list(batches(backbone, prompts, rooms))
    assert sorted(i for batch in found for i in batch) == list(range(300))
    for batch in found:
        width = max(lengths[i] for i in batch) + max(rooms[i] for i in batch)
        assert len(batch) <= BATCH and width <= POSITIONS and width * len(batch) <= BATCH_TOKENS
    assert list(batches(backbone, [[5] * BATCH_TOKENS], [8])) == [[0]]
    assert list(batches(backbone, [], [])) == []


def test_a_miss_is_the_routes_or_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model("t5", radius=1e-3)
    first, second = Edit("Who wrote the first novel?", "Ann Lee"), Edit("Who signed the treaty?", "three ministers")
    teach(model, [first])
    teach(model, [second])
    wide = replace(first, rephrases=(second.prompt, "green"), locality=("When?",))
    suite = questions(reports([wide, second]), [("My sister's favourite", "green")])
    own, led, far, locality, other, upstream = ask(model, suite).to_pylist()
    assert [row["oracle_exact_match"] for row in (own, other)] == [1.0, 1.0]
    assert (led["routed_edit"], led["answer"], led["exact_match"]) == (second.edit_id, second.target, 0.0)
    for row in (led, far):
        (said,) = model.answer([row["prompt"]], 12, [model.block_of(first.edit_id)])
        assert row["oracle_exact_match"] == float(model.backbone.decode_answer(said) == first.target)
    assert [row["oracle_exact_match"] for row in (locality, upstream)] == [None, None]
    with monkeypatch.context() as patch:  # as if nothing led anywhere
        patch.setattr(model._index, "route", lambda keys, *_, **__: [Route()] * len(keys))
        missed = ask(model, suite).to_pylist()
    assert [(row["block"], row["exact_match"]) for row in missed[:1]] == [(None, 0.0)]
    assert missed[0]["oracle_exact_match"] == missed[4]["oracle_exact_match"] == 1.0
    model.undo([second.edit_id])
    undone = ask(model, suite).to_pylist()[4]
    model.close()
    assert undone["oracle_exact_match"] == undone["exact_match"] == 0.0  # there is no block to ask


class Plain:
    """An answerer without blocks, which is not to be asked for any."""

    def __init__(self, model: EditedModel) -> None:
        self.backbone, self.forced, self.route = model.backbone, model.forced, model.route
        self.learned_in, self._model = model.learned_in, model

    def answer(self, prompts: Sequence[str], new_tokens: int) -> list[list[int]]:
        return self._model.answer(prompts, new_tokens)


def test_who_has_no_blocks_has_no_oracle(asked: Asked) -> None:
    found = ask(Plain(asked.model), asked.questions)
    assert found["oracle_exact_match"].null_count == found.num_rows
    assert found["answer"].equals(asked.answers["answer"])
