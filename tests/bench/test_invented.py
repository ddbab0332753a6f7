"""Made-up facts: as many as are wanted, no two alike, each about its subject in several wordings."""

from __future__ import annotations

from itertools import islice

from pipeline.bench.invented import RELATIONS, SUBJECT_FACTS, invented
from pipeline.editing.edit import normalise


def test_facts_are_distinct_and_asked_in_several_wordings_that_name_the_subject() -> None:
    facts = list(invented(2000, seed=0))
    assert len({normalise(fact.prompt) for fact in facts}) == len(facts) == 2000
    for fact in facts:
        wordings = {fact.prompt, *fact.rephrases}
        assert len(wordings) == 3
        assert all(fact.subject is not None and fact.subject in wording for wording in wordings)
    answers = {answer for sort in RELATIONS.values() for _, known in sort.values() for answer in known}
    assert {fact.target for fact in facts} == answers
    subjects = [fact.subject for fact in facts]
    assert max(map(subjects.count, set(subjects[:200]))) == SUBJECT_FACTS


def test_the_first_facts_are_the_same_however_many_there_are_and_others_with_another_seed() -> None:
    assert list(invented(5, seed=3)) == list(islice(invented(500, seed=3), 5))
    assert list(invented(5, seed=3)) != list(invented(5, seed=4))
