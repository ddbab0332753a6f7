"""The backbone with blocks: each request is routed once, and answered with the blocks that it was routed to.

Shape letters: b prompts, s tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from pipeline.editing.backbone import Backbone
from pipeline.editing.blocks import Blocks, DynamicLora
from pipeline.editing.edit import Route
from pipeline.editing.forced import Forced, prompt_mask, teacher_forced
from pipeline.editing.routing import Asked, Router

ANSWER_TOKENS = 64
"""New tokens at most where strings come in and nobody said how many."""

LENGTHS = frozenset({"max_new_tokens", "max_length", "generation_config"})
"""Arguments of transformers' that say how long an answer may get."""


class RoutedBackbone:
    """Answers requests; changes nothing.

    Args:
        backbone: the frozen model.
        lora: the hooks that add blocks to it.
        router: leads prompts to blocks.
        blocks: all blocks.
        lock: held while the index is changed, and blocks are dropped with it.
    """

    def __init__(
        self,
        backbone: Backbone,
        lora: DynamicLora,
        router: Router,
        blocks: Blocks,
        lock: AbstractContextManager[bool],
    ) -> None:
        self._backbone = backbone
        self._lora = lora
        self._router = router
        self._blocks = blocks
        self._lock = lock

    def generate(
        self,
        inputs: Sequence[str] | str | torch.Tensor,
        attention_mask: torch.Tensor | None,
        arguments: dict[str, Any],
        blocks: Sequence[int | None] | None = None,
        told: list[Route] | None = None,
    ) -> Any:
        """See ``EditedModel.generate`` and ``answer``; ``arguments`` are transformers' own.

        Where ``told`` is a list, the prompts' routes are added to it, those outside every scope named with what is
        nearest.
        """
        backbone = self._backbone
        if isinstance(inputs, torch.Tensor):
            ids = inputs.to(backbone.device)
            mask = backbone.infer_mask(ids) if attention_mask is None else attention_mask.to(ids.device)
            ids, mask = backbone.aligned(ids, mask)
            return self._answer(ids, Asked(mask, lambda: backbone.texts_of(ids, mask)), arguments, blocks, told)
        prompts = [inputs] if isinstance(inputs, str) else list(inputs)
        if not prompts:
            return []
        ids, mask = backbone.pad(backbone.tokenize_prompts(prompts), side=backbone.padding_side)
        if backbone.task != "classification" and not arguments.keys() & LENGTHS:
            arguments = arguments | {"max_new_tokens": ANSWER_TOKENS}
        output = self._answer(ids, Asked(mask, lambda: prompts), arguments, blocks, told)
        if backbone.task == "classification":
            answers = [backbone.labels[label] for label in output.argmax(-1).tolist()]
        else:
            sequences = output if isinstance(output, torch.Tensor) else output.sequences
            first = ids.shape[1] if backbone.task == "causal" else 0
            answers = [backbone.decode_answer(row) for row in sequences[:, first:].tolist()]
        return answers[0] if isinstance(inputs, str) and len(answers) == 1 else answers

    def forced(self, prompts: Sequence[str], targets: Sequence[str]) -> Forced:
        """See ``EditedModel.forced``."""
        if not prompts:
            return teacher_forced(self._backbone, [], [])
        with self._following(Asked(prompt_mask(self._backbone, prompts, "right"), lambda: prompts)):
            return teacher_forced(self._backbone, prompts, targets)

    def _answer(
        self,
        ids: torch.Tensor,
        asked: Asked,
        arguments: dict[str, Any],
        blocks: Sequence[int | None] | None,
        told: list[Route] | None,
    ) -> Any:
        mask = asked.mask
        with self._following(asked, told) if blocks is None else self._given(blocks), torch.no_grad():
            if self._backbone.task == "classification":
                return self._backbone.model(input_ids=ids, attention_mask=mask, **arguments).logits
            arguments = self._backbone.generation_defaults | arguments
            return self._backbone.model.generate(input_ids=ids, attention_mask=mask, **arguments)

    @contextmanager
    def _following(self, asked: Asked, told: list[Route] | None = None) -> Iterator[None]:
        """Routes the request before its blocks run, see ``Router.during``."""

        def activate(routes: list[Route]) -> None:
            self._activate([route.block for route in routes])
            if told is not None:
                told.extend(routes)

        with self._lora.request(), self._router.during(asked, activate, outside=told is not None):
            yield

    @contextmanager
    def _given(self, blocks: Sequence[int | None]) -> Iterator[None]:
        """A request that is not routed: it was said which block answers each prompt."""
        with self._lora.request():
            with self._lock:
                self._activate(blocks)
            yield

    def _activate(self, chosen: Sequence[int | None]) -> None:
        """Switches on one block a prompt, or none; under the lock, so that no block is dropped meanwhile."""
        rows = [row for row, block in enumerate(chosen) if block is not None]
        if rows:
            weights = self._blocks.gather([block for block in chosen if block is not None])
            where = None if len(rows) == len(chosen) else torch.tensor(rows, device=self._backbone.device)
            self._lora.activate(weights, where, len(chosen), self._backbone.dtype)
