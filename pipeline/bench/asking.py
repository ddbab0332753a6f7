"""Asking an edited model, or its backbone alone, by free generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.editing.answering import SLACK, free_answers
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit, normalise
from pipeline.editing.model import EditedModel

BATCH = 32
"""Prompts of a batch. Both models are asked in the same ones: padding may move the last bit of a logit."""


def answer_length(backbone: Backbone, edits: Sequence[Edit]) -> int:
    """New tokens for an answer: the longest target with its end and one more, so that a run-on shows."""
    targets = backbone.tokenize_targets([edit.target for edit in edits], [edit.prompt for edit in edits])
    return max(map(len, targets)) + SLACK


def ask(model: EditedModel, prompts: Sequence[str], new_tokens: int) -> list[str]:
    """Greedy answers of the edited model."""
    if model.backbone.task == "classification":
        return _in_batches(model.generate, prompts)
    return _in_batches(
        lambda batch: model.generate(batch, do_sample=False, num_beams=1, max_new_tokens=new_tokens), prompts
    )


def ask_backbone(backbone: Backbone, prompts: Sequence[str], new_tokens: int) -> list[str]:
    """Greedy answers of the backbone without any block."""

    def answers(batch: Sequence[str]) -> list[str]:
        tokens = free_answers(backbone, backbone.tokenize_prompts(batch), new_tokens - SLACK)
        return [backbone.decode_answer(answer) for answer in tokens]

    return _in_batches(answers, prompts)


def is_right(backbone: Backbone, answer: str, target: str) -> bool:
    """The same text, white space aside; of a class the same name (rule 5)."""
    if backbone.task == "classification":
        return normalise(answer) == normalise(target)
    return answer.split() == target.split()


def success(model: EditedModel, edits: Sequence[Edit], new_tokens: int) -> float:
    """Share of edits whose target the edited model says, routing included."""
    answers = ask(model, [edit.prompt for edit in edits], new_tokens)
    return sum(is_right(model.backbone, a, e.target) for a, e in zip(answers, edits, strict=True)) / len(edits)


def _in_batches(answer: Callable[[list[str]], list[str]], prompts: Sequence[str]) -> list[str]:
    return [text for i in range(0, len(prompts), BATCH) for text in answer(list(prompts[i : i + BATCH]))]
