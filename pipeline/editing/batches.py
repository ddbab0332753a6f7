"""The rows that train blocks, as one padded batch, and what a frozen encoder makes of them.

Shape letters: r rows (blocks times the prompts and wordings of a block's edits), s prompt tokens, t target tokens, m
positions with a target, d hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from pipeline.editing.backbone import Backbone
from pipeline.editing.blocks import DynamicLora
from pipeline.editing.curriculum import Lesson
from pipeline.editing.replay import map_tensors

ENCODER_ROWS = 32
"""Prompts that a frozen encoder reads in one pass."""


@dataclass(slots=True)
class Batch:
    """The rows of the blocks that are still in training.

    Attributes:
        inputs: arguments of the backbone's forward pass, every tensor in them [r, ...].
        mask: [r, t] bool, positions whose output predicts a target token; None for a classifier, whose
            every row predicts one.
        targets: [m] int64, the tokens (or classes) to predict, row by row.
        rows: [m] int64, the row of each position.
        size: rows of a block.
        given: [m] float32, the lead that the backbone has by itself, between 0 and the margin; None: not known yet.
    """

    inputs: dict[str, Any]
    mask: torch.Tensor | None
    targets: torch.Tensor
    rows: torch.Tensor
    size: int
    given: torch.Tensor | None = None

    @property
    def owners(self) -> torch.Tensor:
        """[m] int64, the block of each position, by its place in the batch."""
        return self.rows // self.size

    def keep(self, rows: torch.Tensor) -> None:
        """Drops all rows but these ([kept] int64, ascending)."""
        number = torch.full((int(self.rows.max()) + 1,), -1, device=rows.device)
        number[rows] = torch.arange(len(rows), device=rows.device)
        kept = number[self.rows] >= 0
        self.targets, self.rows = self.targets[kept], number[self.rows[kept]]
        self.given = None if self.given is None else self.given[kept]
        self.inputs = map_tensors(self.inputs, lambda tensor: tensor[rows])
        self.mask = None if self.mask is None else self.mask[rows]

    def pick(self, output: torch.Tensor) -> torch.Tensor:
        """[r, t, d] or, for a classifier, [r, d] -> [m, d]: the outputs that predict a target."""
        return output if self.mask is None else output[self.mask]


def collate(backbone: Backbone, lessons: Sequence[Sequence[Lesson]], encoded: ModelOutput | None) -> Batch:
    """Teacher forcing: the batch that asks for every target token given the ones before it.

    Args:
        backbone: the model.
        lessons: equally many for each block, with equally many rows.
        encoded: what a frozen encoder makes of the rows; None where it is not frozen, or there is none.
    """
    flat = [(row, lesson.target) for block in lessons for lesson in block for row in lesson.rows]
    prompts, targets = [row for row, _ in flat], [target for _, target in flat]
    size = sum(len(lesson.rows) for lesson in lessons[0])
    device = backbone.device
    wanted = torch.tensor([token for target in targets for token in target], device=device)
    lengths = torch.tensor([len(target) for target in targets], device=device)
    rows = torch.repeat_interleave(torch.arange(len(flat), device=device), lengths)
    if backbone.task == "causal":
        ids, attention = _not_square(backbone, [[*p, *t[:-1]] for p, t in zip(prompts, targets, strict=True)])
        starts = torch.tensor([len(prompt) - 1 for prompt in prompts], device=device)[:, None]
        places = torch.arange(ids.shape[1], device=device)[None]
        mask = (places >= starts) & (places < starts + lengths[:, None])
        return Batch({"input_ids": ids, "attention_mask": attention}, mask, wanted, rows, size)
    ids, attention = _not_square(backbone, prompts) if encoded is None else backbone.pad(prompts, side="right")
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": attention}
    if backbone.task == "classification":
        return Batch(inputs, None, wanted, rows, size)
    start = backbone.model.config.decoder_start_token_id
    decoder_ids, decoder_mask = _not_square(backbone, [[start, *target[:-1]] for target in targets])
    inputs["decoder_input_ids"] = decoder_ids
    if encoded is not None:
        del inputs["input_ids"]
        inputs["encoder_outputs"] = encoded
    return Batch(inputs, decoder_mask.bool(), wanted, rows, size)


def _not_square(backbone: Backbone, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pads on the right, one column more when there are as many as rows: a replay tells the two apart by length."""
    ids, mask = backbone.pad(rows, side="right")
    if ids.shape[0] == ids.shape[1]:
        ids, mask = F.pad(ids, (0, 1), value=backbone.pad_token_id), F.pad(mask, (0, 1))
    return ids, mask


@torch.no_grad()
def encode_frozen(backbone: Backbone, lora: DynamicLora, prompts: Sequence[Sequence[int]]) -> ModelOutput | None:
    """What an encoder without blocks makes of prompts, computed once for training and examination.

    Prompts of like length share a pass: in a batch that is sorted by its targets they are of any length, and
    half the encoder's work would go to pads.

    Returns:
        Hidden states [r, s, d], of no meaning behind each prompt's end; None where there is no encoder or blocks
        sit in it.
    """
    if backbone.task != "seq2seq":
        return None
    encoder = backbone.model.get_encoder()
    inside = {id(module) for module in encoder.modules()}
    if any(id(backbone.model.get_submodule(name)) in inside for name in lora.widths):
        return None
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    hidden = torch.zeros(len(prompts), len(prompts[order[-1]]), backbone.model.config.hidden_size, dtype=backbone.dtype)
    hidden = hidden.to(backbone.device)
    for start in range(0, len(order), ENCODER_ROWS):
        rows = order[start : start + ENCODER_ROWS]
        ids, mask = backbone.pad([prompts[i] for i in rows], side="right")
        hidden[rows, : ids.shape[1]] = backbone.encode(ids, mask)
    return BaseModelOutput(last_hidden_state=hidden)
