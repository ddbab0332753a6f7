"""What lies beside an edit: no prompt asks for what any edit teaches, in whichever words."""

from __future__ import annotations

from random import Random

from pipeline.editing.edit import Edit, normalise
from pipeline.evaluation.neighbours import UNRELATED, Neighbours


def capital(name: str) -> Edit:
    return Edit(f"What is the capital of {name}?", "?", (f"Name the capital of {name}.",), subject=name)


def money(name: str) -> Edit:
    return Edit(f"What do people pay with in {name}?", "?", (f"Name the currency of {name}.",), subject=name)


SPIDER = Edit("How many legs has a spider?", "8", subject="a spider")
EDITS = [
    capital("Austria"),
    money("Austria"),
    money("Sri Lanka"),
    Edit("Name the capital of Chad.", "?", subject="Chad"),  # the same relation by the words of others
    money("the Netherlands"),
    capital("Netherlands"),
    SPIDER,
    Edit("It rained all spring.", "weather"),
]


def test_a_distractor_has_the_form_of_an_edit_and_a_subject_that_is_not_taught_in_it() -> None:
    found = list(Neighbours(EDITS).distractor(0, Random(0)))
    assert found == ["What is the capital of Sri Lanka?", "What is the capital of a spider?"]  # the like of it first


def test_what_may_be_the_same_question_in_other_words_is_not_asked() -> None:
    works = [
        Edit("Who designed the Louvre?", "?", subject="the Louvre"),
        Edit("Who was the designer of Big Ben?", "?", subject="Big Ben"),
        Edit("When was Big Ben built?", "?", subject="Big Ben"),
    ]
    neighbours = Neighbours(works)
    assert list(neighbours.distractor(0, Random(0))) == []
    assert list(neighbours.relation(0, Random(0))) == ["When was the Louvre built?"]
    assert list(neighbours.distractor(2, Random(0))) == ["When was the Louvre built?"]


def test_a_relation_question_asks_of_the_subject_what_is_not_taught_of_it() -> None:
    neighbours = Neighbours(EDITS)
    assert list(neighbours.relation(0, Random(0))) == ["How many legs has Austria?"]
    found = list(neighbours.relation(2, Random(0)))
    assert set(found[:3]) == {"What is the capital of Sri Lanka?", "Name the capital of Sri Lanka."}
    assert found[3:] == ["How many legs has Sri Lanka?"]
    assert "Name the capital of a spider." in set(neighbours.relation(6, Random(0)))


def test_what_is_near_differs_by_one_word_of_the_subject_or_one_digit() -> None:
    found = set(Neighbours(EDITS).near(2, Random(0)))
    for prompt in found:
        before, after = prompt.removeprefix("What do people pay with in ").removesuffix("?").split()
        assert (before == "Sri") != (after == "Lanka")
    assert len(found) > 2
    moon = Edit("When did Apollo 11 land?", "1969", subject="Apollo 11")
    flown = Neighbours([moon, Edit("When did Apollo 12 land?", "1969", subject="Apollo 12")])
    near = {prompt for seed in range(100) for prompt in flown.near(0, Random(seed))}
    assert near == {f"When did Apollo {number} land?" for number in (13, 14, 15, 16, 17, 18, 19, *range(21, 92, 10))}
    prompt = "Who won in 1930?"
    years = list(Neighbours([Edit(prompt, "?")]).near(0, Random(0)))
    assert [sum(a != b for a, b in zip(year, prompt, strict=True)) for year in years] == [1] * 4


def test_an_edit_without_a_subject_has_no_neighbours_but_by_its_digits() -> None:
    neighbours = Neighbours(EDITS)
    for found in (neighbours.distractor, neighbours.relation, neighbours.near):
        assert list(found(7, Random(0))) == []


def test_unrelated_prompts_are_all_different() -> None:
    assert len({normalise(prompt) for prompt in UNRELATED}) == len(UNRELATED) > 64
