"""Corrections, complaints and praise, each on its own; the same complaint is the same wherever it is read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources import SourceError, pairs
from pipeline.sources.feedback import CONFIRMED, Complaint, Judged, Nothing, Remark, outcomes
from tests.sources.gathered import gather
from tests.sources.tools.samples import rows

WRONG, RIGHT = Remark("correctness", False, "ada", key="r-1"), Remark("correctness", True, "bob")
JUDGED = Judged("tool", "t-1", "Who wrote Emma?", "Eric Blair")


def test_each_correction_is_a_report_with_the_ratings_beside_it() -> None:
    corrections = (Remark("right", "Jane Austen", "ada"), Remark("right", "J. Austen", "bob"))
    first, second = outcomes(replace(JUDGED, corrections=corrections, ratings=(WRONG, RIGHT)))
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert [(told["target"], told["reporter"]) for told in (first, second)] == [
        ("Jane Austen", "ada"),
        ("J. Austen", "bob"),
    ]
    assert first["metadata"]["ratings"] == ["correctness: false", "correctness: true"]


def test_each_rating_stands_for_itself_where_nobody_corrects() -> None:
    complaint, praise = outcomes(replace(JUDGED, ratings=(WRONG, RIGHT)))
    assert isinstance(complaint, Complaint)
    assert complaint.fields["said"] == "Eric Blair"
    assert isinstance(praise, Nothing)
    assert praise.reason.startswith(CONFIRMED)


@pytest.mark.parametrize("value", [True, ["Jane Austen"], None])
def test_what_is_no_text_corrects_nothing(value: Any) -> None:
    (nothing,) = outcomes(replace(JUDGED, corrections=(Remark("right", value),)))
    assert isinstance(nothing, Nothing)
    assert nothing.reason.startswith("right: expected the right answer as text")


@pytest.mark.parametrize("value", [["Jane Austen"], " ", "x" * 4_001, "eric blair"])
def test_a_correction_that_cannot_be_taught_takes_no_complaints_place(value: Any) -> None:
    told, complaint = outcomes(replace(JUDGED, corrections=(Remark("right", value),), ratings=(WRONG,)))
    assert isinstance(told, Nothing)
    assert isinstance(complaint, Complaint)


def test_a_complaint_is_the_same_in_another_file_and_another_one_of_another_person(tmp_path: Path) -> None:
    task = rows("label_studio.json")[1]
    task["annotations"][2:] = [task["annotations"][0] | {"completed_by": 15}]
    for name in ("monday", "tuesday"):
        (tmp_path / f"{name}.json").write_text("\n" * len(name) + json.dumps([task]))
    first, of_another, again, *_ = (row["complaint_id"] for row in gather(tmp_path).review)
    assert first == again != of_another


def test_a_file_may_hold_several_layouts(tmp_path: Path) -> None:
    mixed = [
        {"prompt": "When did he land?", "target": "1492"},
        rows("mlflow_traces.jsonl")[1],
        rows("label_studio.json")[0],
        rows("argilla.json")[0],
        {"id": "nothing known"},
        rows("langfuse_items.jsonl")[0],
        rows("phoenix_spans.json")[1],
    ]
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mixed))
    found = gather(tmp_path)
    assert [row["line"] for row in found.reports] == [1, 3, 4, 6]
    assert [row["line"] for row in found.review] == [2, 7]
    assert {row["line"] for row in found.quarantine} == {2, 5, 7}


def test_complaints_are_no_questions_to_score_a_model_on(tmp_path: Path) -> None:
    file = tmp_path / "complaints.json"
    file.write_text(json.dumps(rows("phoenix_joined.jsonl")[:1]))
    with pytest.raises(SourceError, match=r"line 1 is no prompt with its target: .*expected what is right"):
        pairs(str(file))
