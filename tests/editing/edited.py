"""Tiny backbones, and edited models on them: what the tests of the whole editor start from."""

from __future__ import annotations

from typing import Any

import torch

from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit, Outcome
from pipeline.editing.loading import from_objects
from pipeline.editing.model import EditedModel
from pipeline.settings import EditingSettings
from tests.editing.tiny import Family, task_of, tiny_backbone

EDITED: tuple[Family, ...] = ("t5", "gpt2", "llama", "bert")
"""A family of each kind."""

SETTINGS = EditingSettings(edits_per_block=2)
"""The defaults teach a random model of 32 dimensions too, two edits to a block and not ten."""


def tiny(family: Family, seed: int = 0, dtype: torch.dtype = torch.float32) -> Backbone:
    model, tokenizer = tiny_backbone(family, seed)
    return from_objects(model.to(dtype), tokenizer, task_of(family), f"tiny-{family}")


def new_model(
    family: Family, dtype: torch.dtype = torch.float32, index: Any = "memory", **settings: Any
) -> EditedModel:
    return EditedModel.from_backbone(
        tiny(family, dtype=dtype), index=index, settings=SETTINGS.model_copy(update=settings)
    )


def teach(model: EditedModel, edits: list[Edit]) -> list[Outcome]:
    outcomes = model.edit(edits)
    assert [outcome.reason for outcome in outcomes if not outcome.learned] == []
    return outcomes
