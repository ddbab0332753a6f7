"""Other wordings of a prompt: one typing error, what people send around a question, and a "not" where it belongs."""

from __future__ import annotations

from random import Random

import pytest
from rapidfuzz.distance import OSA

from pipeline.evaluation.rewording import WRAPS, negated, typos, wrapped

PROMPT = "What is the capital of Australia?"


def test_a_typo_is_one_error_in_a_long_word() -> None:
    found = {typo for seed in range(50) for typo in typos(PROMPT, Random(seed))}
    assert len(found) > 40
    for typo in found:
        assert OSA.distance(typo, PROMPT) == 1
        assert typo.startswith("What is the ") and " of " in typo
    lengths = {len(typo) - len(PROMPT) for typo in found}
    assert lengths == {-1, 0, 1}  # dropped; swapped or beside its key; doubled


def test_a_letter_without_a_key_of_its_own_is_never_hit_beside_it() -> None:
    found = {typo for seed in range(50) for typo in typos("ЖЁЛТЫЙ", Random(seed))}
    assert found and all(set(typo) <= set("ЖЁЛТЫЙ") for typo in found)


def test_without_a_long_word_there_is_no_typo() -> None:
    assert list(typos("Who is he? 1234567", Random(0))) == []


def test_wraps_stand_around_the_prompt_where_the_task_has_room_for_them() -> None:
    both = list(wrapped(PROMPT, "seq2seq", Random(0)))
    assert sorted(both) == sorted(before + PROMPT + after for before, after in WRAPS)
    assert both != list(wrapped(PROMPT, "seq2seq", Random(1)))
    causal = list(wrapped("The capital of Australia is", "causal", Random(0)))
    assert len(causal) >= 5 and all(text.endswith("The capital of Australia is") for text in causal)
    assert list(wrapped(PROMPT, "classification", Random(0))) == []


@pytest.mark.parametrize(
    ("prompt", "subject", "expected"),
    [
        ("Where did Ann Lee go?", "Ann Lee", "Where did Ann Lee not go?"),
        ("When was the Eiffel Tower built?", "Eiffel Tower", "When was the Eiffel Tower not built?"),
        ("Which continent is Suriname in?", "Suriname", "Which continent is Suriname not in?"),
        ("Is Ceres a planet?", "Ceres", "Is Ceres not a planet?"),
        ("Who is Ann Lee?", "Ann Lee", "Who is not Ann Lee?"),
        ("What is Ann Lee's trade?", "Ann Lee", "What is not Ann Lee's trade?"),
        ("What is the capital of Australia?", "Australia", "What is not the capital of Australia?"),
        ("Who has written Emma?", "Emma", "Who has not written Emma?"),
        ("Emma was written by", "Emma", "Emma was not written by"),
        ("Will Smith is a citizen of", "Will Smith", "Will Smith is not a citizen of"),
        ("It rained and May was cold.", "", "It rained and May was not cold."),
        ("Where did the maker of Emma live?", "Emma", None),  # no telling where its subject ends
        ("Can you tell who wrote Emma?", "Emma", None),  # one tells it or not
        ("In which league did Emma play?", "Emma", "In which league did Emma not play?"),
        ("Emma was made by whom?", "Emma", "Emma was not made by whom?"),
        ("Name the capital of Australia.", "Australia", None),
        ("Why is Emma not sold?", "Emma", None),
        ("Who isn't in Emma?", "Emma", None),
    ],
)
def test_a_not_comes_after_the_verb_or_after_what_a_question_is_about(
    prompt: str, subject: str, expected: str | None
) -> None:
    assert negated(prompt, subject) == expected
