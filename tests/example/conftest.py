"""The example backbone, built once for all tests that use it. They are slow: it takes about a minute."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.editing.backbone import Backbone
from pipeline.editing.loading import load_backbone
from pipeline.example.backbone import build_backbone
from pipeline.telling import QUIET


@pytest.fixture(scope="session")
def example_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_backbone(tmp_path_factory.mktemp("example") / "backbone", QUIET)


@pytest.fixture(scope="session")
def example_backbone(example_folder: Path) -> Backbone:
    return load_backbone(example_folder, "seq2seq")
