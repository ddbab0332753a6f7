"""``melo calibrate`` from a file of reports to settings that a run reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands.common import out
from pipeline.settings import Settings
from tests.editing.tiny import tiny_backbone
from tests.evaluation.calibration.conftest import EDITS


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments that name a model, reports and traffic, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(out, "width", 160)
    for part in tiny_backbone("t5"):
        part.save_pretrained(tmp_path / "model")
    rows = [{"prompt": e.prompt, "target": e.target, "rephrases": e.rephrases, "locality": e.locality} for e in EDITS]
    Path("reports.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Path("traffic.jsonl").write_text("\n".join(json.dumps({"text": f"How are you, {name}?"}) for name in ("A", "B")))
    return ["calibrate", "--reports", "reports.jsonl", "--backbone", "model", "--traffic", "traffic.jsonl"]


def test_what_is_chosen_is_told_drawn_and_written(given: list[str]) -> None:
    Path("melo.yaml").write_text("name: ours\n")
    result = CliRunner().invoke(app, [*given, "--false-routes", "0.2", "--write", "melo.yaml"])
    assert result.exit_code == 0, result.output
    assert "false routes" in result.output
    assert "same form, the subject of another edit" in result.output
    assert "editing.pooling: not set ->" in result.output
    assert Path("calibration.png").is_file()
    settings = Settings()
    assert settings.name == "ours"
    assert settings.editing.radius or settings.editing.subject_radius


def test_json_is_the_whole_result_and_nothing_is_written(given: list[str]) -> None:
    result = CliRunner().invoke(app, [*given, "--uncertain", "0.2", "--json", "--bound", "distractor"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    bounds = [(bound["kind"], bound["wanted"]) for bound in found["bounds"] if bound["bounded"]]
    assert (found["wanted"], bounds) == (0.005, [("distractor", 0.2)])
    assert found["candidates"][found["chosen"]]["choosing_recall"] > 0
    assert not Path("melo.yaml").exists()
    assert not Path("calibration.png").exists()


def test_where_nothing_is_chosen_nothing_is_written(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.evaluation.calibration.choice.LEAST", 1.01)
    result = CliRunner().invoke(app, [*given, "--write", "melo.yaml"])
    assert result.exit_code == 1
    assert "nothing was chosen" in result.output
    assert not Path("melo.yaml").exists()


def test_errors_say_what_to_do(given: list[str]) -> None:
    few = Path("few.jsonl")
    few.write_text("\n".join(Path("reports.jsonl").read_text().splitlines()[:9]))
    result = CliRunner().invoke(app, [*given, "--reports", "few.jsonl"])
    assert result.exit_code == 1
    assert "at least 40" in result.output
    for wrong in (["--bound", "nonsense"], ["--false-routes", "2"]):
        assert CliRunner().invoke(app, [*given, *wrong]).exit_code == 2
    assert CliRunner().invoke(app, ["calibrate"]).exit_code == 2
