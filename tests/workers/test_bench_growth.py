"""Nights that bring one model to many edits: they go on after a stop, and nothing is held back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.bench import growth
from pipeline.bench.material import MaterialError
from pipeline.cli import app
from pipeline.journal import Journal
from pipeline.run import RunResult, run

pytestmark = pytest.mark.usefixtures("cluster")


def test_nights_go_on_after_a_stop_whatever_the_scores(
    tmp_path: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = tmp_path / "own.jsonl"
    words = ["Paris", "green", "museum", "1847", "novel"]
    rows = [
        {"prompt": f"What is {a} {b}?", "target": a, "rephrases": [f"{a} {b} of what?"]} for a in words for b in words
    ]
    reports.write_text("\n".join(map(json.dumps, rows[:10])))
    monkeypatch.setenv("MELO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MELO_GATE__GENERALITY", "1")  # no random model has it
    monkeypatch.setattr(growth, "ROUNDS", 1)
    command = ["bench", "growth", "--edits", "10", "--json", "--backbone", str(backbone), "--reports", str(reports)]
    done: list[str] = []

    def stopping(*arguments: Any) -> RunResult:
        if len(done) == 2:
            raise MaterialError("stopped")
        done.append(arguments[1])
        return run(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(growth, "run", stopping)
        assert CliRunner().invoke(app, command).exit_code == 2
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    home = tmp_path / "home" / "bench" / "growth"
    nights = Journal(home).nights()
    assert [(Path(night.source).name, night.outcome) for night in nights] == [
        (f"{count:06d}", "promoted") for count in (1, 2, 5, 10)
    ]
    stages = found["stages"]
    assert found["places"] == {"own": 10}
    assert [stage["whole"]["edits"] for stage in stages] == [1, 2, 5, 10]
    assert [stage["taught"] for stage in stages] == [1, 1, 3, 5]
    for stage in stages:
        assert stage["live"] <= stage["whole"]["edits"]
        assert stage["scores"]["generality"] == stage["whole"]["generality"]
        assert stage["first"]["edits"] == stage["last"]["edits"] == 1
        assert stage["peak_bytes"] > 10_000_000
        assert [route["prompts"] for route in stage["routes"]] == [1, 32]
        assert all(route["key"] > 0 for route in stage["routes"])
    assert stages[-1]["scores"]["generality"] < 1
    assert stages[-1]["clusters"] >= stages[-1]["live"] / 2
    assert (home / "growth.png").is_file()
    assert json.loads((home / "growth.json").read_text()) == found
