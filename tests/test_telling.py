"""Lines where nobody watches a terminal, a bar where somebody does, nothing where nobody wants it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipeline import telling
from pipeline.telling import QUIET, Teller


def test_without_a_terminal_there_are_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 1.0, 31.0, 31.0, 40.0, 99.0])
    monkeypatch.setattr(telling.time, "monotonic", lambda: next(moments))
    told = io.StringIO()
    teller = Teller(Console(file=told, width=80))
    teller.say("reading [/reports]")
    with teller.track("teaching 4,000 edits", 4000) as advance:
        for count in (500, 1000, 1500, 1000):
            advance(count)
    assert told.getvalue().splitlines() == [
        "reading [/reports]",
        "teaching 4,000 edits",
        "teaching 4,000 edits: 1,500 of 4,000",
    ]


def test_on_a_terminal_there_is_a_bar() -> None:
    told = io.StringIO()
    with Teller(Console(file=told, force_terminal=True, width=80)).track("asking", 10) as advance:
        advance(10)
    assert "10/10" in told.getvalue()


def test_quiet_tells_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    QUIET.say("something")
    with QUIET.track("teaching", 2) as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")
