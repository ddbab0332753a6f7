"""What the evaluator asks: an edited model, or any other editor that is compared with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Route
from pipeline.editing.forced import Forced


class Answerer(Protocol):
    """Answers as its backbone does, except where it was edited. ``EditedModel`` is one."""

    @property
    def backbone(self) -> Backbone:
        """The model before any edit, whose answers are compared with."""

    def answer(self, prompts: Sequence[str], new_tokens: int) -> list[list[int]]:
        """Token ids of greedy answers to one batch, run-ons and pads included; of a class its id alone.

        Args:
            prompts: as they were sent.
            new_tokens: of an answer at most.
        """

    def forced(self, prompts: Sequence[str], targets: Sequence[str]) -> Forced:
        """What it makes of targets, each token after the right ones."""

    def route(self, prompts: Sequence[str]) -> list[Route]:
        """Where prompts go; an empty route for whoever has none."""

    def learned_in(self, edit_id: str) -> int | None:
        """The version that learned an edit; None where there are no versions."""


@runtime_checkable
class BlockAnswerer(Answerer, Protocol):
    """Can also be told which block answers, so that what a block knows is seen apart from what is led to it."""

    def block_of(self, edit_id: str) -> int | None:
        """The block that answers an edit; None where there is none."""

    def answer(
        self, prompts: Sequence[str], new_tokens: int, blocks: Sequence[int | None] | None = None
    ) -> list[list[int]]:
        """As an ``Answerer`` does.

        Args:
            prompts: as they were sent.
            new_tokens: of an answer at most.
            blocks: what answers each prompt, in place of what it would be routed to.
        """
