"""SQuAD's measures, worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.metrics import exact_match, f1, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Cat, sat!", ["cat", "sat"]),
        ("an  apple\ta day", ["apple", "day"]),
        ("Theatre of a thousand", ["theatre", "of", "thousand"]),  # articles are words of their own
        ("U.S.A.", ["usa"]),
        ("well-known", ["wellknown"]),
        ("ﬁve", ["five"]),  # one ligature, by its compatible form
        ("The The", ["the", "the"]),
        ("!!", ["!!"]),
        ("", []),
    ],
)
def test_words_are_normalised_as_squad_does(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("answer", "expected", "score"),
    [
        ("Waseda University", "waseda university", 1.0),
        ("the Waseda University.", "Waseda University", 1.0),
        ("University", "Waseda University", 2 / 3),  # precision 1, recall 1/2
        ("Waseda University of Tokyo", "Waseda University", 2 / 3),  # precision 1/2, recall 1
        ("new new york", "new york york", 2 / 3),  # new once, york once: 2 of 3 on both sides
        ("Paris", "London", 0.0),
        ("", "London", 0.0),
        ("London", "", 0.0),
        ("", "", 1.0),
        ("?", "!", 0.0),  # neither has a word that SQuAD would keep
    ],
)
def test_f1_worked_by_hand(answer: str, expected: str, score: float) -> None:
    assert f1(answer, expected) == pytest.approx(score)


@given(st.text(max_size=20), st.text(max_size=20))
def test_f1_is_a_share_the_same_both_ways_and_whole_for_an_exact_match(one: str, other: str) -> None:
    score = f1(one, other)
    assert 0.0 <= score <= 1.0
    assert score == f1(other, one)
    assert f1(one, one) == exact_match(one, one, "seq2seq") == 1.0
    if exact_match(one, other, "seq2seq"):
        assert score == 1.0


def test_exact_match_asks_for_words_of_text_and_for_the_name_of_a_class() -> None:
    assert exact_match("The KV Mechelen", "kv mechelen", "seq2seq") == 1.0
    assert exact_match("KV Mechelen II", "KV Mechelen", "causal") == 0.0
    assert exact_match("Civil  rights", "civil Rights", "classification") == 1.0
    assert exact_match("The Civil Rights", "Civil Rights", "classification") == 0.0
