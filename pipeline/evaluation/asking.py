"""Asking a version its questions, and its backbone the same ones in the same batches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.editing.answering import SLACK
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import EditError
from pipeline.editing.forced import Forced, teacher_forced
from pipeline.evaluation.answerer import Answerer, BlockAnswerer
from pipeline.evaluation.generation import backbone_answers, batches
from pipeline.evaluation.kinds import SAID
from pipeline.evaluation.metrics import exact_match, f1, shared_f1
from schemas.answers import ANSWERS, QUESTIONS

OPEN_TOKENS = 16
"""New tokens for an answer where none is expected and only agreement counts."""
SCORED = 16
"""Continuations whose likelihood is computed in one pass: their logits are over the whole vocabulary."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that the model can be asked.

    Attributes:
        row: the question.
        prompt: token ids.
        expected: tokens of the right answer without its end; None where none is expected.
        room: new tokens that its answer may have. Of the question's own, so that it does not matter what else is
            asked; an answer is cut there.
    """

    row: dict[str, Any]
    prompt: Sequence[int]
    expected: int | None
    room: int


class BackboneAnswers:
    """What a backbone says, kept for whoever asks the same batches again.

    Args:
        backbone: asked without any block.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._kept: dict[tuple[object, ...], Any] = {}

    def answer(self, prompts: Sequence[str], new_tokens: int) -> list[list[int]]:
        """Token ids of greedy answers to one batch."""
        key = ("answer", *prompts, new_tokens)
        if key not in self._kept:
            tokens = self._backbone.tokenize_prompts(prompts)
            self._kept[key] = backbone_answers(self._backbone, tokens, new_tokens)
        answers: list[list[int]] = self._kept[key]
        return answers

    def forced(self, prompts: Sequence[str], targets: Sequence[str]) -> Forced:
        """What it makes of targets, each token after the right ones."""
        key = ("forced", *prompts, *targets)
        if key not in self._kept:
            self._kept[key] = teacher_forced(self._backbone, prompts, targets)
        found: Forced = self._kept[key]
        return found


def ask(model: Answerer, questions: pa.Table, forced: bool = False, before: BackboneAnswers | None = None) -> pa.Table:
    """Asks an edited model and its backbone, by free greedy generation, and scores what they say.

    Questions may be asked in slices, anywhere and in any order: the rows are the same, numbers to rounding and but
    for ``seconds``. A question that the model has no positions for, or no tokens, gets nulls.

    A causal model's continuation goes on where the expected one ends, so it is scored as far as that goes. What a
    block answers was taught with its end and is scored whole.

    A question that is to get an edit's target is asked with that edit's own block on as well, unless it was led there.

    Args:
        model: the version.
        questions: schema ``QUESTIONS``.
        forced: score expected answers under teacher forcing too. A causal model's always are, a class is free anyway.
        before: the backbone's answers, where it is asked the same questions for several models.

    Returns:
        A table of schema ``ANSWERS``, in the order of the questions.

    Raises:
        ValueError: the columns are not those of a suite of questions.
    """
    if questions.schema.names != QUESTIONS.names:
        raise ValueError(f"the questions have columns {questions.schema.names}, expected {QUESTIONS.names}")
    rows: list[dict[str, Any]] = [dict.fromkeys(ANSWERS.names) | row for row in questions.to_pylist()]
    for row in rows:
        if row["version"] is None and row["edit_id"] is not None:
            row["version"] = model.learned_in(row["edit_id"])
    before = before or BackboneAnswers(model.backbone)
    asked = [question for row in rows if (question := _prepare(model.backbone, row)) is not None]
    routes = model.route([question.row["prompt"] for question in asked])
    for question, route in zip(asked, routes, strict=True):
        question.row.update(block=route.block, routed_edit=route.edit_id, distance=route.distance, radius=route.radius)
    prompts, rooms = [question.prompt for question in asked], [question.room for question in asked]
    for batch in batches(model.backbone, prompts, rooms):
        _answer(model, before, [asked[i] for i in batch])
    if isinstance(model, BlockAnswerer):
        _ask_own_blocks(model, asked)
    if model.backbone.task == "causal" or (forced and model.backbone.task == "seq2seq"):
        scored = [question for question in asked if question.expected is not None]
        scored.sort(key=lambda question: len(question.prompt))
        for start in range(0, len(scored), SCORED):
            _score(model, before, scored[start : start + SCORED])
    return pa.Table.from_pylist(rows, schema=ANSWERS)


