"""``melo review``: what waits, an answer, a dismissal, and calls that mean nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.commands import reviews
from pipeline.journal import Journal, user_name
from tests.reviewing import read_night, span, table, write


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with two complaints that wait."""
    monkeypatch.setenv("MELO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(reviews.out, "width", 200)
    journal = Journal(tmp_path / "home")
    read_night(journal, write(tmp_path / "spans.jsonl", span(1), span(2)))
    journal.close()
    return tmp_path / "home"


def melo(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["review", *arguments])


def ids() -> list[str]:
    return [row["complaint_id"] for row in json.loads(melo("--json").stdout)]


def test_it_lists_and_shows_what_waits_brackets_and_all(home: Path) -> None:
    first, _ = ids()
    screen = melo().stdout
    for told in (first[:12], "Who wrote book 1?", "[red]Eric Blair", "correctness: incorrect", "HUMAN ada", "line 1"):
        assert told in screen
    assert "evidence: He is Orwell." in melo(first[:6]).stdout
    assert json.loads(melo(first, "--json").stdout)["prompt"] == "Who wrote book 1?"


def test_an_answer_and_a_dismissal_empty_the_queue(home: Path) -> None:
    first, second = ids()
    assert "a report of the next melo run" in melo(first[:8], "--answer", "Jane Austen", "--reason", "I read it").stdout
    settled = json.loads(melo(second, "--dismiss", "--reason", "he did", "--json").stdout)
    assert (settled["complaint"], settled["answer"], settled["reason"]) == (second, None, "he did")
    assert settled["reviewer"] == user_name()
    assert ids() == []
    assert "No complaint waits" in melo().stdout

    journal = Journal(home)
    read_night(journal, home.parent / "spans.jsonl")
    assert [row["target"] for row in table(journal, "edits")] == ["Jane Austen"]
    journal.close()
    assert ids() == []


def test_a_settled_one_is_not_settled_again(home: Path) -> None:
    first, _ = ids()
    melo(first, "--dismiss")
    again = melo(first, "--answer", "Jane Austen")
    assert again.exit_code == 1
    assert "was dismissed by" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--answer", "x"], "which one?"),
        (["--dismiss"], "which one?"),
        (["", "--answer", "x", "--dismiss"], "not both"),
        (["zz", "--answer", "x"], "no complaint has an id"),
        (["", "--answer", "x"], "2 complaints have ids"),
        (["", "--reason", "x"], "a reason belongs to"),
    ],
)
def test_a_call_that_means_nothing_says_so(home: Path, arguments: list[str], told: str) -> None:
    done = melo(*arguments)
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.replace("│", " ").split())
    assert len(ids()) == 2


def test_a_blank_answer_is_refused(home: Path) -> None:
    done = melo(ids()[0], "--answer", " ")
    assert done.exit_code == 2
    assert "it is blank" in done.stderr
    assert len(ids()) == 2
