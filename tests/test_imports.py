"""Imports point down, Ray is the workers' alone, and what is heavy waits until it is used."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS = (
    {"cli"},
    {"commands", "bench"},
    {"screens", "edit_screens", "doctor"},
    {"run"},
    {"workers", "report"},
    {"editlog", "review", "serving", "example", "events", "night_metrics", "trail", "tellings", "expiry"},
    {"registry", "sources", "evaluation", "export", "journal", "units"},
    {"editing"},
    {"settings", "telling", "terminal", "words"},
    {"logs", "metrics", "trust", "credentials", "secret_fields"},
    {"errors"},
    {"schemas"},
)
"""Rooms and modules, the highest first: each may import those below it, and those beside it in its own layer."""
EXCEPTIONS = {("settings", "pipeline.evaluation.gate"), ("pipeline", "pipeline.editing.edit")}
"""The gate's thresholds are settings that live with the gate, which imports nothing of ours."""
LATE = ("torch", "transformers", "pyarrow", "numpy", "qdrant_client", "qdrant_edge", "ray", "mlflow", "matplotlib")


def modules() -> Iterator[tuple[str, Path]]:
    for top in ("pipeline", "workers", "schemas"):
        for path in sorted((ROOT / top).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path


def room(module: str) -> str:
    top, *rest = module.removesuffix(".__init__").split(".")
    return rest[0] if top == "pipeline" and rest else top


def imported(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            yield from (alias.name for alias in inner.names)
        elif isinstance(inner, ast.ImportFrom) and inner.module is not None and inner.level == 0:
            yield inner.module


def at_once(tree: ast.Module) -> Iterator[str]:
    """What is imported with the module itself."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported(node)


def test_every_room_has_its_layer() -> None:
    known = set().union(*LAYERS) | {"pipeline"}
    assert {room(module) for module, _ in modules()} - known == set()


def test_imports_point_down() -> None:
    height = {name: place for place, layer in enumerate(LAYERS) for name in layer} | {"pipeline": -1}
    wrong = [
        f"{module} imports {other}"
        for module, path in modules()
        for other in imported(ast.parse(path.read_text(encoding="utf-8")))
        if other.split(".")[0] in ("pipeline", "workers", "schemas")
        and height[room(other)] < height[room(module)]
        and other != "pipeline"
        and (room(module), other) not in EXCEPTIONS
    ]
    assert wrong == []


def test_the_gate_imports_nothing_of_ours_when_settings_do() -> None:
    tree = ast.parse((ROOT / "pipeline" / "evaluation" / "gate.py").read_text(encoding="utf-8"))
    assert [name for name in at_once(tree) if name.startswith(("pipeline", "workers", "schemas"))] == []


@pytest.mark.parametrize("top", ["pipeline", "schemas"])
def test_ray_is_the_workers_alone(top: str) -> None:
    users = [
        module
        for module, path in modules()
        if module.startswith(top)
        and any(name.split(".")[0] == "ray" for name in imported(ast.parse(path.read_text(encoding="utf-8"))))
    ]
    assert users == []


def test_sources_know_no_model() -> None:
    allowed = {"pipeline.editing.edit"}
    found = {
        name
        for module, path in modules()
        if room(module) == "sources"
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.startswith("pipeline.editing")
    }
    assert found <= allowed


def test_commands_import_what_is_heavy_late() -> None:
    found = {
        (module, name)
        for module, path in modules()
        if room(module) in ("cli", "commands", "settings")
        for name in at_once(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] in LATE
    }
    assert found == set()
