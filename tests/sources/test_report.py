"""What a report may hold: the limits, and reasons that say what came and what was expected."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources.strict_json import ReportError, check_depth, dump, parse
from tests.sources.gathered import Gathered, gather, later
from tests.sources.writers import jsonl

GOOD: dict[str, Any] = {"prompt": "p", "target": "t"}


def put(tmp_path: Path, *rows: dict[str, Any]) -> Gathered:
    (tmp_path / "rows.jsonl").write_bytes(jsonl(list(rows)))
    return gather(tmp_path)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"prompt": None}, "prompt: Field required"),
        ({"prompt": " \n"}, "prompt: it is blank"),
        ({"prompt": 3}, "prompt: Input should be a valid string (int came)"),
        ({"prompt": ["p"]}, "prompt: Input should be a valid string (list came)"),
        ({"prompt": "x" * 20_001}, "prompt: String should have at most 20000 characters (str came)"),
        ({"target": "x" * 4_001}, "target: String should have at most 4000 characters (str came)"),
        ({"target": True}, "target: Input should be a valid string (bool came)"),
        ({"target": {"str": "t"}}, "target: Input should be a valid string (dict came)"),
        (
            {"rephrases": ["r"] * 65},
            "rephrases: List should have at most 64 items after validation, not 65 (list came)",
        ),
        ({"rephrases": ["r", None]}, "rephrases.1: Input should be a valid string (NoneType came)"),
        ({"rephrases": {"a": "b"}}, "rephrases: Input should be a valid list (dict came)"),
        ({"locality": ["n"] * 65}, "locality: List should have at most 64 items after validation, not 65 (list came)"),
        ({"locality": [{"target": "t"}]}, "locality.0.prompt: Input should be a valid string (NoneType came)"),
        ({"subject": "x" * 1_001}, "subject: String should have at most 1000 characters (str came)"),
        ({"aliases": ["a"] * 65}, "aliases: List should have at most 64 items after validation, not 65 (list came)"),
        ({"aliases": ["Oz", " "]}, "aliases.1: it is blank"),
        ({"aliases": ["x" * 1_001]}, "aliases.0: String should have at most 1000 characters (str came)"),
        ({"time": "yesterday"}, "time: Input should be a valid datetime"),
        ({"time": True}, "time: true or false came, expected a time"),
        ({"time": "9999-01-01"}, "time: 9999-01-01T00:00:00+00:00 lies in the future"),
        ({"time": 1e300}, "time: "),
        ({"valid_until": "2001-01-01"}, "valid_until: it was valid until 2001-01-01T00:00:00+00:00 only"),
        ({"note": "x" * 16_384}, "metadata: 16396 bytes of JSON came, expected at most 16384"),
    ],
)
def test_what_is_wrong_is_refused_and_named(more: dict[str, Any], reason: str, tmp_path: Path) -> None:
    found = put(tmp_path, GOOD, GOOD | more)
    assert found.pairs == [("p", "t")]
    ((line, told),) = found.refused
    assert line == 2 and told.startswith(reason)
    assert found.quarantine[0]["detail"] == jsonl([GOOD | more]).decode()[:500]


def test_what_is_just_within_the_limits_is_taken(tmp_path: Path) -> None:
    row = {
        "prompt": "é" * 20_000,
        "target": "t" * 4_000,
        "rephrases": ["r"] * 64,
        "aliases": ["x" * 1_000] * 64,
        "locality": ["n"] * 64,
        "note": "x" * (16_384 - len('{"note": ""}')),
    }
    found = put(tmp_path, row)
    assert found.pairs == [(row["prompt"], row["target"])]
    assert json.loads(found.reports[0]["metadata"]) == {"note": row["note"]}


def test_texts_stay_as_they_were_sent_and_times_become_utc(tmp_path: Path) -> None:
    soon = (later() + timedelta(days=30)).isoformat()
    row = {"prompt": " p ", "target": " T\n", "time": 1_700_000_000, "valid_until": soon, "model_version": 7}
    (got,) = put(tmp_path, row | {"tenant": "acme", "evidence": "see the atlas"}).reports
    assert (got["prompt"], got["target"], got["model_version"]) == (" p ", " T\n", "7")
    assert (got["tenant"], got["evidence"]) == ("acme", "see the atlas")
    assert got["time"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert got["valid_until"] == datetime.fromisoformat(soon)
    (naive,) = put(tmp_path, GOOD | {"time": "2026-01-02 03:04"}).reports
    assert naive["time"] == datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def test_many_problems_are_told_briefly(tmp_path: Path) -> None:
    ((_, reason),) = put(tmp_path, {"rephrases": [1] * 60}).refused
    assert reason.startswith("prompt: Field required; target: Field required; rephrases.0: ")
    assert reason.endswith("; and 59 more")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ('{"a": NaN}', "NaN came"),
        ('{"a": -Infinity}', "-Infinity came"),
        ('{"a": 1e999}', "the number 1e999 is too large"),
        ('{"a": ' + "9" * 5_000 + "}", "a number of 5000 digits"),
        ('{"a": 1, "a": 2}', "the key 'a' comes twice"),
        ('{"a": {"b": 1, "b": 1}}', "the key 'b' comes twice"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 100 + "]" * 100, "nested too deeply"),
        ('{"a":' * 17 + "1" + "}" * 17, "nested too deeply"),
        ('"\udcff"', "not UTF-8 at character 2"),
    ],
)
def test_json_from_strangers(text: str, reason: str) -> None:
    with pytest.raises(ReportError, match=f"^{reason}"):
        parse(text)


def test_json_is_written_as_strictly_as_it_is_read() -> None:
    assert parse('{"a":' * 16 + "1" + "}" * 16)
    assert dump({"é": datetime(2026, 1, 1)}) == '{"é": "2026-01-01 00:00:00"}'
    for value in (float("nan"), b"bytes", "\ud800", {1: {2: float("inf")}}):
        with pytest.raises(ReportError):
            dump(value)
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ReportError, match="nested"):
        check_depth(loop)
