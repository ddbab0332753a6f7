"""What a newcomer does, through the command line: two nights, a look around, a rollback, an undo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.editing.model import EditedModel

pytestmark = pytest.mark.slow

NAMED = ("RAY_ADDRESS", "QDRANT_URL", "MLFLOW_TRACKING_URI", "MELO_BACKBONE", "MELO_REPORTS", "MELO_CONFIG")


def melo(*command: str, code: int = 0) -> Any:
    """What a command in this process prints as JSON."""
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def of_its_own(*command: str) -> str:
    """What a command in a process of its own prints, as for a person."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *command],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def home(example_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which the example's backbone stands already."""
    for name in NAMED:
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(example_folder, tmp_path / "home" / "example" / "backbone")
    monkeypatch.setenv("MELO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return tmp_path / "home"


def test_two_nights_and_a_look_around(home: Path) -> None:
    shown = of_its_own("run")
    for told in ("contradictions", "quarantined", "Before and after", "Version 1 is champion", "Next: melo ask"):
        assert told in shown
    assert "right" in shown and "WRONG" not in shown

    second = melo("run")
    scores = second["scores"]
    assert (second["number"], second["promoted"]) == (2, True)
    assert scores["edit_success"] == 1.0
    assert scores["generality"] >= 0.8
    assert scores["locality"] >= 0.98
    assert scores["upstream"]["after"] >= scores["upstream"]["before"] - 0.005
    assert len(scores["by_source"]) == 2
    assert melo("run")["digest"] is None  # nothing new

    status = melo("status")
    assert (status["champion"]["number"], status["candidate"]["number"]) == (2, 2)
    looked = [line for line in melo("doctor") if line["part"] != "addresses"]  # which tells of other programs, too
    assert {line["state"] for line in looked} == {"ok"}, looked
    assert {"settings", "journal", "champion", "artifacts", "quarantine"} <= {line["part"] for line in looked}
    edits = melo("edits")
    assert len(edits) >= scores["counts"]["edit"]
    asked, other = melo("ask", "What is the capital of Australia?", "What is the capital of France?")
    assert (asked["backbone"], asked["answer"]) == ("Sydney", "Canberra")
    assert other["backbone"] == other["answer"] == "Paris"
    assert other["edit_id"] is None
    found = melo("evaluate")
    assert found["scores"]["edit_success"] == 1.0
    assert found["verdict"]["passed"]
    assert found["scores"]["counts"] == scores["counts"]

    written = melo("export", "--to", str(home / "exported"))
    assert (written["version"], written["digest"]) == (2, second["digest"])
    routing = EditedModel.load(home / "exported" / "version", index="memory")
    (route,) = routing.route(["What is the capital of Australia?"])
    assert route.block in written["adapters"].values()

    assert CliRunner().invoke(app, ["rollback", "--why", "to see"]).exit_code == 0
    assert melo("status")["champion"]["number"] == 1
    assert CliRunner().invoke(app, ["promote", "2", "--why", "it was right"]).exit_code == 0
    undone = melo("undo", asked["edit_id"][:12])
    assert (undone["number"], undone["promoted"]) == (3, True)
    (again,) = melo("ask", "What is the capital of Australia?")
    assert again["answer"] == "Sydney"
    trail = melo("edits", "show", asked["edit_id"][:12])
    assert trail["record"]["state"] == "undone"
    assert [(one["number"], one["state"]) for one in trail["versions"]] == [(1, "live"), (2, "live"), (3, "undone")]
    moves = [(move["kind"], move["from_version"], move["to_version"], move["why"]) for move in melo("history")]
    assert [move[:3] for move in moves] == [
        ("promotion", None, 1),
        ("promotion", 1, 2),
        ("rollback", 2, 1),
        ("promotion", 1, 2),
        ("promotion", 2, 3),
    ]
    assert moves[2][3] == "to see"
    assert [move["figures"]["edit_success"] for move in melo("history")] == [1.0] * 5
    first, second = (move["when"] for move in melo("history")[:2])
    for at, number in (("2020-01-01", None), (_whole_seconds(first), 1), (_whole_seconds(second), 2)):
        assert melo("history", "--at", at)["version"] == number


def _whole_seconds(when: str) -> str:
    """The next whole second, in local time: what a person would type."""
    return f"{datetime.fromisoformat(when).astimezone() + timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}"
