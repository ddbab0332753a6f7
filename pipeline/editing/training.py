"""Training blocks (Eq. 8): several in one step, each until its edits are learned.

Blocks of one step share the batch and nothing else: each has its own rows, its own loss and its own
parameters, and Adam works element by element. A block leaves the step, the optimiser and the batch as soon
as every one of its edits leads everywhere by the margin. Whether an edit is learned is then decided by free
generation.

What the backbone has right by itself counts for nothing: a target token that leads without the block has to lead by
that much more with it, up to the margin. Else a block that is to say its target never learns to stop, since on the
prompts that it is trained on the backbone stops by itself; on others the block then says its target again and again.

Shape letters: g blocks in training, r rows (g times the prompts and wordings of a block's edits), s prompt tokens, t
target tokens, m positions with a target, d hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from pipeline.editing.answering import free_answers, says
from pipeline.editing.backbone import Backbone
from pipeline.editing.blocks import BlockWeights, DynamicLora, initial_weights
from pipeline.editing.curriculum import Lesson, TrainedUnit, Unit
from pipeline.editing.families import Recipe
from pipeline.editing.readout import Readout, hidden_instead_of_logits
from pipeline.editing.replay import Replay, map_tensors

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


class Trainer:
    """Trains units on one backbone. Holds no state between units.

    Args:
        backbone: the frozen model.
        lora: the hooks that add blocks to it.
        recipe: rank, rate and start of a block.
        seed: of all blocks.
        margin: logits by which each target token must lead before a block stops.
    """

    def __init__(self, backbone: Backbone, lora: DynamicLora, recipe: Recipe, seed: int, margin: float) -> None:
        self._backbone = backbone
        self._lora = lora
        self._recipe = recipe
        self._seed = seed
        self._margin = margin
        self._no_cache = {} if backbone.task == "classification" else {"use_cache": False}

    def train(self, unit: Unit) -> TrainedUnit:
        """Trains the blocks of a unit side by side and asks each edit's prompt of them in the end.

        One unit at a time on one backbone: another thread's waits. Answering goes on meanwhile.
        """
        with self._backbone.training:
            return self._train(unit)

    def _train(self, unit: Unit) -> TrainedUnit:
        recipe = self._recipe
        start = unit.start or initial_weights(
            self._lora.widths, unit.blocks, recipe.partial_rank, recipe.init_std, self._seed
        )
        prompts = [row for block in unit.lessons for lesson in block for row in lesson.rows]
        encoded = encode_frozen(self._backbone, self._lora, prompts)
        weights, steps = self._descend(unit, start, encoded)
        return TrainedUnit(unit, weights, steps, self._examine(unit, weights, encoded))

    def _descend(
        self, unit: Unit, start: BlockWeights, encoded: ModelOutput | None
    ) -> tuple[BlockWeights, tuple[int, ...]]:
        """Adam on the blocks in training until each has learned its edits or the iterations are spent."""
        backbone, recipe = self._backbone, self._recipe
        done = {name: (a.clone(), b.clone()) for name, (a, b) in start.items()}
        steps = [unit.iterations] * len(unit.blocks)
        # A round of more steps is the same schedule drawn out: halved as often as before, it would end in standstill.
        halve_every = recipe.halve_every * max(unit.iterations, recipe.iterations) // recipe.iterations
        slots = torch.arange(len(unit.blocks), device=backbone.device)  # which blocks are still in training
        optimiser = BlockAdam(start, recipe.learning_rate, backbone.device)
        batch = collate(backbone, unit.lessons, encoded)
        head = None if backbone.task == "classification" else backbone.model.get_output_embeddings()
        readout = Readout(head)
        replay = Replay(backbone.model, len(slots) * batch.size)
        with self._lora.request(), hidden_instead_of_logits(head), torch.enable_grad():
            for step in range(unit.iterations + 1):
                self._lora.activate(optimiser.weights(), None, len(slots), backbone.dtype)
                with replay.play() if step else replay.record():
                    output = backbone.model(**batch.inputs, **self._no_cache).logits  # [r, t, d]
                hidden = batch.pick(output)  # [m, d]
                if batch.given is None:
                    batch.given = self._given(readout, batch, hidden if unit.start is None else None)
                losses, leads = readout.losses(hidden, batch.targets, batch.owners, batch.given)
                finished = self._finished(readout, batch, hidden, leads, len(slots))
                for slot in slots[finished].tolist():
                    steps[slot] = step
                if step == unit.iterations or bool(finished.all()):
                    optimiser.store(done, slots)
                    break
                if bool(finished.any()):
                    optimiser.store(done, slots)  # before the step: what is learned is not moved any further
                optimiser.step(self._loss(losses, batch), recipe.learning_rate * 0.5 ** (step // halve_every))
                if bool(finished.any()):
                    kept = (~finished).nonzero().squeeze(1)
                    rows = (kept[:, None] * batch.size + torch.arange(batch.size, device=kept.device)).flatten()
                    optimiser.keep(kept)
                    readout.keep(kept)
                    batch.keep(rows)
                    replay.keep(rows)
                    slots = slots[kept]
        return done, tuple(steps)

    @torch.no_grad()
    def _given(self, readout: Readout, batch: Batch, hidden: torch.Tensor | None) -> torch.Tensor:
        """[m] float32: by how much the targets lead without the blocks, between 0 and the margin.

        Args:
            hidden: [m, d] of blocks that add nothing yet; None: the backbone is asked without them.
        """
        if hidden is None:
            with self._lora.request():
                hidden = batch.pick(self._backbone.model(**batch.inputs, **self._no_cache).logits)
        leads = readout.leads(hidden.detach(), batch.targets, extend=True, owners=batch.owners)
        return leads.clamp(0, self._margin)

    @staticmethod
    def _loss(losses: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Sum over blocks of the mean over a block's rows of the mean over a row's target tokens."""
        tokens = torch.bincount(batch.rows)[batch.rows]  # [m] target tokens of the position's row
        return (losses / (tokens * batch.size)).sum()

    def _finished(
        self, readout: Readout, batch: Batch, hidden: torch.Tensor, leads: torch.Tensor, blocks: int
    ) -> torch.Tensor:
        """[g] bool: blocks that lead everywhere, confirmed over the whole vocabulary where they seem to.

        Args:
            leads: [m] over the active sets, less what was given.
        """
        owners = batch.owners
        assert batch.given is not None
        behind = torch.zeros(blocks, dtype=torch.long, device=leads.device)
        seems = behind.index_add(0, owners, (leads <= self._margin).long()) == 0
        if not bool(seems.any()):
            return seems
        asked = seems[owners]
        exact = readout.leads(hidden.detach()[asked], batch.targets[asked], extend=True, owners=owners[asked])
        exact -= batch.given[asked]
        return seems & (behind.index_add(0, owners[asked], (exact <= self._margin).long()) == 0)

    def _examine(self, unit: Unit, weights: BlockWeights, encoded: ModelOutput | None) -> dict[str, str]:
        """Free generation on every prompt of the unit: edit id -> the answer, where it is not the target."""
        lessons = [lesson for block in unit.lessons for lesson in block]
        if encoded is not None:  # of all rows: an edit's prompt is the first of its own
            counts = [len(lesson.rows) for lesson in lessons]
            firsts = torch.tensor([0, *counts[:-1]], device=self._backbone.device).cumsum(0)
            longest_prompt = max(len(lesson.prompt) for lesson in lessons)
            encoded = map_tensors(encoded, lambda states: states[firsts, :longest_prompt])
        with self._lora.request():
            self._lora.activate(weights, None, len(unit.blocks), self._backbone.dtype)
            longest = max(len(lesson.target) for lesson in lessons)
            answers = free_answers(self._backbone, [lesson.prompt for lesson in lessons], longest, encoded)
        return {
            lesson.edit_id: self._backbone.decode_answer(answer)
            for lesson, answer in zip(lessons, answers, strict=True)
            if not says(self._backbone, answer, lesson.target)
        }


