"""Every editor gets the same stream and the same questions, and what is finished is not run again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from pipeline.bench.editors.protocol import Editor, Part, Prior
from pipeline.bench.study import contest as module
from pipeline.bench.study import table3
from pipeline.bench.study.contest import Result, contest, questions
from pipeline.bench.study.material import Study
from pipeline.bench.study.scores import scores
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit
from pipeline.editing.loading import from_objects
from pipeline.settings import Task
from pipeline.telling import QUIET
from tests.editing.tiny import tiny_backbone


class Notebook(Editor):
    """Says what it was taught, word for word; everything else it leaves to the backbone."""

    name = "notebook"
    calls: ClassVar[list[int]] = []

    def __init__(self, backbone: Backbone, prior: Prior) -> None:
        super().__init__(backbone, prior)
        self.taught: dict[str, str] = {}

    def edit(self, edits: Sequence[Edit]) -> None:
        self.calls.append(len(edits))
        self.taught |= {edit.prompt: edit.target for edit in edits}

    def parts(self, prompts: Sequence[str]) -> list[Part]:
        return [Part(range(len(prompts)), self.backbone, prompts)]

    def size(self) -> int:
        return len(self.taught)

    def answer(self, prompts: Sequence[str], new_tokens: int) -> list[list[int]]:
        said = super().answer(prompts, new_tokens)
        for row, prompt in enumerate(prompts):
            if prompt in self.taught:
                (said[row],) = self.backbone.tokenize_targets([self.taught[prompt]], [prompt])
        return said


class Elsewhere(Notebook):
    name = "elsewhere"

    @classmethod
    def ruled_out(cls, task: Task) -> str | None:
        return "it is for other tasks"


@pytest.fixture
def study() -> Study:
    backbone = from_objects(*tiny_backbone("t5"), "seq2seq", "tiny")
    edits = [
        Edit(f"What is number {i}?", f"{i * i}", (f"Number {i} is what?",), (f"Who saw number {i}?",)) for i in range(6)
    ]
    edits.append(Edit("what is  number 0?", "none"))  # supersedes the first
    upstream = (("Where does the river flow?", "north"),)
    return Study("zsre", backbone, tuple(edits), upstream, (("What is true?", "this"),), Prior(), 0, ("here",), 3)


def test_what_is_asked(study: Study) -> None:
    asked = questions(study).to_pylist()
    kinds = [row["kind"] for row in asked]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "edit": 6,
        "rephrase": 5,
        "locality": 5,
        "upstream": 1,
        "accurate": 1,
    }
    assert "What is number 0?" not in {row["prompt"] for row in asked}  # what came later is asked
    ids = {edit.edit_id: edit for edit in study.edits}
    assert all(ids[row["edit_id"]].target == row["expected"] for row in asked if row["kind"] in ("edit", "rephrase"))


def test_a_stream_in_calls_and_the_scores_that_it_comes_to(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALL", 3)
    monkeypatch.setattr(Notebook, "calls", [])
    found = dict(
        (result.name, (result, answers))
        for result, answers in contest(study, {"notebook": Notebook, "elsewhere": Elsewhere}, tmp_path, QUIET)
    )
    assert Notebook.calls == [3, 3, 1]
    assert found["elsewhere"] == (Result("elsewhere", "it is for other tasks"), None)
    result, answers = found["notebook"]
    assert answers is not None
    assert (result.edits, result.size) == (7, 7)
    assert result.edits_per_minute is None  # it only took them down
    assert dataclasses.replace(result, edit_seconds=2.0).edits_per_minute == 210.0
    made = {(score.kind, score.measure): score.value for score in scores(answers, 0)}
    assert made["edit", "exact match"] == 1.0
    assert made["rephrase", "exact match"] == 0.0
    assert made["upstream", "agreement"] == made["locality", "agreement"] == 1.0
    assert ("edit", "F1, forced") in made


def test_what_is_finished_is_kept_for_the_same_study_and_settings_only(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Notebook, "calls", [])
    first = list(contest(study, {"notebook": Notebook}, tmp_path, QUIET))
    again = list(contest(study, {"notebook": Notebook}, tmp_path, QUIET))
    assert Notebook.calls == [6]  # of one prompt in a call the last is taught
    assert again[0][0] == first[0][0]
    assert again[0][1].equals(first[0][1])  # type: ignore[union-attr]
    list(contest(dataclasses.replace(study, edits=study.edits[:2]), {"notebook": Notebook}, tmp_path, QUIET))
    monkeypatch.setenv("MELO_EDITING__PARTIAL_RANK", "3")
    list(contest(dataclasses.replace(study, edits=study.edits[:2]), {"notebook": Notebook}, tmp_path, QUIET))
    assert Notebook.calls == [6, 2, 2]


def test_table_3_takes_slow_editors_from_what_is_kept(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((before, _),) = contest(study, {"notebook": Notebook}, tmp_path, QUIET)
    monkeypatch.setattr(Notebook, "calls", [])
    monkeypatch.setattr(table3, "PATIENCE", 0.0)
    (slow,) = table3.measure(study, {"notebook": Notebook}, 3, tmp_path, QUIET)
    assert Notebook.calls == []
    assert (slow.rounds, slow.seconds, slow.size) == (1, before.edit_seconds, before.size)
    (elsewhere,) = table3.measure(study, {"notebook": Notebook}, 3, tmp_path / "elsewhere", QUIET)
    assert (Notebook.calls, elsewhere.rounds) == ([6], 1)
    monkeypatch.setattr(table3, "PATIENCE", 60.0)
    (fast,) = table3.measure(study, {"notebook": Notebook}, 3, tmp_path, QUIET)
    assert (Notebook.calls, fast.rounds) == ([6] * 4, 3)
