"""One version, whatever the number of trainers and wherever they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray

import pipeline.run
from pipeline.editing.curriculum import TrainedUnit, Unit
from tests.workers.nights import MANY, PIECES, do, write
from workers.trainer import TrainerWorker

pytestmark = pytest.mark.usefixtures("cluster")


def noting(folder: Path) -> type[TrainerWorker]:
    """Trainers that leave a file for each unit: node, process, first block."""

    class Noting(TrainerWorker):
        def train(self, unit: Unit) -> TrainedUnit:
            (folder / f"{ray.get_runtime_context().get_node_id()} {os.getpid()} {unit.blocks[0]}").touch()
            return super().train(unit)

    return Noting


def test_one_two_and_four_trainers_on_two_nodes_make_the_same_version(
    tmp_path: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "reports.jsonl", MANY)
    digests = set()
    for trainers in (1, 2, 4):
        notes = tmp_path / f"notes of {trainers}"
        notes.mkdir()
        monkeypatch.setattr(pipeline.run, "TrainerWorker", noting(notes))
        made = do(tmp_path / f"home of {trainers}", source, backbone, trainers=trainers, **PIECES)
        assert made.scores is not None
        assert made.scores.edit_success == 1.0
        digests.add(made.digest)
        nodes, processes, units = map(set, zip(*(note.name.split() for note in notes.iterdir()), strict=True))
        assert len(processes) == trainers
        assert len(units) == len(MANY) > trainers
    assert nodes == {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    assert len(nodes) == 2
    assert len(digests) == 1
