"""Figures are PNGs that show what they were given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from pipeline.editing.edit import Edit
from pipeline.evaluation import Scores, summarise
from pipeline.evaluation.figures import DPI, SIZE, conflicts, distances_and_radii, scope_by_kind, scores_over_edits
from tests.editing.edited import new_model
from tests.evaluation.tables import answers


def colours(path: Path) -> int:
    """Distinct colours of a PNG of the full size."""
    pixels = imread(path)
    assert pixels.shape[:2] == (SIZE[1] * DPI, SIZE[0] * DPI)
    return len(np.unique((pixels[..., :3] * 255).astype(np.int64) @ (1, 1 << 8, 1 << 16)))


def version(edits: int, **shares: float) -> Scores:
    return summarise(answers(), "seq2seq").model_copy(update={"counts": {"edit": edits}} | shares)


def test_scores_are_drawn_as_far_as_they_are_there(tmp_path: Path) -> None:
    versions = [version(10, edit_success=1.0, locality=0.9), version(20, edit_success=0.95), version(0)]
    drawn = scores_over_edits(versions, tmp_path / "deep" / "scores.png")
    assert drawn == tmp_path / "deep" / "scores.png"
    assert colours(drawn) > colours(scores_over_edits([], tmp_path / "none.png"))


def test_distances_and_radii_are_drawn_where_an_edit_was_near(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"kind": "edit", "distance": 0.0, "radius": 2.0},
        {"kind": "rephrase", "distance": 1.5, "radius": 2.0},
        {"kind": "locality", "distance": 900.0, "radius": 2.0},
        {"kind": "upstream"},
    ]
    drawn = distances_and_radii(answers(*rows), tmp_path / "distances.png")
    assert colours(drawn) > colours(distances_and_radii(answers(rows[3]), tmp_path / "none.png"))


def test_kinds_of_questions_are_drawn_with_what_their_own_blocks_would_say(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"kind": "edit", "edit_id": "a", "expected": "so", "exact_match": 1.0, "oracle_exact_match": 1.0},
        {"kind": "typo", "edit_id": "a", "expected": "so", "exact_match": 0.0, "oracle_exact_match": 1.0},
        {"kind": "distractor", "edit_id": "a", "block": 0},
    ]
    drawn = [
        colours(scope_by_kind(summarise(answers(*rows[:count]), "seq2seq"), tmp_path / f"{count}.png"))
        for count in range(4)
    ]
    assert drawn == sorted(set(drawn))


def test_every_way_into_the_index_has_its_colour(tmp_path: Path) -> None:
    model = new_model("t5", radius=1e3)  # so wide that all edits meet
    model.edit([Edit("Who wrote the first novel?", "Ann Lee"), Edit("Who signed the treaty?", "three ministers")])
    model.edit([Edit("Who wrote the first novel?", "green")])
    table = model.records.to_table()
    model.close()
    assert table["action"].to_pylist() == ["add", "conflict", "replace"]
    drawn = [colours(conflicts(table.slice(0, rows), tmp_path / f"{rows}.png")) for rows in range(4)]
    assert drawn == sorted(set(drawn))


def test_the_same_figure_is_the_same_file_and_one_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    versions = [version(10, edit_success=1.0)]
    one, other = (scores_over_edits(versions, tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert one == other
    with pytest.raises(OSError):
        scores_over_edits(versions, tmp_path / "a.png" / "inside-a-file.png")
