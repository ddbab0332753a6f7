"""Argilla: submitted texts correct, labels rate, and drafts and discarded responses are told; nested and flat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sources.gathered import gather
from tests.sources.tools.samples import metadata, put, rows, sample

NESTED, FLAT = "argilla.json", "argilla_datasets.jsonl"


def test_a_nested_record_is_a_report() -> None:
    (report,) = sample(NESTED).reports
    assert (report["prompt"], report["target"]) == ("What is the capital of Australia?", "Canberra")
    assert (report["reporter"], report["model_version"]) == ("u-1", "t5 7")
    assert report["evidence"] == "Sydney is only larger."
    told = metadata(report)
    assert (told["record"], told["channel"], told["said"]) == ("rec-1", "mail", "Sydney")
    assert told["ratings"] == ["correctness: incorrect"]


def test_a_label_waits_and_what_was_not_submitted_is_told() -> None:
    found = sample(NESTED)
    (row,) = found.review
    assert (row["prompt"], row["said"]) == ("Who wrote Emma?", "Eric Blair")  # a chat, and the suggestion
    assert (row["rating"], row["reporter"]) == ("correctness: wrong", "u-1")
    assert [reason for _, reason in found.refused] == [
        "correctness: the response of u-2 is draft, expected one that was submitted",
        "corrected answer: the response of u-4 is discarded, expected one that was submitted",
        "passed over: u-3 rated the answer right (correctness: correct)",
    ]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_flat_records_say_the_same(tmp_path: Path, ending: str) -> None:
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows(FLAT)), tmp_path / "records.parquet")
        found = gather(tmp_path)
    else:
        found = sample(FLAT)
    assert found.pairs == [("What is the capital of Australia?", "Canberra")]
    assert found.reports[0]["reporter"] == "u-1"
    assert [(row["prompt"], row["said"], row["rating"]) for row in found.review] == [
        ("Who wrote Emma?", "Eric Blair", "correctness: no")
    ]
    assert [reason for _, reason in found.refused] == [
        "correction: the response of u-2 is discarded, expected one that was submitted",
        "passed over: what u-1 calls right is what the model said",
    ]


def test_a_text_under_a_name_that_asks_for_no_answer_is_none(tmp_path: Path) -> None:
    record: dict[str, Any] = rows(NESTED)[0]
    record["responses"] = {"topic": [{"value": "geography", "user_id": "u-1"}]}
    found = put(tmp_path, record)
    assert found.reports == []
    assert found.refused[0][1].startswith("the rating 'topic: geography' says neither right nor wrong")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"responses": {"correction": 3}}, "responses.correction: expected a list of objects (int came)"),
        ({"fields": {"a": "b", "c": "d"}}, "fields: no question in it"),
        ({"suggestions": 4}, "suggestions: expected an object (int came)"),
        ({"responses": {}}, "nobody said anything about this answer"),
    ],
)
def test_a_broken_record_is_refused_with_its_reason(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    found = put(tmp_path, rows(NESTED)[0] | change)
    assert found.reports == []
    assert found.refused[0][1].startswith(reason)


def test_columns_of_different_length_are_refused(tmp_path: Path) -> None:
    found = put(tmp_path, rows(FLAT)[0] | {"correction.responses.users": ["u-1"]})
    assert found.reports == []
    assert found.refused[0][1].startswith("correction.responses: expected lists of as many")
