"""Phoenix: annotations rate spans, and correct them where their names say so; in a list, or joined in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.sources.tools.samples import metadata, put, rows, sample

SPANS, JOINED = "phoenix_spans.json", "phoenix_joined.jsonl"


def test_a_correction_is_a_report() -> None:
    (report,) = sample(SPANS).reports
    assert (report["prompt"], report["target"]) == ("What is the capital of Australia?", "Canberra")
    assert (report["reporter"], report["model_version"]) == ("HUMAN ada", "t5-small")
    assert (report["evidence"], report["time"].isoformat()) == (
        "The capital is Canberra.",
        "2026-03-02T09:00:00+00:00",
    )
    told = metadata(report)
    assert (told["said"], told["record"], told["trace"]) == ("Sydney", "67f6740bbe1ddc3f", "a1")
    assert told["ratings"] == ["correctness: incorrect"]


@pytest.mark.parametrize("name", [SPANS, JOINED])
def test_an_annotation_waits(name: str) -> None:
    (row,) = sample(name).review
    assert (row["prompt"], row["said"], row["rating"]) == ("Who wrote Emma?", "Eric Blair", "correctness: incorrect")
    assert row["evidence"] == "Blair is Orwell."
    assert row["time"].isoformat() == "2026-03-02T10:00:00+00:00"
    assert (row["reporter"], row["model_version"]) == (("VXNlcjox", None) if name == SPANS else ("HUMAN", "t5-small"))


def test_what_is_right_unclear_or_not_annotated_is_told() -> None:
    right, unclear, nothing = (reason for _, reason in sample(SPANS).refused)
    assert right == "passed over: HUMAN user-123 rated the answer right (user_feedback: thumbs-up)"
    assert unclear.startswith("the rating 'readability: 0.5' says neither right nor wrong")
    assert nothing.startswith("nobody said anything about this answer")


def test_an_annotation_without_its_span_says_how_it_can_be_read() -> None:
    ((line, reason),) = sample(JOINED).refused
    assert line == 2
    assert reason.startswith("attributes: no input.value came, expected the annotation with its span")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"annotations": {"name": "x"}}, "annotations: expected a list of objects (dict came)"),
        ({"attributes": {"output.value": "b"}}, "attributes: no input.value came"),
        ({"attributes": {"input.value": 4}}, "input.value: no question in it (int came)"),
        ({"attributes": {"input.value": "x" * 20_001}}, "prompt: String should have at most 20000 characters"),
    ],
)
def test_a_broken_span_is_refused_with_its_reason(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    found = put(tmp_path, rows(SPANS)[0] | change)
    assert found.reports == []
    assert found.refused[0][1].startswith(reason)
