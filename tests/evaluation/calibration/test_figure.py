"""The figure shows what was found, and is drawn where nothing was chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib.image import imread

from pipeline.evaluation.calibration.choice import calibrate
from pipeline.evaluation.calibration.figure import SIZE, draw
from pipeline.evaluation.figures import DPI
from pipeline.settings import EditingSettings
from pipeline.telling import QUIET
from tests.editing.edited import tiny


def test_distances_and_curves_are_drawn(table: pa.Table, tmp_path: Path) -> None:
    found = calibrate(tiny("t5"), table, (), 0.1, 0.1, EditingSettings(), (), None, QUIET.track)
    assert found.result.chosen is not None
    drawn = draw(found, tmp_path / "deep" / "calibration.png")
    pixels = imread(drawn)
    assert pixels.shape[:2] == (SIZE[1] * DPI, SIZE[0] * DPI)
    assert drawn.read_bytes() == draw(found, tmp_path / "again.png").read_bytes()
    nothing = type(found)(found.result.model_copy(update={"chosen": None}), found.trial, found.attempts)
    bare = imread(draw(nothing, tmp_path / "nothing.png"))
    half = pixels.shape[1] // 2
    assert np.mean(pixels[:, :half, :3] < 1) > np.mean(bare[:, :half, :3] < 1)
