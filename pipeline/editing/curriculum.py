"""Which edits are trained in which block, beside which others, and what is tried again.

The plan depends on the edits alone, never on who trains them: a unit of work is a few blocks that are
trained in one step, and one trainer or eight, in any order, produce the same blocks (rule 6).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from pipeline.editing.blocks import BlockWeights


@dataclass(frozen=True, slots=True)
class Lesson:
    """One edit as tokens.

    Attributes:
        edit_id: the edit.
        prompt: token ids of the prompt.
        target: token ids of the target with its natural end; for a classifier the class alone.
        wordings: token ids of other wordings, which are trained with it; whether it is learned is asked of the prompt.
    """

    edit_id: str
    prompt: tuple[int, ...]
    target: tuple[int, ...]
    wordings: tuple[tuple[int, ...], ...] = ()

    @property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        """All that is trained to be answered by the target, the prompt first."""
        return self.prompt, *self.wordings


@dataclass(frozen=True, slots=True)
class Unit:
    """Blocks trained side by side in one step; the smallest piece of work that is handed out.

    Attributes:
        blocks: g block ids.
        lessons: for each block its lessons; equally many, and equally many rows, in all.
        iterations: optimiser steps at most.
        start: weights to go on from; None to start anew.
    """

    blocks: tuple[int, ...]
    lessons: tuple[tuple[Lesson, ...], ...]
    iterations: int
    start: BlockWeights | None = None


@dataclass(frozen=True, slots=True)
class TrainedUnit:
    """What training a unit gave.

    Attributes:
        unit: the work.
        weights: the blocks' weights, in the unit's order.
        steps: optimiser steps each block took.
        answers: edit id -> what the model said by free generation when it was not the target; an edit
            that is missing here was learned.
    """

    unit: Unit
    weights: BlockWeights
    steps: tuple[int, ...]
    answers: dict[str, str]


@dataclass(slots=True)
class Progress:
    """Where one edit stands: the block that holds it, steps spent on it, the last wrong answer or None."""

    block: int = -1
    steps: int = 0
    wrong: str | None = "never trained"


@dataclass(slots=True)
class Curriculum:
    """Rounds of units: first all edits, then longer where a block has not learned all, then each left over alone.

    Args:
        lessons: the edits, in order of arrival.
        next_block: first block id to give out; holds the next free one afterwards.
        edits_per_block: edits of a block at most in the first round; the last round gives each edit its own.
        long_target: tokens of a target beyond which an edit has a block of its own from the first round on.
        edits_per_step: edits of a unit at most; one block is always taken.
        iterations: steps at most in the first round, doubled in the later ones.
        tokens_per_step: tokens of a unit at most, pads counted, so that long prompts don't fill the memory;
            one block is always taken.
    """

    lessons: Sequence[Lesson]
    next_block: int
    edits_per_block: int
    long_target: int
    edits_per_step: int
    iterations: int
    tokens_per_step: int = 4096
    progress: dict[str, Progress] = field(default_factory=dict)
    weights: dict[int, BlockWeights] = field(default_factory=dict)
    _round: int = 0

    def __post_init__(self) -> None:
        self.progress = {lesson.edit_id: Progress() for lesson in self.lessons}

    def units(self) -> list[Unit]:
        """The units of the next round that has any; empty when there is nothing left to try."""
        while self._round < 3:
            number, self._round = self._round, self._round + 1
            units = (self._first, self._longer, self._alone)[number]()
            if units:
                return units
        return []

    def finish(self, trained: Sequence[TrainedUnit]) -> None:
        """Takes in the results of a round, in any order."""
        for result in sorted(trained, key=lambda r: r.unit.blocks[0]):
            for slot, (block, lessons) in enumerate(zip(result.unit.blocks, result.unit.lessons, strict=True)):
                self.weights[block] = {  # clones: a view that is sent away takes along the whole unit
                    name: (a[slot : slot + 1].clone(), b[slot : slot + 1].clone())
                    for name, (a, b) in result.weights.items()
                }
                for lesson in lessons:
                    state = self.progress[lesson.edit_id]
                    state.block, state.wrong = block, result.answers.get(lesson.edit_id)
                    state.steps += result.steps[slot]

    def learned_blocks(self) -> list[int]:
        """Blocks that at least one edit learned in, in order of their ids."""
        return sorted({state.block for state in self.progress.values() if state.wrong is None})

    def _first(self) -> list[Unit]:
        short = [lesson for lesson in self.lessons if len(lesson.target) <= self.long_target]
        long = [lesson for lesson in self.lessons if len(lesson.target) > self.long_target]
        return self._plan(short, self.edits_per_block, self.iterations) + self._plan(long, 1, self.iterations)

    def _longer(self) -> list[Unit]:
        return self._go_on({self.progress[lesson.edit_id].block for lesson in self._unlearned()})

    def _alone(self) -> list[Unit]:
        """Who failed beside others starts anew in a block of its own; who was alone goes on where it was."""
        held = Counter(state.block for state in self.progress.values())
        behind = [(lesson, self.progress[lesson.edit_id].block) for lesson in self._unlearned()]
        alone = {block for _, block in behind if held[block] == 1}
        shared = [lesson for lesson, block in behind if block not in alone]
        return self._go_on(alone) + self._plan(shared, 1, 2 * self.iterations)

    def _go_on(self, behind: set[int]) -> list[Unit]:
        """Trains blocks with all their edits from where they are."""
        blocks: dict[int, list[Lesson]] = {block: [] for block in sorted(behind)}
        for lesson in self._sorted(list(self.lessons)):
            block = self.progress[lesson.edit_id].block
            if block in behind:
                blocks[block].append(lesson)
        units = self._group(blocks, 2 * self.iterations)
        return [replace(unit, start=stack([self.weights[block] for block in unit.blocks])) for unit in units]

    def _unlearned(self) -> list[Lesson]:
        return [lesson for lesson in self.lessons if self.progress[lesson.edit_id].wrong is not None]

    @staticmethod
    def _sorted(lessons: list[Lesson]) -> list[Lesson]:
        # Equal lengths side by side: a step pads little, and its decoder is as short as its targets.
        return sorted(lessons, key=lambda lesson: (len(lesson.target), len(lesson.prompt)))

    def _plan(self, lessons: list[Lesson], per_block: int, iterations: int) -> list[Unit]:
        """Cuts lessons into blocks whose sizes differ by one at most, and numbers them."""
        if not lessons:
            return []
        lessons = self._sorted(lessons)
        count = -(-len(lessons) // per_block)
        size, larger = divmod(len(lessons), count)
        blocks: dict[int, list[Lesson]] = {}
        start = 0
        for number in range(count):
            end = start + size + (number < larger)
            blocks[self.next_block] = lessons[start:end]
            self.next_block, start = self.next_block + 1, end
        return self._group(blocks, iterations)

    def _group(self, blocks: dict[int, list[Lesson]], iterations: int) -> list[Unit]:
        """Groups blocks with equally many edits and rows, in order of their ids."""
        groups: list[list[int]] = []
        sizes = {
            block: (len(lessons), sum(len(lesson.rows) for lesson in lessons)) for block, lessons in blocks.items()
        }
        for size in sorted(set(sizes.values())):
            group: list[int] = []
            for block in (block for block in blocks if sizes[block] == size):
                if group and not self._fits([lesson for other in (*group, block) for lesson in blocks[other]]):
                    group = []
                if not group:
                    groups.append(group)
                group.append(block)
        return [Unit(tuple(group), tuple(tuple(blocks[block]) for block in group), iterations) for group in groups]

    def _fits(self, lessons: list[Lesson]) -> bool:
        """Whether a step has room for the lessons of several blocks."""
        rows = [len(row) for lesson in lessons for row in lesson.rows]
        width = max(rows) + max(len(lesson.target) for lesson in lessons)
        return len(lessons) <= self.edits_per_step and width * len(rows) <= self.tokens_per_step


def stack(weights: Sequence[BlockWeights]) -> BlockWeights:
    """Joins the weights of several blocks along the block axis."""
    return {
        name: (torch.cat([w[name][0] for w in weights]), torch.cat([w[name][1] for w in weights]))
        for name in (weights[0] if weights else ())
    }
