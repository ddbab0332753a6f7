"""What a version is worth: questions, answers, scores, and the gate that decides whether it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.evaluation.asking import ask
    from pipeline.evaluation.gate import Check, GateSettings, Verdict, judge
    from pipeline.evaluation.scores import Scores, failures, summarise
    from pipeline.evaluation.suite import questions

__all__ = ["Check", "GateSettings", "Scores", "Verdict", "ask", "failures", "judge", "questions", "summarise"]

_HOMES = {"ask": "asking", "questions": "suite", "Scores": "scores", "failures": "scores", "summarise": "scores"}


def __getattr__(name: str) -> Any:
    """Imports torch only for who asks, so that settings can name the gate's thresholds at no cost."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'gate')}"), name)
