"""Scopes that were cut, and edits that had to move, are found in what a version stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.editlog import records_of
from pipeline.report.meetings import Index
from tests.report.nights import Told, write_version


def index(tmp_path: Path, *edits: tuple[str, str, float]) -> Index:
    """Of edits that lie on a line, their usual radius 1."""
    told = Told(
        [{"prompt": prompt, "target": target} for prompt, target, _ in edits],
        keys={prompt: place for prompt, _, place in edits},
    )
    version = tmp_path / write_version(tmp_path, told, 1)
    return Index(version, records_of(version))


def test_edits_far_apart_do_not_meet(tmp_path: Path) -> None:
    alone = index(tmp_path, ("a", "x", 0.0), ("b", "y", 10.0))
    assert (alone.cut, list(alone.meetings()), list(alone.moved())) == ([], [], [])
    assert list(index(tmp_path).meetings()) == []


def test_both_sides_of_a_conflict_are_cut_and_name_each_other(tmp_path: Path) -> None:
    met = list(index(tmp_path, ("a", "x", 0.0), ("b", "y", 1.5), ("c", "z", 1.9), ("far", "x", 50.0)).meetings())
    assert [(row.prompt, row.other_prompt) for row in met] == [("b", "c"), ("c", "b"), ("a", "b")]  # the most cut first
    assert met[0].radius == pytest.approx(0.2, rel=1e-3)
    assert met[0].usual == 1.0
    assert met[0].apart == pytest.approx(0.4, rel=1e-3)
    assert met[2].radius == pytest.approx(0.75, rel=1e-3)


def test_edits_that_were_pushed_out_and_put_back_are_told(tmp_path: Path) -> None:
    crowded = index(tmp_path, ("a", "x", 0.0), ("b", "x", 2.0), ("c", "y", 1.5))  # a and b shared a cluster around 1
    assert {row.prompt for row in crowded.moved()} == {"a", "b"}
    assert {row.prompt for row in crowded.meetings()} >= {"b", "c"}
