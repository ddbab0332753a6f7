"""MLflow: expectations are reports, feedback waits or is passed over, of traces and of tables of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sources.gathered import gather
from tests.sources.tools.samples import metadata, put, rows, sample

TRACES, TABLE = "mlflow_traces.jsonl", "mlflow_search_traces.jsonl"


@pytest.mark.parametrize("name", [TRACES, TABLE])
def test_an_expectation_is_a_report_and_its_feedback_the_evidence(name: str) -> None:
    (report,) = sample(name).reports
    assert (report["prompt"], report["target"]) == ("What is the capital of Australia?", "Canberra")
    assert (report["reporter"], report["model_version"]) == ("ada@example.org", "m-7")
    assert report["evidence"] == "Sydney is only the largest city."
    assert report["time"].replace(microsecond=0) < datetime(2026, 3, 2, tzinfo=UTC)
    told = metadata(report)
    assert (told["said"], told["ratings"]) == ("Sydney", ["correctness: false"])
    assert (told["layout"], told["remark"], told["tags"]) == ("mlflow", "expected_response", {"team": "maps"})
    assert told["record"].startswith("tr-")


@pytest.mark.parametrize("name", [TRACES, TABLE])
def test_feedback_without_an_expectation_waits(name: str) -> None:
    whole, of_span = sorted(sample(name).review, key=lambda row: str(row["prompt"]), reverse=True)
    assert (whole["prompt"], whole["said"]) == ("Who wrote Emma?", "Eric Blair wrote Emma.")
    assert (whole["rating"], whole["reporter"]) == ("correctness: no", "LLM_JUDGE judge-1")
    assert whole["evidence"] == "It was Jane Austen's."
    assert (of_span["prompt"], of_span["said"]) == ("What is six times seven?", "43")  # without the agent's "!"


def test_both_exports_tell_the_same_complaints() -> None:
    ids = [{row["complaint_id"] for row in sample(name).review} for name in (TRACES, TABLE)]
    assert ids[0] == ids[1]


def test_what_is_right_unclear_or_no_answer_is_told(tmp_path: Path) -> None:
    told = "\n".join(reason for _, reason in sample(TRACES).refused)
    assert "passed over: ada@example.org rated the answer right (thumbs: true)" in told
    assert "thumbs: false" not in told  # it was overridden
    assert "'tone: 0.4' says neither right nor wrong" in told
    assert "safety: the judge failed (the judge timed out)" in told
    assert "expected_facts: an expectation that is no answer" in told


def broken(change: str) -> dict[str, Any]:
    row: dict[str, Any] = rows(TRACES)[1]
    match change:
        case "assessments":
            row["info"]["assessments"] = "none"
        case "no spans":
            row["data"]["spans"] = []
        case "two turns":
            turns = '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}]'
            row["data"]["spans"][0]["attributes"]["mlflow.spanInputs"] = f'{{"messages": {turns}}}'
        case "another span":
            row["info"]["assessments"][0]["span_id"] = "00ff"
        case "not JSON":
            row["data"]["spans"][0]["attributes"]["mlflow.spanInputs"] = "{"
    return row


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("assessments", "assessments: expected a list of objects (str came)"),
        ("no spans", "spans: no root span came"),
        ("two turns", "request: 2 turns came, expected one question of a user"),
        ("another span", "spans: no span '00ff' came"),
        ("not JSON", "not JSON"),
    ],
)
def test_a_broken_trace_is_refused_with_its_reason(tmp_path: Path, change: str, reason: str) -> None:
    found = put(tmp_path, broken(change), rows(TRACES)[0])
    assert reason in "\n".join(told for _, told in found.refused)
    assert found.pairs == [("What is the capital of Australia?", "Canberra")]


def test_a_table_of_traces_comes_as_parquet_too(tmp_path: Path) -> None:
    row = next(row for row in rows(TABLE) if "Australia" in str(row["request"]))
    for assessment in row["assessments"]:
        assessment["feedback"] = assessment.get("feedback", {"value": None})
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "traces.parquet")
    assert gather(tmp_path).pairs == [("What is the capital of Australia?", "Canberra")]
