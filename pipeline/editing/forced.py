"""Teacher forcing: what a model makes of a target when each of its tokens follows the right ones.

Shape letters: b prompts, t target tokens, v vocabulary, m positions with a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from pipeline.editing.backbone import Backbone, quoted
from pipeline.editing.batches import collate
from pipeline.editing.curriculum import Lesson
from pipeline.editing.edit import EditError


@dataclass(frozen=True, slots=True)
class Forced:
    """Targets under teacher forcing. The end of a target is not counted: text goes on where a target ends.

    Attributes:
        nll: [b] float32 on the CPU, mean negative log likelihood of a target's tokens, nats a token; of a class its
            own.
        said: for each prompt the likeliest token at each place of its target; of a classifier the likeliest class.
        wanted: the target's own tokens there.
    """

    nll: torch.Tensor
    said: list[list[int]]
    wanted: list[list[int]]


def prompt_mask(backbone: Backbone, prompts: Sequence[str], side: Literal["left", "right"]) -> torch.Tensor:
    """[b, s] mask of prompts as they lie in a batch that is padded on ``side``."""
    return backbone.pad(backbone.tokenize_prompts(prompts), side)[1]


@torch.no_grad()
def teacher_forced(backbone: Backbone, prompts: Sequence[str], targets: Sequence[str]) -> Forced:
    """Scores targets after their prompts with whatever blocks are active, in one pass padded on the right.

    Raises:
        EditError: a prompt or target cannot be tokenised, or both together are longer than the model's positions.
    """
    if not prompts:
        return Forced(torch.empty(0), [], [])
    lessons = []
    told = backbone.tokenize_targets(targets, prompts)
    for text, prompt, target in zip(prompts, backbone.tokenize_prompts(prompts), told, strict=True):
        counted = target if backbone.task == "classification" else target[:-1] or target
        limit = backbone.max_prompt_tokens
        if backbone.task == "causal" and limit is not None and len(prompt) + len(counted) > limit:
            raise EditError(
                f"Prompt {quoted(text)} and its target have {len(prompt)} + {len(counted)} tokens, but the model "
                f"reads at most {limit}: shorten them."
            )
        lessons.append(Lesson("", tuple(prompt), tuple(counted)))
    batch = collate(backbone, [lessons], None)
    arguments, mask = batch.inputs, batch.mask
    if backbone.task == "causal" and mask is not None:  # the head is wide, so it sees no more than it has to
        first = min(len(lesson.prompt) for lesson in lessons) - 1
        kept = torch.arange(first, mask.shape[1], device=mask.device)
        arguments, mask = arguments | {"logits_to_keep": kept, "use_cache": False}, mask[:, first:]
    logits = backbone.model(**arguments).logits  # [b, t, v], or [b, labels]
    picked = logits if mask is None else logits[mask]  # [m, v]
    losses = F.cross_entropy(picked.float(), batch.targets, reduction="none")
    sums = torch.zeros(len(lessons), device=losses.device).index_add(0, batch.rows, losses)
    lengths = [len(lesson.target) for lesson in lessons]
    said = [row.tolist() for row in picked.argmax(-1).cpu().split(lengths)]
    return Forced((sums / torch.bincount(batch.rows)).cpu(), said, [list(lesson.target) for lesson in lessons])
