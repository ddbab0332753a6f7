"""Trained units at rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.editing.curriculum import Lesson, TrainedUnit, Unit
from pipeline.units import UnitStore, light, unit_id

LESSONS = ((Lesson("a", (3, 4), (5, 1)),), (Lesson("b", (6,), (7, 1)),))
UNIT = Unit((4, 9), LESSONS, 30)


def weights(seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (torch.randn(2, 3, 5, generator=generator), torch.randn(2, 6, 3, generator=generator))
        for name in ("layer.0", "layer.1")
    }


def test_what_is_put_comes_back_to_the_bit(tmp_path: Path) -> None:
    store = UnitStore(tmp_path / "units", "here")
    assert store.get(UNIT) is None
    trained = TrainedUnit(UNIT, weights(0), (7, 30), {"b": "wrong"})
    store.put(trained)
    found = UnitStore(tmp_path / "units", "here").get(UNIT)
    assert found is not None
    assert (found.unit, found.steps, found.answers) == (UNIT, (7, 30), {"b": "wrong"})
    for name, pair in trained.weights.items():
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(found.weights[name], pair, strict=True))


def test_a_unit_is_known_by_all_that_its_weights_depend_on(tmp_path: Path) -> None:
    others = [
        replace(UNIT, blocks=(4, 8)),
        replace(UNIT, iterations=60),
        replace(UNIT, lessons=LESSONS[::-1]),
        replace(UNIT, start=weights(0)),
        replace(UNIT, start=weights(1)),
    ]
    names = {unit_id(unit, "here") for unit in [UNIT, *others]} | {unit_id(UNIT, "there")}
    assert len(names) == len(others) + 2
    assert unit_id(replace(UNIT), "here") == unit_id(UNIT, "here")


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_file_that_is_not_whole_counts_as_none(tmp_path: Path, content: bytes) -> None:
    store = UnitStore(tmp_path, "here")
    (tmp_path / f"{unit_id(UNIT, 'here')}.safetensors").write_bytes(content)
    assert store.get(UNIT) is None
    store.put(TrainedUnit(UNIT, weights(0), (1, 2), {}))
    assert store.get(UNIT) is not None


def test_a_light_unit_leaves_its_start_behind() -> None:
    trained = TrainedUnit(replace(UNIT, start=weights(0)), weights(1), (1, 2), {})
    assert light(trained).unit == UNIT
    assert light(trained).weights is trained.weights
