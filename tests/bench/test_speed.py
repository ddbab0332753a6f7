"""The whole command on random backbones: every section is there, and what does not depend on the clock is right."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from pipeline.bench import speed
from pipeline.cli import app

OnDisk = Callable[[str, int], tuple[Path, Path, Path]]


def measure(backbone: Path, edits: Path, *more: str) -> dict[str, Any]:
    result = CliRunner().invoke(
        app, ["bench", "speed", "--quick", "--json", "--backbone", str(backbone), "--edits", str(edits), *more]
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer edits and a small index: for tests that look at other things than the sizes of --quick."""
    few = dataclasses.replace(speed.QUICK, learned=8, streamed=8, index=(50, 100), generation_rounds=2)
    monkeypatch.setattr(speed, "QUICK", few)


@pytest.mark.slow
def test_quick_json(on_disk: OnDisk) -> None:
    model, edits, locality = on_disk("t5", 25)
    found = measure(model, edits, "--locality", str(locality), "--seed", "3")
    assert (found["task"], found["edits"], found["refused"], found["seed"]) == ("seq2seq", 25, 0, 3)
    assert found["machine"]["torch"] == torch.__version__

    learning = found["learning"]
    ways = {way["name"]: way for way in learning["ways"]}
    assert set(ways) == {"editor", "editor, index on disk", "schedule, published", "schedule, matched"}
    assert all(way["threads"] == 1 and way["edits_per_minute"] > 0 for way in ways.values())
    assert ways["editor"]["edits_per_minute"] == pytest.approx(60 * 25 / ways["editor"]["seconds"])
    success = ways["editor"]["success"]
    assert 0.9 <= success == ways["editor, index on disk"]["success"]  # the two may differ in where keys lie, no more
    assert ways["editor"]["parameters"] % (2 * 4 * (64 + 32)) == 0  # modules, rank, inputs and outputs of each
    assert ways["editor"]["bytes_per_edit"] == 4 * ways["editor"]["parameters"] / 25
    assert ways["schedule, published"]["parameters"] == 1 * 4 * 2 * (64 + 32)
    ratio = ways["schedule, matched"]["seconds"] / ways["editor"]["seconds"]
    assert learning["ratios"]["1"]["schedule, matched"] == pytest.approx(ratio)
    small_blocks = [trial["success"] for trial in learning["trials"] if trial["edits_per_block"] == 10]
    assert ways["schedule, matched"]["success"] == max(small_blocks)
    assert learning["matched"] == (max(small_blocks) >= success - 0.02)

    quality = found["quality"]
    assert (quality["edits"], quality["calls"]) == (25, 5)
    assert quality["success"]["asked"] == 25
    assert quality["success"]["good"] >= 23
    assert quality["first_at_once"]["asked"] == 5
    assert quality["first_at_once"] == quality["first_at_last"]
    assert quality["generality"]["asked"] == quality["own_locality"]["asked"] == 25
    assert quality["inside"]["asked"] + quality["outside"]["asked"] == 8
    assert quality["outside"]["good"] == quality["outside"]["asked"]

    assert {(row["home"], row["keys"], row["prompts"], row["where"]) for row in found["routing"]} == {
        (home, keys, prompts, where)
        for home in ("memory", "edge", "subjects")
        for keys in (1_000, 10_000)
        for prompts in (1, 32)
        for where in ("inside", "outside")
    }
    assert all(row["right"] == 1.0 and row["p50_ms"] > 0 for row in found["routing"])

    generation = found["generation"]
    assert (generation["edits"], generation["new_tokens"]) == (quality["success"]["good"], 16)
    cases = {case["where"]: case for case in generation["cases"]}
    assert cases["inside"]["prompts"] == 16
    assert not cases["inside"]["equal"]
    assert cases["outside"]["equal"]


@pytest.mark.parametrize("family", ["gpt2", "bert"])
@pytest.mark.usefixtures("small")
def test_other_tasks(on_disk: OnDisk, family: str) -> None:
    model, edits, _ = on_disk(family, 8)
    found = measure(model, edits)
    assert found["quality"]["success"]["asked"] == 8
    assert found["quality"]["success"]["good"] >= 7
    assert found["quality"]["inside"] == found["quality"]["outside"] == {"asked": 0, "good": 0}
    assert found["generation"]["new_tokens"] == (16 if family == "gpt2" else 0)
    assert {case["where"] for case in found["generation"]["cases"]} == {"inside", "outside"}


@pytest.mark.usefixtures("small")
def test_tables_say_what_was_measured_and_on_what(on_disk: OnDisk, capsys: pytest.CaptureFixture[str]) -> None:
    model, edits, locality = on_disk("t5", 8)
    speed.main(backbone=model, edits=edits, locality=locality, quick=True, seed=5)
    text = " ".join(capsys.readouterr().out.split())
    for said in ("Learning 8 edits", "edits/min", "A stream of 8 edits in", "Routing", "Generating", "seed 5"):
        assert said in text
    assert f"torch {torch.__version__}" in text


def test_nothing_to_measure_on_is_an_error_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELO_SHARED", str(tmp_path))
    result = CliRunner().invoke(app, ["bench", "speed", "--quick"])
    assert result.exit_code == 2
    assert "--backbone" in result.output
    assert "MELO_SHARED" in result.output
