"""The frame: packaging, and a command line that answers at once."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from pipeline.cli import DISTRIBUTION, app

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "pyarrow", "numpy", "qdrant_client", "qdrant_edge", "ray", "mlflow")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def python(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_help_names_the_commands_without_importing_anything_heavy() -> None:
    program = (
        "import sys; from pipeline.cli import app; app(['bench', 'speed', '--help'], standalone_mode=False); "
        f"print('imported:', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    output = python("-c", program)
    assert "--backbone" in output
    assert output.rstrip().endswith("imported: []")


def test_the_module_runs_as_a_program() -> None:
    assert "bench" in python("-m", "pipeline.cli", "--help")


def test_version_is_that_of_the_installed_distribution(project: dict[str, Any]) -> None:
    try:
        installed = metadata(DISTRIBUTION)
    except PackageNotFoundError:
        pytest.skip(f"{DISTRIBUTION} is not installed in this environment: pip install -e .")
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"melo {installed['Version']}\n")
    assert installed["Version"] == project["version"]


def test_without_the_distribution_the_version_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cli.DISTRIBUTION", "a-distribution-that-nobody-installed")
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 1
    assert "pip install" in result.output


def test_bench_speed_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    edits = tmp_path / "edits.jsonl"
    edits.write_text("", encoding="utf-8")
    calls: list[dict[str, Any]] = []
    measurement = ModuleType("pipeline.bench.speed")
    monkeypatch.setattr(measurement, "main", lambda **arguments: calls.append(arguments), raising=False)
    monkeypatch.setitem(sys.modules, "pipeline.bench.speed", measurement)
    monkeypatch.setattr("pipeline.bench.speed", measurement, raising=False)
    runner = CliRunner()
    assert runner.invoke(app, ["bench", "speed"]).exit_code == 0
    given = ["--backbone", str(tmp_path), "--edits", str(edits), "--json", "--quick", "--seed", "7"]
    assert runner.invoke(app, ["bench", "speed", *given]).exit_code == 0
    assert calls == [
        {"backbone": None, "edits": None, "locality": None, "quick": False, "as_json": False, "seed": 0},
        {"backbone": tmp_path, "edits": edits, "locality": None, "quick": True, "as_json": True, "seed": 7},
    ]


@pytest.mark.parametrize("given", [["--backbone", "nowhere"], ["--edits", "nowhere.jsonl"], ["--seed", "-1"]])
def test_bench_speed_refuses_what_is_not_there(given: list[str]) -> None:
    result = CliRunner().invoke(app, ["bench", "speed", *given])
    assert result.exit_code == 2
    assert given[0] in result.output


def test_constraints_pin_every_dependency_within_its_range(project: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    exact = {pin.name.lower().replace("_", "-"): next(iter(pin.specifier)) for pin in pins}
    assert all(pin.operator == "==" and "+" not in pin.version for pin in exact.values())
    wanted = [Requirement(line) for line in project["dependencies"] + project["optional-dependencies"]["test"]]
    for requirement in wanted:
        assert requirement.specifier.contains(exact[requirement.name].version), requirement


def test_the_licence_is_the_one_declared(project: dict[str, Any]) -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