def _prepare(backbone: Backbone, row: dict[str, Any]) -> _Asked | None:
    """The question as tokens; None where the model cannot be asked it."""
    prompt, expected = row["prompt"], row["expected"]
    try:
        (tokens,) = backbone.tokenize_prompts([prompt])
        if backbone.task == "classification":
            return _Asked(row, tokens, None if expected is None else 1, 1)
        if expected is None:
            length, room = None, OPEN_TOKENS
        else:
            (target,) = backbone.tokenize_targets([expected], [prompt])
            length, room = len(target) - 1, len(target) + SLACK
    except EditError:
        return None
    if backbone.task == "causal" and backbone.max_prompt_tokens is not None:
        left = backbone.max_prompt_tokens - len(tokens)
        if left <= 0 or (length is not None and length > left):
            return None
        room = min(room, left)
    return _Asked(row, tokens, length, room)


def _answer(model: Answerer, backbone_says: BackboneAnswers, batch: Sequence[_Asked]) -> None:
    """Fills in what both models say to a batch and how right that is."""
    backbone = model.backbone
    prompts, room = [question.row["prompt"] for question in batch], max(question.room for question in batch)
    start = time.perf_counter()
    said = model.answer(prompts, room)
    seconds = (time.perf_counter() - start) / len(batch)
    before = backbone_says.answer(prompts, room)
    for question, tokens, base in zip(batch, said, before, strict=True):
        row, by_block = question.row, question.row["block"] is not None
        row["answer"] = backbone.decode_answer(tokens[: question.room])
        row["base_answer"] = backbone.decode_answer(base[: question.room])
        row["seconds"] = seconds
        if question.expected is None:
            continue
        counted = question.expected if backbone.task == "causal" else question.room
        after = row["answer"] if by_block else backbone.decode_answer(tokens[:counted])
        sides = {"": after, "base_": backbone.decode_answer(base[:counted])}
        for side, text in sides.items():
            row[f"{side}exact_match"] = exact_match(text, row["expected"], backbone.task)
            row[f"{side}f1"] = None if backbone.task == "classification" else f1(text, row["expected"])


def _ask_own_blocks(model: BlockAnswerer, asked: Sequence[_Asked]) -> None:
    """Fills in whether the target is said with an edit's own block on: if it is, a miss is one of the route.

    An edit without a block has nothing better to offer than what was said.
    """
    elsewhere, own = list[_Asked](), list[int]()
    for question in asked:
        row = question.row
        if row["kind"] not in SAID:
            continue
        block = model.block_of(row["edit_id"])
        if block is None or block == row["block"]:
            row["oracle_exact_match"] = row["exact_match"]
        else:
            elsewhere.append(question)
            own.append(block)
    prompts, rooms = [question.prompt for question in elsewhere], [question.room for question in elsewhere]
    for batch in batches(model.backbone, prompts, rooms):
        questions = [elsewhere[i] for i in batch]
        texts, room = [question.row["prompt"] for question in questions], max(question.room for question in questions)
        said = model.answer(texts, room, [own[i] for i in batch])
        for question, tokens in zip(questions, said, strict=True):
            text = model.backbone.decode_answer(tokens[: question.room])
            row = question.row
            row["oracle_exact_match"] = exact_match(text, row["expected"], model.backbone.task)


def _score(model: Answerer, backbone_says: BackboneAnswers, batch: Sequence[_Asked]) -> None:
    """Fills in what both models make of the expected answers when each token follows the right ones."""
    prompts = [question.row["prompt"] for question in batch]
    targets = [question.row["expected"] for question in batch]
    causal = model.backbone.task == "causal"
    sides = {"": model.forced(prompts, targets), "base_": backbone_says.forced(prompts, targets)}
    for side, found in sides.items():
        for question, nll, said, wanted in zip(batch, found.nll.tolist(), found.said, found.wanted, strict=True):
            question.row[f"{side}forced_exact_match"] = float(said == wanted)
            question.row[f"{side}forced_f1"] = shared_f1(said, wanted)
            if causal:
                question.row[f"{side}nll"] = nll
