"""Label Studio: text areas correct, choices rate, and what was skipped is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.sources.tools.samples import metadata, put, rows, sample

TASKS = "label_studio.json"


def test_a_text_area_is_a_report() -> None:
    (report,) = sample(TASKS).reports
    assert (report["prompt"], report["target"]) == ("What is the capital of Australia?", "Canberra")
    assert (report["reporter"], report["model_version"]) == ("ada@example.org", "t5 7")
    assert (report["evidence"], report["time"].isoformat()[:19]) == ("Sydney is only larger.", "2026-03-09T22:16:09")
    told = metadata(report)
    assert (told["task"], told["project"], told["said"]) == (41, 83, "Sydney")
    assert told["ratings"] == ["rate: Bad answer"]


def test_a_choice_alone_waits_with_its_comment() -> None:
    (row,) = sample(TASKS).review
    assert (row["prompt"], row["said"], row["rating"]) == ("Who wrote Emma?", "Eric Blair", "rate: Bad answer")
    assert (row["reporter"], row["model_version"], row["evidence"]) == ("11", "t5 8", "Blair is Orwell.")
    assert row["time"].isoformat() == "2026-03-10T08:00:00+00:00"


def test_what_was_skipped_right_or_unclear_is_told() -> None:
    skipped, stars, right = (reason for _, reason in sample(TASKS).refused)
    assert skipped == "skipped by 12"
    assert stars.startswith("the rating 'stars: 1 stars' says neither right nor wrong")  # of how many, nobody knows
    assert right == "passed over: 14 rated the answer right (rate: Good answer)"


def test_the_text_that_was_there_already_corrects_nothing(tmp_path: Path) -> None:
    task: dict[str, Any] = rows(TASKS)[0]
    task["annotations"][0]["result"][1]["value"]["text"] = [" sydney"]
    found = put(tmp_path, task)
    assert found.reports == []
    assert [row["rating"] for row in found.review] == ["rate: Bad answer"]
    assert found.refused[0][1] == "passed over: what ada@example.org calls right is what the model said"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"annotations": []}, "nobody said anything about this answer"),
        ({"annotations": [3]}, "annotations: expected a list of objects (a list of int came)"),
        ({"annotations": [{"id": 7, "result": []}]}, "annotation 7 has neither a text nor a choice"),
        ({"annotations": [{"id": 7, "result": 4}]}, "result: expected a list of objects (int came)"),
        ({"data": {"image": 4, "width": 3}}, "data: no question in it"),
        ({"data": {"question": " "}}, "prompt: it is blank"),
    ],
)
def test_a_broken_task_is_refused_with_its_reason(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    found = put(tmp_path, rows(TASKS)[0] | change)
    assert found.reports == []
    assert found.refused[0][1].startswith(reason)
