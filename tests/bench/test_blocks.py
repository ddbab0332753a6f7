"""What blocks cost and know by how they are made, on random backbones: all that does not depend on the clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.bench import blocks
from pipeline.bench.blocks import Way, own_answers
from pipeline.cli import app
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit
from pipeline.editing.families import resolve
from pipeline.editing.model import EditedModel
from pipeline.editing.wordings import wordings, words_of
from pipeline.evaluation.asking import BackboneAnswers
from pipeline.settings import EditingSettings
from tests.editing.tiny import Family

OnDisk = Callable[[str, int], tuple[Path, Path, Path]]
RANK, EDITS = 4, 12


def measure(backbone: Path, reports: Path, *more: str) -> dict[str, Any]:
    command = ["bench", "blocks", "--json", "--backbone", str(backbone), "--reports", str(reports), *more]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_ways_are_settings_that_a_backbone_takes(backbone: Callable[[Family], Backbone]) -> None:
    t5 = backbone("t5")
    found = [resolve(t5.model, t5.task, EditingSettings(**asdict(way))) for way in blocks.WAYS]
    assert [recipe.edits_per_block for recipe in found] == [50, 10, 10, *[1] * 7]
    assert [recipe.partial_rank for recipe in found] == [*[RANK] * 4, 1, RANK, 1, *[RANK] * 3]
    assert [recipe.wordings for recipe in found] == [*[0] * 7, 3, 5, 10]
    assert [way.margin for way in blocks.WAYS] == [*[0.3] * 5, *[5.0] * 5]


def test_every_way_teaches_the_same_edits_and_tells_what_it_came_to(
    on_disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = (Way(50), blocks.DEFAULT, Way(10), Way(1), Way(1, partial_rank=1), Way(1, margin=5.0, wordings=3))
    monkeypatch.setattr(blocks, "WAYS", ways)
    monkeypatch.setenv("MELO_EDITING__WORDINGS", "2")  # a way says all of its own settings
    model, reports, _ = on_disk("t5", EDITS + 3)
    found = measure(model, reports, "--edits", str(EDITS), "--seed", "1")
    assert (found["task"], found["edits"], found["refused"], found["seed"]) == ("seq2seq", EDITS, 0, 1)
    assert (found["threads"], found["sources"]) == (1, [str(model), str(reports)])
    made = found["ways"]
    named = ("edits_per_block", "partial_rank", "margin", "wordings", "default")
    assert [tuple(way[name] for name in named) for way in made] == [
        (50, RANK, 0.3, 0, False),
        (10, RANK, 0.3, 0, True),
        (10, RANK, 0.3, 0, False),
        (1, RANK, 0.3, 0, False),
        (1, 1, 0.3, 0, False),
        (1, RANK, 5.0, 3, False),
    ]
    for way in made:
        assert way["learned"] >= 0.9
        assert way["rephrases"] == round(way["learned"] * EDITS)  # each edit has one
        assert 0 <= way["low"] <= way["right"] <= way["high"] <= 1
        assert way["ms_per_edit"] > 0
        assert way["of_default"] == pytest.approx(way["ms_per_edit"] / made[1]["ms_per_edit"])
    clocked = ("ms_per_edit", "of_default", "default")
    others = [{name: value for name, value in way.items() if name not in clocked} for way in made]
    assert others[1] == others[2]  # equal settings make equal blocks
    one, widest = made[3], made[-1]
    assert one["bytes_per_edit"] == 4 * RANK * 2 * (64 + 32) * one["learned"]  # modules, their inputs and outputs
    assert made[4]["bytes_per_edit"] == one["bytes_per_edit"] / RANK * made[4]["learned"] / one["learned"]
    assert widest["steps"] > one["steps"]


@pytest.fixture
def two_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that look at other things than the ways."""
    monkeypatch.setattr(blocks, "WAYS", (blocks.DEFAULT, Way(1)))


@pytest.mark.parametrize("family", ["gpt2", "bert"])
@pytest.mark.usefixtures("two_ways")
def test_other_tasks_and_edits_without_rephrases(on_disk: OnDisk, family: str) -> None:
    found = measure(*on_disk(family, 6)[:2])
    default, one = found["ways"]
    assert [way["edits_per_block"] for way in (default, one)] == [4 if family == "gpt2" else 10, 1]
    assert default["learned"] >= 0.8
    assert (default["right"] is None, default["rephrases"] == 0) == ((family == "bert"),) * 2


@pytest.mark.usefixtures("two_ways")
def test_the_table_says_what_was_measured_and_on_what(on_disk: OnDisk, capsys: pytest.CaptureFixture[str]) -> None:
    model, reports, _ = on_disk("bert", 6)
    blocks.main(backbone=model, reports=reports, seed=5)
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert [row[:4] for row in rows] == [["10 *", "4", "0.3", "0"], ["1", "4", "0.3", "0"]]
    assert [row[5:7] for row in rows] == [["-", "-"]] * 2  # no rephrase, nothing to be right
    assert rows[0][9] == "1.00"
    for said in ("Blocks of 6 edits", "one way after the other, on one thread", "seed 5", str(reports)):
        assert said in " ".join(out.split())


@pytest.fixture
def t5(backbone: Callable[[Family], Backbone]) -> Iterator[EditedModel]:
    settings = EditingSettings(edits_per_block=1, margin=1.0, wordings=1, radius=1e-3, iterations=200)
    model = EditedModel.from_backbone(backbone("t5"), settings=settings, index="memory")
    yield model
    model.close()


def test_a_rephrase_is_led_to_the_block_of_its_edit_wherever_it_lies(t5: EditedModel) -> None:
    facts = [Edit("Who saw the river?", "Paris", subject="river"), Edit("Which museum?", "1847", subject="museum")]
    words = words_of(t5.backbone.tokenizer.get_vocab())
    trained = [wordings(edit.edit_id, edit.prompt, edit.subject or "", "seq2seq", words, 1) for edit in facts]
    edits = [replace(edit, rephrases=(*own, "museum 1847")) for edit, own in zip(facts, trained, strict=True)]
    assert all(outcome.learned and outcome.steps < 200 for outcome in t5.edit(edits))  # in the other wording too
    assert {route.block for edit in edits for route in t5.route(edit.rephrases)} == {None}
    assert own_answers(t5, edits, BackboneAnswers(t5.backbone)) == [True, False, True, False]


def test_nothing_to_measure_on_is_an_error_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELO_SHARED", str(tmp_path))
    result = CliRunner().invoke(app, ["bench", "blocks"])
    assert result.exit_code == 2
    assert "--backbone" in result.output
    assert "MELO_SHARED" in result.output
