"""Langfuse: corrections and expected outputs are reports, other scores wait or are passed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.sources.tools.samples import metadata, put, rows, sample

TRACES, ITEMS = "langfuse_traces.json", "langfuse_items.jsonl"


def test_a_correction_is_a_report() -> None:
    (report,) = sample(TRACES).reports
    assert (report["prompt"], report["target"]) == ("What is the capital of Australia?", "Canberra")
    assert (report["reporter"], report["model_version"]) == ("ada", "t5 7")
    assert (report["evidence"], report["time"].isoformat()) == (
        "Sydney is only larger.\nno!",
        "2026-03-02T09:00:00+00:00",
    )
    told = metadata(report)
    assert (told["said"], told["sessionId"], told["tags"]) == ("Sydney", "se-1", ["geo"])
    assert told["ratings"] == ["user-feedback: 0"]


def test_scores_of_every_type_are_read_of_their_observation() -> None:
    found = sample(TRACES)
    assert [(row["prompt"], row["said"], row["rating"]) for row in found.review] == [
        ("Who wrote Emma?", "Eric Blair", "correctness: partially correct"),
        ("Who wrote Emma?", "Eric Blair", "hallucination: true"),
    ]
    assert [row["model_version"] for row in found.review] == ["t5-small"] * 2
    assert (found.review[0]["reporter"], found.review[0]["evidence"]) == ("EVAL", "Blair is Orwell.")
    right, unclear = (reason for _, reason in found.refused)
    assert right == "passed over: API rated the answer right (thumbs: true)"
    assert unclear.startswith("the rating 'conciseness: 0.6' says neither")


def test_an_item_of_a_dataset_is_a_report_while_it_is_in_use() -> None:
    found = sample(ITEMS)
    (report,) = found.reports
    assert (report["prompt"], report["target"]) == ("What is the capital of Australia?", "Canberra")
    assert report["time"].isoformat() == "2026-03-03T10:00:00+00:00"
    assert metadata(report)["datasetName"] == "regressions"
    assert metadata(report)["metadata"] == {"topic": "geo"}
    assert [reason for _, reason in found.refused] == [
        "the item is archived, expected one in use",
        "nobody said anything about this answer, expected a correction or a rating",
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scores": ["s-1"]}, "scores: expected a list of objects (a list of str came)"),
        ({"observations": ["o-1"]}, "observations: expected a list of objects (a list of str came)"),
        ({"observations": []}, "observations: no 'o-1' came, which a score is about"),
    ],
)
def test_a_broken_trace_is_refused_with_its_reason(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    found = put(tmp_path, rows(TRACES)[1] | change)
    assert (found.reports, found.review) == ([], [])
    assert found.refused[0][1].startswith(reason)


def test_a_score_alone_says_how_it_can_be_read(tmp_path: Path) -> None:
    api = rows(TRACES)[1]["scores"][0]
    stored = {"id": "s-1", "trace_id": "t-1", "name": "correctness", "data_type": "BOOLEAN", "value": 0}
    found = put(tmp_path, api, stored)
    assert [reason.split(",")[0] for _, reason in found.refused] == ["a score alone came"] * 2


def test_what_is_no_text_is_no_answer(tmp_path: Path) -> None:
    found = put(tmp_path, rows(ITEMS)[0] | {"expectedOutput": ["Canberra"]}, rows(ITEMS)[0] | {"expectedOutput": 7})
    assert [report["target"] for report in found.reports] == ["7"]
    assert found.refused[0][1] == "expectedOutput: expected the right answer as text (list came)"
