"""What a misspelt word may mean."""

from __future__ import annotations

import random

import pytest
from rapidfuzz.distance import OSA

from pipeline.editing.spelling import ORDINARY, Lexicon, Vocabulary, forgiven


def vocabulary_of(*names: str) -> Vocabulary:
    made = Vocabulary()
    for name in names:
        made.add(name.split())
    return made


def meant(vocabulary: Vocabulary, text: str) -> list[set[tuple[str, int]]]:
    (found,) = vocabulary.readings([text.split()])
    return [set(readings) for readings in found]


@pytest.mark.parametrize(
    ("word", "errors"),
    [("of", 1), ("a", 0), ("the", 1), ("ann", 0), ("oslo", 1), ("lisbon", 1), ("michigan", 2), ("n70", 0), ("東", 0)],
)
def test_errors_that_a_word_forgives(word: str, errors: int) -> None:
    assert forgiven(word) == errors


def test_every_word_that_forgives_the_errors_is_found_and_no_other() -> None:
    rng = random.Random(0)
    words = {"".join(rng.choices("abcd", k=rng.randint(2, 12))) for _ in range(2_000)} | {"of", "the", "and"}
    vocabulary = vocabulary_of(*words)
    asked = {"".join(rng.choices("abcdof", k=rng.randint(1, 14))) for _ in range(500)} - words - ORDINARY
    for word, found in zip(asked, vocabulary.readings([[word] for word in asked]), strict=True):
        near = {other for other in words if OSA.distance(other, word) <= forgiven(other)}
        assert {reading for reading, _ in found[0]} == near


def test_a_known_word_means_itself_alone() -> None:
    vocabulary = vocabulary_of("manama", "panama")
    assert meant(vocabulary, "panama manamas ganama what") == [
        {("panama", 1)}, {("manama", 1)}, {("manama", 1), ("panama", 1)}, set()
    ]  # fmt: skip
    vocabulary.know(["ganama"])
    assert meant(vocabulary, "ganama") == [set()]
    vocabulary.add(["ganama"])
    assert meant(vocabulary, "ganama") == [{("ganama", 1)}]


def test_the_space_between_two_words_may_be_gone_wrong_or_elsewhere() -> None:
    vocabulary = vocabulary_of("katsuhiko oku")
    whole = "katsuhiko oku"
    assert meant(vocabulary, "katsuhikooku") == [{(whole, 1)}]
    assert meant(vocabulary, "katsuhikoxoku") == [{(whole, 1)}]
    assert (whole, 2) in meant(vocabulary, "katsuhik ooku")[0]
    assert ("katsuhiko", 2) in meant(vocabulary, "kat suhiko")[0]
    assert meant(vocabulary, whole) == [{("katsuhiko", 1)}, {("oku", 1)}]


def test_a_misspelt_word_becomes_the_most_frequent_one_that_is_one_error_apart() -> None:
    lexicon = Lexicon(["country", "county", "founded", "founder", "where", "novels"])
    assert lexicon.corrected("Which contry was it Foundde in?") == "Which country was it founded in?"
    assert lexicon.corrected("counyty") == "county"
    assert lexicon.corrected("countr") == "country"  # "county" is as near, and rarer
    same = "Country, county; wher Zagreb naïve x2bcde foundress"  # known, short, far from all, not of these letters
    assert lexicon.corrected(same) == same
    assert lexicon.corrected("") == ""