BETAS = (0.8, 0.95)
"""Shorter memories than Adam's usual (0.9, 0.999): a block lives for about ten steps. On 300 zsRE edits this
takes 11.1 steps a block against 12.4, and none of them needs a second try."""


class BlockAdam:
    """torch's Adam over the blocks in training; blocks can leave it.

    Args:
        start: module name -> (A [g, p, i], B [g, o, p]).
        rate: learning rate of the first step.
        device: where to train.
    """

    def __init__(self, start: BlockWeights, rate: float, device: torch.device) -> None:
        self._names = sorted(start)
        self._parameters = [
            nn.Parameter(tensor.to(device, torch.float32).clone()) for name in self._names for tensor in start[name]
        ]
        self._adam = torch.optim.Adam(self._parameters, lr=rate, betas=BETAS, fused=True)

    def weights(self) -> BlockWeights:
        """The parameters themselves, with gradients."""
        pairs = zip(self._parameters[::2], self._parameters[1::2], strict=True)
        return dict(zip(self._names, pairs, strict=True))

    def step(self, loss: torch.Tensor, rate: float) -> None:
        """One step down ``loss`` at this rate."""
        self._adam.param_groups[0]["lr"] = rate
        self._adam.zero_grad()
        loss.backward()
        self._adam.step()

    @torch.no_grad()
    def store(self, into: BlockWeights, slots: torch.Tensor) -> None:
        """Copies the blocks in training into slots ([g] int64) of ``into``."""
        for name, (a, b) in self.weights().items():
            into[name][0][slots.to(into[name][0].device)] = a.detach().to(into[name][0].device)
            into[name][1][slots.to(into[name][1].device)] = b.detach().to(into[name][1].device)

    @torch.no_grad()
    def keep(self, blocks: torch.Tensor) -> None:
        """Drops all blocks but these ([kept] int64) with their moments."""
        for i, old in enumerate(self._parameters):
            new = nn.Parameter(old.detach()[blocks])
            state = self._adam.state.pop(old)
            self._adam.state[new] = {
                key: value[blocks] if isinstance(value, torch.Tensor) and value.shape == old.shape else value
                for key, value in state.items()
            }
            self._parameters[i] = new
        self._adam.param_groups[0]["params"] = self._parameters
