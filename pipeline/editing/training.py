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

import torch
from transformers.utils import ModelOutput

from pipeline.editing.adam import BlockAdam
from pipeline.editing.answering import free_answers, says
from pipeline.editing.backbone import Backbone
from pipeline.editing.batches import Batch, collate, encode_frozen
from pipeline.editing.blocks import BlockWeights, DynamicLora, initial_weights
from pipeline.editing.curriculum import TrainedUnit, Unit
from pipeline.editing.readout import Readout, hidden_instead_of_logits
from pipeline.editing.recipe import Recipe
from pipeline.editing.replay import Replay, map_tensors

LOOK_AROUND = 5
"""Steps after which all blocks in training are held against the whole vocabulary. Else a token that no set has and that
comes to win would stay unnoticed under a wide margin, which some targets never reach."""


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
        # What a new block's first pass is beaten by, `_given` sees; after the last step nothing is trained any more.
        looks = range(LOOK_AROUND if unit.start is None else 0, unit.iterations, LOOK_AROUND)
        with self._lora.request(), hidden_instead_of_logits(head), torch.enable_grad():
            for step in range(unit.iterations + 1):
                self._lora.activate(optimiser.weights(), None, len(slots), backbone.dtype)
                with replay.play() if step else replay.record():
                    output = backbone.model(**batch.inputs, **self._no_cache).logits  # [r, t, d]
                hidden = batch.pick(output)  # [m, d]
                if batch.given is None:
                    batch.given = self._given(readout, batch, hidden if unit.start is None else None)
                losses, leads = readout.losses(hidden, batch.targets, batch.owners, batch.given)
                finished = self._finished(readout, batch, hidden, leads, len(slots), step in looks)
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
        self, readout: Readout, batch: Batch, hidden: torch.Tensor, leads: torch.Tensor, blocks: int, around: bool
    ) -> torch.Tensor:
        """[g] bool: blocks that lead everywhere, confirmed over the whole vocabulary where they seem to.

        Args:
            leads: [m] over the active sets, less what was given.
            around: look over the whole vocabulary for the others too, so that what beats their targets joins the sets.
        """
        owners = batch.owners
        assert batch.given is not None
        behind = torch.zeros(blocks, dtype=torch.long, device=leads.device)
        seems = behind.index_add(0, owners, (leads <= self._margin).long()) == 0
        looked_at = seems | around
        if not bool(looked_at.any()):
            return seems
        asked = looked_at[owners]
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
