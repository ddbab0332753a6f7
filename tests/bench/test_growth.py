"""What a growing model came to: parts of its edits, table, rows and picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread
from rich.console import Console

from pipeline.bench.growth_report import draw, rows_of, table, told
from pipeline.bench.stage import Part, RouteTime, Stage, parts_of
from pipeline.evaluation import summarise
from tests.evaluation.tables import answers

ASKED = answers(
    *({"kind": "edit", "edit_id": i, "source": "a/zsre.jsonl", "expected": "Red", "exact_match": 1.0} for i in "ab"),
    {"kind": "edit", "edit_id": "c", "source": "a/other.jsonl", "expected": "blue", "exact_match": 0.0},
    {"kind": "rephrase", "edit_id": "a", "source": "a/zsre.jsonl", "expected": "Red", "exact_match": 1.0}
    | {"block": 1, "routed_edit": "b"},
    {"kind": "rephrase", "edit_id": "a", "source": "a/zsre.jsonl", "expected": "red", "exact_match": 0.0}
    | {"block": 2, "routed_edit": "c"},
    {"kind": "rephrase", "edit_id": "c", "source": "a/other.jsonl", "expected": "blue", "exact_match": 0.0},
    {"kind": "rephrase", "edit_id": "c", "source": "a/other.jsonl", "expected": "blue", "answer": None},
    {"kind": "typo", "edit_id": "c", "source": "a/other.jsonl", "expected": "blue", "exact_match": 1.0},
    {"kind": "distractor", "edit_id": "c", "source": "a/other.jsonl", "block": 1},
)


def test_parts_count_edits_and_rephrases_that_are_right_or_led_to_their_label() -> None:
    found = parts_of(ASKED.to_pylist(), {"first": {"a"}, "none": set()})
    assert found == {
        "whole": Part(3, 2 / 3, 1 / 3, 1 / 3),
        "zsre": Part(2, 1.0, 0.5, 0.5),
        "other": Part(1, 0.0, 0.0, 0.0),
        "first": Part(1, 1.0, 0.5, 0.5),
    }


@pytest.fixture
def stages() -> list[Stage]:
    """Two, of which only the second has edits of every place."""
    parts = parts_of(ASKED.to_pylist(), {})
    first = Stage(
        version=Path("/versions/abc"),
        live=10,
        taught=10,
        refused=0,
        scores=summarise(ASKED, "seq2seq", 50_000),
        whole=parts["whole"],
        first=parts["zsre"],
        last=parts["other"],
        places={"zsre": parts["zsre"]},
        clusters=9,
        conflicts=1,
        peak_bytes=700_000_000,
        teaching_seconds=0.05,
        steps={"reports": 1.0, "version": 20.0},
        routes=(RouteTime(1, 7.5, 7.0), RouteTime(32, 6.0, 5.9)),
    )
    return [first, replace(first, live=100, places=first.places | {"other": parts["other"]})]


def test_the_table_says_that_nothing_was_held_back(stages: list[Stage]) -> None:
    console = Console(record=True, width=100)
    console.print(table(stages))
    shown = console.export_text()
    cells = {line.split("│")[1].strip(): line.split("│")[2:4] for line in shown.splitlines() if line.startswith("│")}
    assert [cell.strip() for cell in cells["edits: live"]] == ["10", "100"]
    assert [cell.strip() for cell in cells["led astray: same form, another subject"]] == ["1.000", "1.000"]
    assert [cell.strip() for cell in cells["other: as reported"]] == ["-", "0.000"]
    assert [cell.strip() for cell in cells["size: trainer's peak, MB"]] == ["700", "700"]
    assert "led astray: the backbone's own task" not in cells  # nothing of it was asked
    assert "The gate asked for nothing" in shown


def test_rows_and_json_have_every_figure_of_every_night(stages: list[Stage]) -> None:
    rows = rows_of(stages)
    assert {row["night"] for row in rows} == {1, 2}
    assert [row["value"] for row in rows if (row["section"], row["name"]) == ("edits", "live")] == [10, 100]
    found = json.loads(json.dumps(told(stages)))["stages"]
    assert [stage["live"] for stage in found] == [10, 100]
    assert found[0]["scores"]["edit_success"] == pytest.approx(2 / 3)
    assert found[1]["places"]["other"]["success"] == 0.0


def test_the_picture_is_drawn(stages: list[Stage], tmp_path: Path) -> None:
    picture = imread(draw(stages, tmp_path / "growth.png"))
    assert picture.shape[:2] == (1320, 1920)
    assert picture.std() > 0.05
