"""What a prompt asks of its subject, and what else it says."""

from __future__ import annotations

import pytest

from pipeline.editing.clauses import Clause, clause_of, places_of


@pytest.mark.parametrize(
    ("prompt", "names", "asks", "rest"),
    [
        ("What college did Ada Byron go to?", ["Ada Byron"], "What college did go to?", ""),
        (
            "It is odd. Reedy Glacier is in the",
            ["Reedy Glacier"],
            "is in the",
            "It is odd.",
        ),
        (
            "Hi! A question: Where was Bo Lee born? Thanks",
            ["Bo Lee"],
            "Where was born?",
            "Hi! A question: Thanks",
        ),
        ("Q: Where was Bo Lee born?\nA:", ["Bo Lee"], "Where was born?", "Q: A:"),
        (
            "Of Marie Curie. Where was she born?",
            ["Marie Curie"],
            "Where was she born?",
            "Of Marie Curie.",
        ),
        ("Where was Bo Lee born? I need this for a quiz.", ["Bo Lee"], "Where was born?", "I need this for a quiz."),
        ("What sport does Bo Lee play? They play", ["Bo Lee"], "What sport does play?", "They play"),
        ("Who made J. S. Bach: A Life?", ["J. S. Bach: A Life"], "Who made ?", ""),
        ("Oslo is nice. Oslo is in", ["Oslo"], "is in", "Oslo is nice."),
        ("This is about Bo Lee. He was young.", ["Bo Lee"], "This is about . He was young.", ""),
        ("Where was IBM founded?", ["International Business Machines", "IBM"], "Where was founded?", ""),
        (
            "I read of it. Name the capital of Peru. Be brief.",
            ["Peru"],
            "Name the capital of .",
            "I read of it. Be brief.",
        ),
        ("Where is it?", [], "Where is it?", ""),
        ("Where is it?", ["Oslo"], "Where is it?", ""),
        ("Oslo", ["Oslo"], "", ""),
        ("", ["Oslo"], "", ""),
    ],
)
def test_the_sentence_that_asks_is_told_from_the_rest(prompt: str, names: list[str], asks: str, rest: str) -> None:
    assert clause_of(prompt, names) == Clause(asks, rest)


@pytest.mark.parametrize(
    "prompt",
    ["Where was marie curie born?", "Where was Marie Cuire born?", "Where was Mariecurie born?"],
)
def test_a_name_is_found_however_it_is_written(prompt: str) -> None:
    assert clause_of(prompt, ["Marie Curie"]) == clause_of("Where was Marie Curie born?", ["Marie Curie"])


def test_a_possessive_stays_and_so_it_is_one_clause() -> None:
    clauses = {clause_of(f"Who is {name}'s mother?", ["Elias Disney"]) for name in ("Elias Disney", "Elias Disny")}
    assert clauses == {Clause("Who is 's mother?", "")}


def test_the_first_name_that_is_spelt_counts_everywhere_and_what_is_far_from_all_is_none() -> None:
    text = "Rome and Roma: is Rome old?"
    assert [text[slice(*place)] for place in places_of(text, ["Rome", "Roma"])] == ["Rome", "Rome"]
    assert [text[slice(*place)] for place in places_of(text, ["Roma", "Rome"])] == ["Roma"]
    assert places_of("Paris is old", ["Rome"]) == []
    assert places_of("Is it?", ["It"]) == [(3, 5)]
