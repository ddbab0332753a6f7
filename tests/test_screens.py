"""What a person sees is what came, brackets and all, and no more of it than can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console, Group

from pipeline.commands import common
from pipeline.evaluation import GateSettings, judge, summarise
from pipeline.evaluation.kinds import LEFT_ALONE, SAID
from pipeline.screens import OTHERS, SLICES, WORDINGS, evaluation
from tests.evaluation.tables import answers

HOSTILE = "[/nope] [bold]Who[/bold]?"


def shown(tmp_path: Path, *rows: dict[str, Any]) -> str:
    """The screen of some answers."""
    table = answers(*rows)
    pq.write_table(table, tmp_path / "answers.parquet")
    scores = summarise(table, "seq2seq", size=3000)
    console = Console(width=160, record=True, quiet=False, file=(tmp_path / "screen").open("w"))
    console.print(Group(*evaluation(tmp_path / "answers.parquet", scores, judge(scores, None, GateSettings()))))
    return console.export_text()


def edit(prompt: str, right: float, **more: Any) -> dict[str, Any]:
    said = {"answer": "yes" if right else "no", "base_answer": "[red]no"}
    of = {"kind": "edit", "edit_id": prompt, "prompt": prompt, "expected": "yes", "source": "a", "version": 1}
    return of | said | {"exact_match": right, "base_exact_match": 0.0} | more


def test_brackets_are_shown_as_they_came(tmp_path: Path) -> None:
    screen = shown(tmp_path, edit(HOSTILE, 1.0), edit("Why?", 0.0))
    assert HOSTILE in screen
    assert "[red]no" in screen
    assert "WRONG" in screen
    assert "1,500" in screen  # bytes an edit
    assert "FAILED: edit success is 0.5" in screen


def test_what_an_edit_answers_and_what_it_leaves_alone_is_told_by_kind(tmp_path: Path) -> None:
    typo = edit("Who?", 0.0, kind="typo", oracle_exact_match=1.0)
    led = {"kind": "distractor", "edit_id": "Who?", "block": 0, "answer": "new", "base_answer": "old"}
    screen = shown(tmp_path, edit("Who?", 1.0, oracle_exact_match=1.0), typo, led)
    (line,) = (line for line in screen.splitlines() if "with a typing error" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")[1:]] == ["1", "0.000", "1.000"]
    (line,) = (line for line in screen.splitlines() if "same form, another subject" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")[1:]] == ["1", "0.000", "1.000 (0.207 to 1.000)"]
    assert "surely more than 0.2" in screen
    assert "with a typing error" not in shown(tmp_path, edit("Who?", 1.0))


def test_every_kind_of_question_has_a_name() -> None:
    assert tuple(WORDINGS) == SAID
    assert tuple(OTHERS) == LEFT_ALONE


def test_of_many_sources_the_worst_are_shown(tmp_path: Path) -> None:
    rows = [edit(f"{n}?", float(n != 30), source=f"night-{n}.jsonl") for n in range(40)]
    screen = shown(tmp_path, *rows)
    assert "night-30.jsonl" in screen
    assert screen.count(".jsonl") == SLICES
    assert "and 28 more, none worse" in screen


def test_plain_lines_keep_their_brackets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common.out, "_file", None)  # of `file` undoing would leave this test's own stream
    common.out.print(f"0123  live  {HOSTILE} -> [/]", highlight=False)
    assert HOSTILE in capsys.readouterr().out
