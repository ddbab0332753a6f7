from __future__ import annotations

import random
from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.editing.curriculum import Curriculum, Lesson, TrainedUnit, Unit, stack

Learns = Callable[[Lesson, int], bool]
"""Whether a lesson is learned in a round (0, 1, 2)."""

lesson_lists = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), min_size=1, max_size=40).map(
    lambda sizes: [
        Lesson(f"edit-{i}", tuple(range(prompt)), tuple(range(target))) for i, (prompt, target) in enumerate(sizes)
    ]
)


def made(lessons: list[Lesson], per_block: int = 3, per_step: int = 6, next_block: int = 10) -> Curriculum:
    return Curriculum(lessons, next_block, per_block, long_target=6, edits_per_step=per_step, iterations=7)


def train(unit: Unit, learned: Callable[[Lesson], bool]) -> TrainedUnit:
    """Stands for a trainer: the weights tell block and iterations, the steps the block."""
    marks = torch.tensor([[[block + unit.iterations / 100]] for block in unit.blocks])
    wrong = {
        lesson.edit_id: f"no {unit.iterations}" for block in unit.lessons for lesson in block if not learned(lesson)
    }
    return TrainedUnit(unit, {"module": (marks, -marks)}, tuple(block % 5 + 1 for block in unit.blocks), wrong)


def teach(curriculum: Curriculum, learns: Learns, shuffle: random.Random | None = None) -> list[list[Unit]]:
    rounds: list[list[Unit]] = []
    while units := curriculum.units():
        results = [train(unit, lambda lesson: learns(lesson, len(rounds))) for unit in units]
        if shuffle is not None:
            shuffle.shuffle(results)
        curriculum.finish(results)
        rounds.append(units)
    return rounds


def blocks_of(units: list[Unit]) -> dict[int, tuple[Lesson, ...]]:
    return {block: lessons for unit in units for block, lessons in zip(unit.blocks, unit.lessons, strict=True)}


# The plan


