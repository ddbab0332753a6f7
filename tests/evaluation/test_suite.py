"""Which questions a set of edits gives rise to."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.editing.edit import Edit
from pipeline.evaluation import questions
from schemas.answers import QUESTIONS
from tests.evaluation.tables import reports

FRANCE = Edit(
    "Capital of France?", "Paris", rephrases=("France's capital?",), locality=("Best cheese? => Brie", "Sky?")
)
SPAIN = Edit("Capital of Spain?", "Madrid", locality=("capital  of FRANCE? => Lyon", "Best sea?"))


def test_every_edit_brings_its_rephrases_and_locality_prompts_and_the_upstream_task_comes_last() -> None:
    table = questions(reports([FRANCE, SPAIN]), upstream=[("1 + 1?", "2")])
    assert table.schema.equals(QUESTIONS, check_metadata=True)
    found = [(row["kind"], row["edit_id"], row["prompt"], row["expected"]) for row in table.to_pylist()]
    assert found == [
        ("edit", FRANCE.edit_id, "Capital of France?", "Paris"),
        ("rephrase", FRANCE.edit_id, "France's capital?", "Paris"),
        ("locality", FRANCE.edit_id, "Best cheese?", "Brie"),
        ("locality", FRANCE.edit_id, "Sky?", None),
        ("edit", SPAIN.edit_id, "Capital of Spain?", "Madrid"),
        ("locality", SPAIN.edit_id, "Best sea?", None),  # and not what France's edit changed
        ("upstream", None, "1 + 1?", "2"),
    ]
    assert set(table["source"].to_pylist()[:-1]) == {"drop/reports.jsonl"}
    assert table["version"].null_count == len(table)


def test_an_upstream_prompt_that_was_edited_is_not_asked() -> None:
    table = questions(reports([FRANCE]), upstream=[("FRANCE'S  capital?", "Lyon"), ("1 + 1?", "2")])
    assert table.filter(pa.compute.equal(table["kind"], "upstream"))["prompt"].to_pylist() == ["1 + 1?"]


def test_a_blank_locality_answer_is_none() -> None:
    table = questions(reports([Edit("Q?", "A", locality=("Sky? =>  ",))]))
    assert table["expected"].to_pylist() == ["A", None]


def test_the_version_that_learned_an_edit_is_taken_over_where_it_is_said() -> None:
    table = reports([FRANCE, SPAIN]).append_column("version", pa.array([3, 5], pa.int64()))
    assert questions(table)["version"].to_pylist() == [3, 3, 3, 3, 5, 5]


def test_no_edits_no_questions_and_a_missing_column_is_named() -> None:
    assert questions(reports([])).num_rows == 0
    with pytest.raises(ValueError, match="locality"):
        questions(reports([FRANCE]).drop_columns(["locality"]))
