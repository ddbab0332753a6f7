from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from pipeline.editing.edit import normalise
from pipeline.example.facts import HERE, WORDINGS, facts, known_facts


def test_no_prompt_has_two_answers_or_comes_twice() -> None:
    asked = Counter(normalise(prompt) for fact in facts() for prompt in fact.prompts)
    assert [prompt for prompt, times in asked.items() if times > 1] == []


def test_there_are_enough_facts_and_mistakes() -> None:
    relations = Counter(fact.relation for fact in facts())
    assert set(relations) == set(WORDINGS)
    assert 60 <= relations["capital"] <= 120
    assert sum(fact.mistake is not None for fact in facts()) >= 40
    assert len(known_facts()) >= 300


def test_a_mistake_is_about_a_fact_and_wrong() -> None:
    with (HERE / "mistakes.csv").open(encoding="utf-8", newline="") as file:
        listed = [(row["relation"], row["subject"], row["mistake"]) for row in csv.DictReader(file)]
    taken = [(fact.relation, fact.subject, fact.mistake) for fact in facts() if fact.mistake is not None]
    assert Counter(listed) == Counter(taken)  # none names a fact that is not there
    assert [fact for fact in facts() if fact.mistake and normalise(fact.mistake) == normalise(fact.truth)] == []


@pytest.mark.parametrize("name", ["countries.csv", "things.csv", "mistakes.csv"])
def test_tables_are_tidy(name: str) -> None:
    rows = list(csv.reader(Path(HERE / name).read_text(encoding="utf-8").splitlines()))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert [cell for row in rows for cell in row if cell != " ".join(cell.split())] == []


def test_the_last_wording_of_a_mistake_is_not_trained() -> None:
    for fact in facts():
        held_back = set(fact.prompts) - set(fact.trained_prompts)
        assert held_back == ({fact.prompts[-1]} if fact.mistake else set())


def test_known_facts_are_true_and_believed() -> None:
    truths = {prompt: fact.truth for fact in facts() if fact.belief == fact.truth for prompt in fact.trained_prompts}
    assert all(truths[prompt] == answer for prompt, answer in known_facts())
    assert ("What is the capital of New Zealand?", "Wellington") in known_facts()
    assert "What is the capital of Australia?" not in dict(known_facts())
