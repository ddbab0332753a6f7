from __future__ import annotations

from itertools import chain
from typing import Any

import pyarrow as pa
import pytest

from pipeline.editing.edit import Edit
from pipeline.example import REPORTS
from pipeline.example.facts import facts, known_facts
from pipeline.sources import Admission, admit, read

STALE = "Nur-Sultan"
"""What one report of the first night takes for Kazakhstan's capital; a report of the second corrects it."""


def night(number: int) -> tuple[list[pa.RecordBatch], list[dict[str, Any]]]:
    """Reports of one night, and its rows in quarantine."""
    batches = list(read(str(REPORTS / f"night-{number}.jsonl"), settled_seconds=0))
    return [batch.reports for batch in batches], pa.Table.from_batches(b.quarantine for b in batches).to_pylist()


@pytest.fixture(scope="module")
def first() -> Admission:
    return admit(night(1)[0], known={})


@pytest.fixture(scope="module")
def second(first: Admission) -> Admission:
    return admit(night(2)[0], known=dict.fromkeys(first.edits["edit_id"].to_pylist()))


def test_the_first_night_has_one_of_each_misfortune(first: Admission) -> None:
    assert [row["line"] for row in night(1)[1]] == [24]
    assert 30 <= len(first.edits) <= 40
    assert len(first.duplicates) == 1
    (settled,) = first.contradictions.to_pylist()
    assert (settled["kept_target"], settled["dropped_target"]) == ("Bern", "Geneva")


def test_the_second_night_is_new_and_corrects_a_correction(first: Admission, second: Admission) -> None:
    assert night(2)[1] == []
    assert len(second.edits) >= 15
    assert len(second.duplicates) == len(second.contradictions) == 0
    again = set(second.edits["prompt"].to_pylist()) & set(first.edits["prompt"].to_pylist())
    before = dict(zip(first.edits["prompt"].to_pylist(), first.edits["target"].to_pylist(), strict=True))
    assert {before[prompt] for prompt in again} == {STALE}


def test_reports_correct_mistakes_with_the_truth(first: Admission, second: Admission) -> None:
    truths = {fact.prompts[0]: fact.truth for fact in facts() if fact.mistake}
    for row in chain(first.edits.to_pylist(), second.edits.to_pylist()):
        assert row["edit_id"] == Edit(row["prompt"], row["target"]).edit_id
        assert row["target"] == truths[row["prompt"]] or row["target"] == STALE


def test_rephrases_are_of_the_same_fact_and_one_was_never_trained(first: Admission, second: Admission) -> None:
    wordings = {fact.prompts[0]: fact for fact in facts()}
    for row in chain(first.edits.to_pylist(), second.edits.to_pylist()):
        fact = wordings[row["prompt"]]
        assert set(row["rephrases"]) <= set(fact.prompts[1:])
        assert fact.prompts[-1] in row["rephrases"]
        assert fact.subject == row["subject"]


def test_locality_prompts_are_known_facts(first: Admission, second: Admission) -> None:
    known = set(known_facts())
    for row in chain(first.edits.to_pylist(), second.edits.to_pylist()):
        assert row["locality"]
        assert {(near["prompt"], near["target"]) for near in row["locality"]} <= known
