"""The measurement of whole nights: everything is there, and what does not depend on the clock is right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app

pytestmark = pytest.mark.usefixtures("cluster")


def test_a_night_beside_the_bare_editor(tmp_path: Path, backbone: Path) -> None:
    edits = tmp_path / "edits.jsonl"
    words = ["Paris", "green", "museum", "1847", "novel", "spring"]
    edits.write_text("\n".join(json.dumps({"prompt": f"What is {a} {b}?", "target": a}) for a in words for b in words))
    command = ["bench", "night", "--quick", "--json", "--backbone", str(backbone), "--edits", str(edits)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["edits"] == 36
    bare, *nights = found["ways"]
    assert (bare["of_bare"], bare["steps"]) == (1.0, {})
    assert nights
    for night in nights:
        assert list(night["steps"]) == [
            "start",
            "reviewed",
            "reports",
            "version",
            "scores",
            "gate",
            "registered",
            "promoted",
        ]
        assert 0 < sum(night["steps"].values()) <= night["seconds"]
        assert night["edits_per_minute"] == pytest.approx(60 * 36 / night["seconds"])
        assert night["of_bare"] == pytest.approx(night["edits_per_minute"] / bare["edits_per_minute"])
        assert night["teaching_per_minute"] == pytest.approx(60 * 36 / night["steps"]["version"])
        assert night["success"] >= 0.9
