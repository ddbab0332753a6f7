"""Free generation: what the model says to a prompt, token by token, to its natural end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pipeline.editing.backbone import Backbone

SLACK = 1
"""Tokens that an answer may run past the longest target of its batch before it is cut off: it is wrong then."""


@torch.no_grad()
def free_answers(
    backbone: Backbone, prompts: Sequence[Sequence[int]], longest: int, encoded: Any = None
) -> list[list[int]]:
    """Greedy answers with whatever blocks are active.

    Args:
        backbone: the model.
        prompts: token ids of each prompt.
        longest: tokens of the longest target, its end included.
        encoded: the encoder's output for these prompts, padded on the right, where it is at hand.

    Returns:
        Token ids of each answer, the end token included where it came; for a classifier its class alone.
    """
    ids, mask = backbone.pad(prompts, side=backbone.padding_side)
    if backbone.task == "classification":
        return backbone.model(input_ids=ids, attention_mask=mask).logits.argmax(-1, keepdim=True).tolist()
    source = {"input_ids": ids} if encoded is None else {"encoder_outputs": encoded}
    sequences = backbone.model.generate(
        **source,
        attention_mask=mask,
        do_sample=False,
        num_beams=1,
        max_new_tokens=longest + SLACK,
        **backbone.generation_defaults,
    )
    first = ids.shape[1] if backbone.task == "causal" else 1
    return [_until_end(answer, backbone.end_tokens) for answer in sequences[:, first:].tolist()]


def says(backbone: Backbone, answer: Sequence[int], target: Sequence[int]) -> bool:
    """Whether an answer is the target: the same tokens, or the same text with its end.

    The same text may be cut into other tokens; white space is not told apart.
    """
    if list(answer) == list(target) or backbone.task == "classification":
        return list(answer) == list(target)
    ended = bool(answer) and answer[-1] in backbone.end_tokens
    return ended and backbone.decode_answer(answer).split() == backbone.decode_answer(target).split()


def _until_end(tokens: list[int], ends: frozenset[int]) -> list[int]:
    for i, token in enumerate(tokens):
        if token in ends:
            return tokens[: i + 1]
    return tokens
