"""The backbone with blocks: each request is routed once, and answered with the blocks that it was routed to.

Shape letters: b prompts, s tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch.nn import functional as F

from pipeline.editing.backbone import Backbone, quoted
from pipeline.editing.blocks import Blocks, DynamicLora
from pipeline.editing.curriculum import Lesson
from pipeline.editing.edit import EditError, Route
from pipeline.editing.index import Index
from pipeline.editing.keys import KeyReader
from pipeline.editing.training import collate

ANSWER_TOKENS = 64
"""New tokens at most where strings come in and nobody said how many."""

LENGTHS = frozenset({"max_new_tokens", "max_length", "generation_config"})
"""Arguments of transformers' that say how long an answer may get."""


class RoutedBackbone:
    """Answers requests; changes nothing.

    Args:
        backbone: the frozen model.
        lora: the hooks that add blocks to it.
        reader: of its keys.
        blocks: all blocks.
        index: says which block answers what.
        lock: held while the index is changed, and blocks are dropped with it.
    """

    def __init__(
        self,
        backbone: Backbone,
        lora: DynamicLora,
        reader: KeyReader,
        blocks: Blocks,
        index: Index,
        lock: AbstractContextManager[bool],
    ) -> None:
        self._backbone = backbone
        self._lora = lora
        self._reader = reader
        self._blocks = blocks
        self._index = index
        self._lock = lock

    def route(self, prompts: Sequence[str]) -> list[Route]:
        """See ``EditedModel.route``."""
        if not prompts:
            return []
        keys = self._reader.keys(self._backbone.tokenize_prompts(list(prompts)))
        with self._lock:
            return self._index.route(keys, outside=True)

    def generate(
        self, inputs: Sequence[str] | str | torch.Tensor, attention_mask: torch.Tensor | None, arguments: dict[str, Any]
    ) -> Any:
        """See ``EditedModel.generate``; ``arguments`` are transformers' own."""
        backbone = self._backbone
        if isinstance(inputs, torch.Tensor):
            ids = inputs.to(backbone.device)
            mask = backbone.infer_mask(ids) if attention_mask is None else attention_mask.to(ids.device)
            return self._answer(*backbone.aligned(ids, mask), arguments)
        prompts = [inputs] if isinstance(inputs, str) else list(inputs)
        if not prompts:
            return []
        ids, mask = backbone.pad(backbone.tokenize_prompts(prompts), side=backbone.padding_side)
        if backbone.task != "classification" and not arguments.keys() & LENGTHS:
            arguments = arguments | {"max_new_tokens": ANSWER_TOKENS}
        output = self._answer(ids, mask, arguments)
        if backbone.task == "classification":
            answers = [backbone.labels[label] for label in output.argmax(-1).tolist()]
        else:
            sequences = output if isinstance(output, torch.Tensor) else output.sequences
            first = ids.shape[1] if backbone.task == "causal" else 0
            answers = [backbone.decode_answer(row) for row in sequences[:, first:].tolist()]
        return answers[0] if isinstance(inputs, str) and len(answers) == 1 else answers

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> torch.Tensor:
        """See ``EditedModel.score``."""
        backbone = self._backbone
        if not prompts:
            return torch.empty(0)
        rows = backbone.tokenize_prompts(list(prompts))
        mask = backbone.pad(rows, side="right")[1]  # as ``collate`` pads them, without the target
        with self._routed(mask):
            return mean_nll(backbone, prompts, targets)

    def _answer(self, ids: torch.Tensor, mask: torch.Tensor, arguments: dict[str, Any]) -> Any:
        with self._routed(mask), torch.no_grad():
            if self._backbone.task == "classification":
                return self._backbone.model(input_ids=ids, attention_mask=mask, **arguments).logits
            arguments = self._backbone.generation_defaults | arguments
            return self._backbone.model.generate(input_ids=ids, attention_mask=mask, **arguments)

    @contextmanager
    def _routed(self, mask: torch.Tensor) -> Iterator[None]:
        """Routes the request in the middle of its first forward pass, between the key layer and the blocks."""

        def activate(keys: torch.Tensor) -> None:
            with self._lock:
                chosen = [route.block for route in self._index.route(keys.cpu())]
                rows = [row for row, block in enumerate(chosen) if block is not None]
                weights = self._blocks.gather([block for block in chosen if block is not None])
            if rows:
                where = None if len(rows) == len(chosen) else torch.tensor(rows, device=mask.device)
                self._lora.activate(weights, where, len(chosen), self._backbone.dtype)

        with self._lora.request(), self._reader.reading(mask, activate):
            yield


@torch.no_grad()
def mean_nll(backbone: Backbone, prompts: Sequence[str], targets: Sequence[str]) -> torch.Tensor:
    """Mean negative log likelihood of each target's tokens after its prompt, with whatever blocks are active.

    The end of a target is not counted: text goes on where a target ends. Of a class it is the class's.

    Returns:
        [b] float32 on the CPU, nats a token.

    Raises:
        EditError: a prompt or target cannot be tokenised, or both together are longer than the model's positions.
    """
    if not prompts:
        return torch.empty(0)
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
    return (sums / torch.bincount(batch.rows)).cpu()
