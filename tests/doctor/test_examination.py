"""All looks together: one that hangs or breaks does not keep the others, and the exit code says whether to worry."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline import screens
from pipeline.cli import app
from pipeline.doctor import examination
from pipeline.doctor.examination import within
from pipeline.doctor.finding import Finding, ok, problem, warning
from pipeline.settings import Settings


def test_a_look_that_hangs_is_left() -> None:
    def hangs(settings: Settings) -> Iterator[Finding]:
        yield ok("a", "so far")
        time.sleep(30)

    start = time.monotonic()
    first, second = within("a", hangs, Settings(), 0.2)
    assert (first.state, second.state, second.told) == ("ok", "problem", "no answer in 0 s")
    assert time.monotonic() - start < 5


def test_a_look_that_breaks_is_a_problem() -> None:
    def breaks(settings: Settings) -> Iterator[Finding]:
        raise KeyError("x")
        yield

    (finding,) = within("a", breaks, Settings(), 5)
    assert (finding.part, finding.state, finding.told) == ("a", "problem", "KeyError: 'x'")


def test_settings_that_cannot_be_read_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELO_TRAINERS", "many")
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1
    (finding,) = json.loads(done.stdout)
    assert (finding["part"], finding["state"]) == ("settings", "problem")


@pytest.mark.parametrize(("state", "code"), [(ok, 0), (warning, 0), (problem, 1)])
def test_the_exit_code(state: object, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def look(settings: Settings) -> Iterator[Finding]:
        yield ok("a", "told") if state is ok else state("a", "told", "do this")  # type: ignore[operator]

    monkeypatch.setattr(examination, "LOOKS", (("a", look, 5.0),))
    monkeypatch.setattr(examination.servers, "serving", lambda settings, url: iter(()))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == code, done.output
    assert "told" in done.stdout


def test_what_a_person_sees() -> None:
    console = Console(width=100, record=True, file=StringIO())
    console.print(screens.examination([ok("home", "there"), problem("ray", "away [bold]", "start it")]))
    text = console.export_text()
    assert "away [bold]" in text
    assert "-> start it" in text
    assert "1 ok, 1 problem" in text
