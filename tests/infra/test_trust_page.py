"""Each line of infra/TRUST.md names a test that exists and is collected, and each setting one that there is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.settings import TrustSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "infra" / "TRUST.md").read_text(encoding="utf-8")
LINES = [line for line in PAGE.splitlines() if line.startswith("| ") and line.count("|") == 4]
ATTACKS = [line for line in LINES if not line.startswith("| what could be tried")]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)` \|$")


def test_there_are_lines_for_every_door() -> None:
    doors = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    without = [door.splitlines()[0] for door in doors if "| what could be tried |" not in door]
    assert without == ["What a reporter's name is worth"]
    assert len(ATTACKS) > 60


@pytest.mark.parametrize("line", ATTACKS)
def test_each_line_names_a_test(line: str) -> None:
    named = NAMED.search(line)
    assert named is not None, "expected the name of a test at the end"
    file, name = named.groups()
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert functions.count(name) == 1, f"{file} has no test of that name"


@pytest.mark.slow
def test_the_tests_are_collected() -> None:
    named = {match.groups() for line in ATTACKS if (match := NAMED.search(line))}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "no:xdist",
        "-o",
        "addopts=--import-mode=importlib",
    ]
    asked = sorted(f"{file}::{name}" for file, name in named)
    done = subprocess.run([*command, *asked], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    collected = {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}
    assert collected == set(asked)


def test_the_settings_are_those_that_there_are() -> None:
    table = PAGE.partition("| setting |")[2].partition("\n\n")[0]
    named = {name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == set(TrustSettings.model_fields)
