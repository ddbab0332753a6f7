"""Trained units at rest: a unit that was trained once is not trained again, whoever asks and after any crash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pipeline.editing.blocks import BlockWeights
from pipeline.editing.curriculum import TrainedUnit, Unit
from pipeline.journal import write_atomically


def unit_id(unit: Unit, circumstances: str) -> str:
    """64 hexadecimal digits over all that the weights of a trained unit depend on.

    Args:
        unit: the work.
        circumstances: digest of backbone, recipe, seed and margin.
    """
    lessons = [[[lesson.edit_id, lesson.prompt, lesson.target] for lesson in block] for block in unit.lessons]
    content = [circumstances, unit.blocks, lessons, unit.iterations, _digest(unit.start)]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


class UnitStore:
    """A folder of trained units.

    Args:
        folder: made if it is not there.
        circumstances: see ``unit_id``.
    """

    def __init__(self, folder: Path, circumstances: str) -> None:
        self._folder = folder
        self._circumstances = circumstances
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, unit: Unit) -> TrainedUnit | None:
        """The unit as it was trained, or None: it was not, or its file is not whole."""
        path = self._path(unit)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                told = json.loads(file.metadata()["unit"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (SafetensorError, KeyError, ValueError):
            return None
        names = [name.removesuffix(".A") for name in tensors if name.endswith(".A")]
        weights = {name: (tensors[f"{name}.A"], tensors[f"{name}.B"]) for name in names}
        return TrainedUnit(unit, weights, tuple(told["steps"]), told["answers"])

    def put(self, trained: TrainedUnit) -> None:
        """Keeps a trained unit."""
        tensors: dict[str, torch.Tensor] = {}
        for name, (a, b) in trained.weights.items():
            tensors |= {f"{name}.A": a.cpu().contiguous(), f"{name}.B": b.cpu().contiguous()}
        told = {"unit": json.dumps({"steps": trained.steps, "answers": trained.answers})}
        write_atomically(self._path(trained.unit), save(tensors, metadata=told))

    def _path(self, unit: Unit) -> Path:
        return self._folder / f"{unit_id(unit, self._circumstances)}.safetensors"


def light(trained: TrainedUnit) -> TrainedUnit:
    """The same without the weights that its unit started from, which who sent the unit has."""
    return replace(trained, unit=replace(trained.unit, start=None))


def _digest(weights: BlockWeights | None) -> str:
    digest = hashlib.sha256()
    for name, (a, b) in sorted((weights or {}).items()):
        digest.update(name.encode())
        for tensor in (a, b):
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
