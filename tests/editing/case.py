"""What training is tried on: a tiny backbone with hooks, a trainer, and six lessons."""

from __future__ import annotations

from typing import Any

import torch

from pipeline.editing.blocks import BlockWeights, DynamicLora
from pipeline.editing.curriculum import Lesson, Unit
from pipeline.editing.families import resolve
from pipeline.editing.loading import from_objects
from pipeline.editing.recipe import Recipe
from pipeline.editing.training import Trainer
from pipeline.settings import EditingSettings
from tests.editing.tiny import LABELS, Family, task_of, tiny_backbone

PROMPTS = [
    "Who wrote it?",
    "The capital is",
    "My sister's favourite",
    "When did it move?",
    "The treaty was signed in",
    "What is a novel series?",
]
TARGETS = ["Paris", "green wood", "1847", "my sister", "three ministers", "Aldershore"]
MARGIN = 0.3


class Case:
    """A tiny backbone with hooks, a trainer, and six lessons."""

    def __init__(self, family: Family, **settings: Any) -> None:
        model, tokenizer = tiny_backbone(family)
        self.backbone = from_objects(model, tokenizer, task_of(family), f"tiny-{family}")
        self.recipe: Recipe = resolve(model, self.backbone.task, EditingSettings(**settings))
        self.lora = DynamicLora(model, self.recipe.block_modules, self.recipe.scale)
        self.trainer = Trainer(self.backbone, self.lora, self.recipe, seed=0, margin=MARGIN)
        targets = [LABELS[i % 5] for i in range(6)] if self.backbone.task == "classification" else TARGETS
        self.lessons = [
            Lesson(str(i), tuple(prompt), tuple(target))
            for i, (prompt, target) in enumerate(
                zip(
                    self.backbone.tokenize_prompts(PROMPTS),
                    self.backbone.tokenize_targets(targets, PROMPTS),
                    strict=True,
                )
            )
        ]

    def unit(self, iterations: int, first: int = 0) -> Unit:
        """Three blocks of two lessons."""
        lessons = tuple((self.lessons[i], self.lessons[i + 1]) for i in (0, 2, 4))
        return Unit((first, first + 1, first + 2), lessons, iterations)


def assert_close(one: BlockWeights, other: BlockWeights, atol: float) -> None:
    for name in one:
        for mine, theirs in zip(one[name], other[name], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=atol)
