"""The baseline: the paper's own training schedule, written plainly.

Block after block, and in each iteration one full forward and backward pass of all its edits, padded once to the
longest: Adam, the rate halved every 20 iterations, all iterations and no early stop (MELO, Eq. 5 and 8, Table 1 and
the appendix). Nothing of the editor's training is used here, so that the two can be compared.

Shape letters: b edits of a block, s tokens, p partial rank, i inputs and o outputs of a module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pipeline.editing.answering import free_answers, says
from pipeline.editing.backbone import Backbone
from pipeline.editing.blocks import module_width
from pipeline.editing.edit import Edit
from pipeline.editing.recipe import Recipe
from pipeline.settings import Task

IGNORED = -100
"""Label that the models' own losses leave out."""

Block = dict[str, tuple[nn.Parameter, nn.Parameter]]
"""Module name -> (A [p, i], B [o, p])."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Settings of the paper's schedule; see ``Recipe`` for the fields' units."""

    block_modules: tuple[str, ...]
    partial_rank: int
    iterations: int
    learning_rate: float
    edits_per_block: int
    halve_every: int = 20


PUBLISHED: Mapping[Task, tuple[int, int, float, int]] = {
    "classification": (4, 40, 1e-2, 50),
    "seq2seq": (2, 30, 1e-2, 100),
    "causal": (2, 50, 1e-3, 4),
}
"""Rank, iterations, rate and edits a block of BERT, T5-small and GPT2-XL (Table 1 and the appendix)."""


def published_schedule(backbone: Backbone, recipe: Recipe) -> Schedule:
    """The paper's settings for a task, on its modules at the depth where ``recipe`` has its own.

    These are the MLP's output on both sides of a T5, its input in a GPT-2, and the editor's own modules elsewhere.
    """
    names = recipe.block_modules
    if backbone.model.config.model_type in ("t5", "mt5"):
        layers = {int(name.split(".")[2]) for name in names}
        sides = (("encoder", 1), ("decoder", 2))
        wanted = [f"{side}.block.{n}.layer.{mlp}.DenseReluDense.wo" for n in sorted(layers) for side, mlp in sides]
        present = dict(backbone.model.named_modules())
        names = tuple(name for name in wanted if name in present)
    elif backbone.model.config.model_type == "gpt2":
        names = tuple(name.replace("c_proj", "c_fc") for name in names)
    return Schedule(names, *PUBLISHED[backbone.task])


@dataclass(frozen=True, slots=True)
class Trained:
    """Blocks in order, each with the edits it was trained on."""

    schedule: Schedule
    blocks: tuple[tuple[Sequence[Edit], Block], ...]

    @property
    def parameters(self) -> int:
        """Trainable numbers in all blocks together."""
        return sum(a.numel() + b.numel() for _, block in self.blocks for a, b in block.values())


def train(backbone: Backbone, edits: Sequence[Edit], schedule: Schedule, seed: int) -> Trained:
    """Trains one block after the other, ``edits_per_block`` edits each, in the order given."""
    generator = torch.Generator().manual_seed(seed)
    blocks = []
    for start in range(0, len(edits), schedule.edits_per_block):
        chosen = edits[start : start + schedule.edits_per_block]
        block = new_block(backbone, schedule, generator)
        descend(backbone, block, teacher_forcing(backbone, chosen), schedule)
        blocks.append((chosen, block))
    return Trained(schedule, tuple(blocks))


def success(backbone: Backbone, trained: Trained) -> float:
    """Share of the edits whose target is said by free generation, each with its own block active."""
    right = total = 0
    for edits, block in trained.blocks:
        prompts = backbone.tokenize_prompts([edit.prompt for edit in edits])
        targets = backbone.tokenize_targets([edit.target for edit in edits], [edit.prompt for edit in edits])
        with active(backbone.model, block):
            answers = free_answers(backbone, prompts, max(map(len, targets)))
        right += sum(says(backbone, answer, target) for answer, target in zip(answers, targets, strict=True))
        total += len(edits)
    return right / total


@contextmanager
def active(model: nn.Module, block: Block) -> Iterator[None]:
    """Within it every module of the block gives W x + B A x (Eq. 5)."""

    def hook(a: nn.Parameter, b: nn.Parameter) -> Any:
        return lambda module, args, output: output + (args[0].to(a.dtype) @ a.T @ b.T).to(output.dtype)

    handles = [model.get_submodule(name).register_forward_hook(hook(a, b)) for name, (a, b) in block.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def teacher_forcing(backbone: Backbone, edits: Sequence[Edit]) -> dict[str, torch.Tensor]:
    """Arguments of the backbone's forward pass, [b, s] each, whose own loss asks for the targets.

    ``labels`` are the targets, ``IGNORED`` behind their ends; for a causal model also on the prompts; for a
    classifier [b] classes.
    """
    prompts = backbone.tokenize_prompts([edit.prompt for edit in edits])
    targets = backbone.tokenize_targets([edit.target for edit in edits], [edit.prompt for edit in edits])
    if backbone.task == "classification":
        ids, mask = backbone.pad(prompts, side="right")
        return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor(targets, device=ids.device)[:, 0]}
    if backbone.task == "causal":
        ids, mask = backbone.pad([[*p, *t] for p, t in zip(prompts, targets, strict=True)], side="right")
        wanted, _ = backbone.pad([[IGNORED] * len(p) + t for p, t in zip(prompts, targets, strict=True)], side="right")
        return {"input_ids": ids, "attention_mask": mask, "labels": wanted.masked_fill(mask == 0, IGNORED)}
    ids, mask = backbone.pad(prompts, side="right")
    labels, real = backbone.pad(targets, side="right")
    return {"input_ids": ids, "attention_mask": mask, "labels": labels.masked_fill(real == 0, IGNORED)}


def new_block(backbone: Backbone, schedule: Schedule, generator: torch.Generator) -> Block:
    """An untrained block: A Gaussian with variance 1 / i, B zero, both float32."""
    block: Block = {}
    for name in schedule.block_modules:
        d_in, d_out = module_width(backbone.model.get_submodule(name))
        a = torch.randn(schedule.partial_rank, d_in, generator=generator) / d_in**0.5
        b = torch.zeros(d_out, schedule.partial_rank)
        block[name] = (nn.Parameter(a.to(backbone.device)), nn.Parameter(b.to(backbone.device)))
    return block


def descend(backbone: Backbone, block: Block, batch: dict[str, torch.Tensor], schedule: Schedule) -> None:
    """Trains a block on one batch, as ``teacher_forcing`` makes it: all iterations, with an Adam of their own."""
    adam = torch.optim.Adam([weight for pair in block.values() for weight in pair], lr=schedule.learning_rate)
    halving = torch.optim.lr_scheduler.StepLR(adam, schedule.halve_every, gamma=0.5)
    # A cache of keys and values is of no use to a single pass; leaving it out favours the baseline.
    without_cache = {} if backbone.task == "classification" else {"use_cache": False}
    with active(backbone.model, block), torch.enable_grad():
        for _ in range(schedule.iterations):
            adam.zero_grad()
            backbone.model(**batch, **without_cache).loss.backward()
            adam.step()
            halving.step()