@given(lesson_lists, st.integers(1, 12), st.integers(1, 30), st.integers(0, 100))
def test_the_first_round_holds_every_edit_once(lessons: list[Lesson], per_block: int, per_step: int, free: int) -> None:
    curriculum = made(lessons, per_block, per_step, free)
    units = curriculum.units()
    blocks = blocks_of(units)
    assert sorted(lesson.edit_id for block in blocks.values() for lesson in block) == sorted(
        lesson.edit_id for lesson in lessons
    )
    sizes = [len(block) for block in blocks.values()]
    assert max(sizes) <= per_block
    assert max(sizes) - min(sizes) <= 1
    assert len(blocks) == -(-len(lessons) // per_block)
    assert sorted(blocks) == list(range(free, free + len(blocks)))
    assert curriculum.next_block == free + len(blocks)
    for unit in units:
        assert list(unit.blocks) == sorted(unit.blocks)
        assert len(unit.blocks) == 1 or sum(map(len, unit.lessons)) <= per_step
        assert len({len(block) for block in unit.lessons}) == 1
        assert (unit.iterations, unit.start) == (7, None)
    # Only the last unit of each size may have room left.
    assert len(units) == sum(-(-sizes.count(size) // max(1, per_step // size)) for size in set(sizes))


@given(lesson_lists, st.integers(1, 12))
def test_edits_of_like_length_share_a_block(lessons: list[Lesson], per_block: int) -> None:
    blocks = blocks_of(made(lessons, per_block).units())
    lengths = [(len(lesson.target), len(lesson.prompt)) for block in sorted(blocks) for lesson in blocks[block]]
    assert lengths == sorted(lengths)


@given(lesson_lists, st.integers(1, 5), st.integers(1, 60))
def test_a_unit_of_several_blocks_holds_no_more_tokens_than_allowed(
    lessons: list[Lesson], per_block: int, tokens: int
) -> None:
    curriculum = Curriculum(lessons, 0, per_block, 6, 20, iterations=7, tokens_per_step=tokens)
    units = curriculum.units()
    assert sorted(block for unit in units for block in unit.blocks) == list(range(curriculum.next_block))
    for unit in units:
        rows = [lesson for block in unit.lessons for lesson in block]
        padded = max(len(row.prompt) for row in rows) + max(len(row.target) for row in rows)
        assert len(unit.blocks) == 1 or padded * len(rows) <= tokens


@given(lesson_lists, st.integers(1, 12), st.integers(0, 5))
def test_an_edit_with_a_long_target_has_its_own_block(lessons: list[Lesson], per_block: int, long: int) -> None:
    curriculum = Curriculum(lessons, 0, per_block, long, edits_per_step=6, iterations=7)
    blocks = blocks_of(curriculum.units()).values()
    assert sorted(lesson.edit_id for block in blocks for lesson in block) == sorted(x.edit_id for x in lessons)
    assert all(len(block) == 1 or max(len(lesson.target) for lesson in block) <= long for block in blocks)
    short = [lesson for lesson in lessons if len(lesson.target) <= long]
    assert len(blocks) == len(lessons) - len(short) + -(-len(short) // per_block)


def test_no_edits_make_no_units() -> None:
    curriculum = made([])
    assert curriculum.units() == []
    assert (curriculum.next_block, curriculum.learned_blocks()) == (10, [])


# The rounds


@given(lesson_lists, st.integers(2, 6), st.integers(1, 15), st.sets(st.integers(0, 39)), st.sets(st.integers(0, 39)))
def test_what_is_not_learned_is_tried_longer_and_then_alone(
    lessons: list[Lesson], per_block: int, per_step: int, hard: set[int], harder: set[int]
) -> None:
    names = {f"edit-{i}" for i in hard}, {f"edit-{i}" for i in hard & harder}
    curriculum = made(lessons, per_block, per_step)
    rounds = teach(curriculum, lambda lesson, turn: turn == 2 or lesson.edit_id not in names[turn])
    first = blocks_of(rounds[0])
    behind = {block for block, group in first.items() if any(lesson.edit_id in names[0] for lesson in group)}
    assert len(rounds) == 1 + bool(behind) + bool(behind and any(lesson.edit_id in names[1] for lesson in lessons))

    if len(rounds) > 1:  # the same blocks with all their edits, from where they were
        longer = blocks_of(rounds[1])
        assert longer.keys() == behind
        for unit in rounds[1]:
            assert unit.iterations == 14
            assert unit.start is not None
            assert unit.start["module"][0].flatten().tolist() == [
                torch.tensor(block + 0.07).item() for block in unit.blocks
            ]
            assert len({len(block) for block in unit.lessons}) == 1
        for block, group in longer.items():
            assert sorted(lesson.edit_id for lesson in group) == sorted(lesson.edit_id for lesson in first[block])
    if len(rounds) > 2:  # who was left over beside others has a new block of its own, who was alone goes on
        last = blocks_of(rounds[2])
        assert all(len(group) == 1 for group in last.values())
        assert {group[0].edit_id for group in last.values()} == names[1] & {lesson.edit_id for lesson in lessons}
        new = [block for block in last if block not in first]
        assert sorted(new) == list(range(10 + len(first), 10 + len(first) + len(new)))
        assert all(len(group) == 1 for block, group in first.items() if block in last)
        for unit in rounds[2]:
            assert unit.iterations == 14
            assert (unit.start is None) == (unit.blocks[0] in new)
            if unit.start is not None:
                assert unit.start["module"][0].flatten().tolist() == [
                    torch.tensor(block + 0.14).item() for block in unit.blocks
                ]

    assert all(state.wrong is None for state in curriculum.progress.values())
    used = {state.block for state in curriculum.progress.values()}
    assert curriculum.learned_blocks() == sorted(used)
    for lesson in lessons:
        state = curriculum.progress[lesson.edit_id]
        tried = [block for units in rounds for block, group in blocks_of(units).items() if lesson in group]
        assert state.block == tried[-1]
        assert state.steps == sum(block % 5 + 1 for block in tried)


def test_what_is_never_learned_keeps_its_last_answer() -> None:
    lessons = [Lesson(f"edit-{i}", (1,), (2,)) for i in range(4)]
    curriculum = made(lessons, per_block=2)
    rounds = teach(curriculum, lambda lesson, turn: lesson.edit_id != "edit-3")
    assert [len(units) for units in rounds] == [1, 1, 1]
    assert curriculum.progress["edit-3"].wrong == "no 14"
    assert curriculum.learned_blocks() == [10, 11]  # neither the failed edit's own block nor a block twice
    assert curriculum.units() == []


def test_a_block_of_one_edit_is_not_made_smaller_but_goes_on() -> None:
    curriculum = made([Lesson("edit-0", (1,), (2,)), Lesson("edit-1", (1,), (2,))], per_block=1)
    rounds = teach(curriculum, lambda lesson, turn: False)
    assert [sorted(blocks_of(units)) for units in rounds] == [[10, 11]] * 3
    assert [unit.start is None for units in rounds for unit in units] == [True, False, False]
    assert curriculum.learned_blocks() == []


def test_an_edit_that_longer_training_breaks_counts_as_not_learned() -> None:
    lessons = [Lesson("kept", (1,), (2,)), Lesson("late", (1,), (2,))]
    curriculum = made(lessons, per_block=2)
    rounds = teach(curriculum, lambda lesson, turn: turn == 2 or (lesson.edit_id == "kept") == (turn == 0))
    assert [group[0].edit_id for group in blocks_of(rounds[2]).values()] == ["kept"]
    assert curriculum.learned_blocks() == [10, 11]


# Who trains, and in what order


@given(
    lesson_lists, st.integers(1, 6), st.integers(1, 20), st.sets(st.integers(0, 39)), st.randoms(use_true_random=False)
)
def test_the_order_of_results_does_not_matter(
    lessons: list[Lesson], per_block: int, per_step: int, hard: set[int], shuffle: random.Random
) -> None:
    def learns(lesson: Lesson, turn: int) -> bool:
        return int(lesson.edit_id[5:]) not in hard or (turn == 2 and len(lesson.prompt) > 2)

    straight, mixed = made(lessons, per_block, per_step), made(lessons, per_block, per_step)
    planned = [[(u.blocks, u.lessons, u.iterations) for u in units] for units in teach(straight, learns)]
    replanned = [[(u.blocks, u.lessons, u.iterations) for u in units] for units in teach(mixed, learns, shuffle)]
    assert planned == replanned
    assert straight.progress == mixed.progress
    assert straight.next_block == mixed.next_block
    assert straight.weights.keys() == mixed.weights.keys()
    for block, weights in straight.weights.items():
        assert torch.equal(weights["module"][0], mixed.weights[block]["module"][0])
        assert weights["module"][0].shape == (1, 1, 1)


def test_a_block_has_weights_of_its_own_and_brings_no_others_along() -> None:
    curriculum = made([Lesson(f"edit-{i}", (1,), (2,)) for i in range(6)], per_block=2)
    (unit,) = curriculum.units()
    whole = {"one": (torch.randn(3, 2, 5), torch.randn(3, 6, 2)), "two": (torch.randn(3, 2, 4), torch.randn(3, 1, 2))}
    curriculum.finish([TrainedUnit(unit, whole, (1, 2, 3), {})])
    assert sorted(curriculum.weights) == list(unit.blocks)
    for slot, block in enumerate(unit.blocks):
        for name, (a, b) in curriculum.weights[block].items():
            assert (a.untyped_storage().nbytes(), b.untyped_storage().nbytes()) == (a.nbytes, b.nbytes)
            assert torch.equal(a[0], whole[name][0][slot])
            assert torch.equal(b[0], whole[name][1][slot])


def test_stacking_joins_blocks_in_order() -> None:
    one, two = ({"m": (torch.full((1, 2, 3), v), torch.full((1, 4, 2), -v))} for v in (1.0, 2.0))
    a, b = stack([two, one])["m"]
    assert a[:, 0, 0].tolist() == [2, 1]
    assert b[:, 0, 0].tolist() == [-2, -1]
    assert stack([]) == {}
