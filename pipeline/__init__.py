"""MELO: corrects language models continually, one dynamic LoRA block for every few edits."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.editing.edit import Edit, EditError, Outcome, Route
    from pipeline.editing.model import EditedModel
    from pipeline.settings import EditingSettings

__all__ = ["Edit", "EditError", "EditedModel", "EditingSettings", "Outcome", "Route"]

_HOMES = {"EditedModel": "pipeline.editing.model", "EditingSettings": "pipeline.settings"}


def __getattr__(name: str) -> Any:
    """Imports torch and transformers only when something is asked for, so that ``melo --help`` is quick."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "pipeline.editing.edit")), name)
