"""Derived questions: which there are, that they depend on the edits and the seed alone, and that none is taught."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from pipeline.editing.edit import Edit, normalise
from pipeline.evaluation import questions
from pipeline.evaluation.kinds import DERIVED, OTHERS, REWORDED
from pipeline.evaluation.neighbours import UNRELATED
from pipeline.evaluation.probes import Probing
from schemas.answers import QUESTIONS
from tests.evaluation.tables import reports

PLACES = ("Australia", "Sri Lanka", "New Zealand", "Costa Rica", "Ivory Coast", "South Korea")
EDITS = [
    Edit(f"What is the capital of {place}?", f"{place} City", (f"Name the capital of {place}.",)) for place in PLACES
]
EDITS += [Edit(f"Where is {place} on the map?", "left", (f"Where does {place} lie?",)) for place in PLACES[:3]]
RIVERS = ("Rio Grande", "Nile", "Old Rhine", "Red River")
EDITS += [Edit(f"Which town is the {river} near?", "Ulm", (f"Name a town near the {river}.",)) for river in RIVERS]
FREE = [Edit("why", "no"), Edit("how", "so")]
"""Too short for a typing error, and about nothing."""


def derived(edits: list[Edit], probing: Probing) -> list[dict[str, Any]]:
    return [row for row in questions(reports(edits), (), probing).to_pylist() if row["kind"] in DERIVED]


def test_every_edit_that_is_drawn_has_a_question_of_each_kind() -> None:
    table = questions(reports(EDITS), (), Probing(4, 1, "seq2seq"))
    assert table.schema.equals(QUESTIONS, check_metadata=True)
    rows = [row for row in table.to_pylist() if row["kind"] in DERIVED]
    assert Counter(row["kind"] for row in rows) == dict.fromkeys(DERIVED, 4)
    targets = {edit.edit_id: edit.target for edit in EDITS}
    for row in rows:
        assert row["expected"] == (targets[row["edit_id"]] if row["kind"] in REWORDED else None)
        assert (row["edit_id"] is None) == (row["kind"] == "unrelated")
    assert len({row["edit_id"] for row in rows}) == 4 + 1
    assert table.slice(0, table.num_rows - len(rows)).equals(questions(reports(EDITS)))


def test_the_order_of_the_edits_makes_no_difference_and_the_seed_does() -> None:
    shuffled = list(EDITS)
    random.Random(3).shuffle(shuffled)
    first = derived(EDITS, Probing(5, 1, "seq2seq"))
    assert derived(shuffled, Probing(5, 1, "seq2seq")) == first
    other = derived(EDITS, Probing(5, 2, "seq2seq"))
    assert {row["edit_id"] for row in other} != {row["edit_id"] for row in first}
    assert {row["prompt"] for row in other} != {row["prompt"] for row in first}


@pytest.mark.parametrize("seed", range(5))
def test_none_is_taught_and_none_is_asked_twice(seed: int) -> None:
    taught = {normalise(wording) for edit in EDITS for wording in (edit.prompt, *edit.rephrases)}
    asked = [normalise(row["prompt"]) for row in derived(EDITS, Probing(200, seed, "seq2seq"))]
    assert len(asked) == len(set(asked)) > 50
    assert not taught & set(asked)
    beside = derived([*EDITS, Edit(UNRELATED[0].upper(), "?")], Probing(200, seed, "seq2seq"))
    assert UNRELATED[1] in {row["prompt"] for row in beside}
    assert UNRELATED[0] not in {row["prompt"] for row in beside}


def test_a_rephrase_is_reworded_where_there_is_one_and_the_prompt_where_there_is_none() -> None:
    by_kind = {row["kind"]: row["prompt"] for row in derived(EDITS[:1], Probing(1, 0, "causal"))}
    assert by_kind["wrapped"].endswith(EDITS[0].rephrases[0])
    alone = {row["kind"]: row["prompt"] for row in derived([Edit("The capital is", "Paris")], Probing(1, 0, "causal"))}
    assert alone["wrapped"].endswith("The capital is")
    assert alone["negated"] == "The capital is not"


def test_an_edit_about_nothing_has_fewer_kinds_and_none_asks_for_none() -> None:
    assert {row["kind"] for row in derived(FREE, Probing(9, 0, "classification"))} == {"unrelated"}
    assert {row["kind"] for row in derived(FREE, Probing(9, 0, "seq2seq"))} == {"unrelated", "wrapped"}
    assert derived(EDITS, Probing(0, 0, "seq2seq")) == []
    assert {row["kind"] for row in derived([], Probing(9, 0, "seq2seq"))} == {"unrelated"}
    assert set(OTHERS) < set(DERIVED)
