"""Which prompts can be asked, which are asked together, and the backbone's own greedy answers.

Padding may move the last bit of a logit, so two models that are compared are asked in equal batches, and prompts
of like length share one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipeline.editing.answering import SLACK, free_answers
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import EditError

Tokens = Sequence[int]

BATCH = 64
"""Prompts of a batch at most."""
BATCH_TOKENS = 8192
"""Tokens of a batch at most, pads and answers counted; one prompt is always taken."""


def readable(backbone: Backbone, texts: Iterable[str]) -> tuple[str, ...]:
    """Those of the texts that the backbone has tokens and positions for."""
    fitting = []
    for text in texts:
        try:
            backbone.tokenize_prompts([text])
        except EditError:
            continue
        fitting.append(text)
    return tuple(fitting)


def batches(backbone: Backbone, prompts: Sequence[Tokens], new_tokens: Sequence[int]) -> Iterator[list[int]]:
    """Places of prompts that are asked together: alike in the answers that they allow and in their length.

    No prompt and answer of a batch exceed a causal model's positions together, unless one does so alone.

    Args:
        backbone: the model.
        prompts: token ids of each.
        new_tokens: how many tokens its answer may have.
    """
    limit = backbone.max_prompt_tokens if backbone.task == "causal" else None
    batch: list[int] = []
    for i in sorted(range(len(prompts)), key=lambda i: (new_tokens[i].bit_length(), len(prompts[i]))):
        rows = [*batch, i]
        long = max(len(prompts[j]) for j in rows) + max(new_tokens[j] for j in rows)
        full = len(rows) > BATCH or long * len(rows) > BATCH_TOKENS or (limit is not None and long > limit)
        if batch and full:
            yield batch
            rows = [i]
        batch = rows
    if batch:
        yield batch


def backbone_answers(backbone: Backbone, prompts: Sequence[Tokens], new_tokens: int) -> list[list[int]]:
    """Token ids of the backbone's answers to one batch, without any block; of a class its id alone."""
    return free_answers(backbone, prompts, new_tokens - SLACK)
