"""What a look at one part of a deployment says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.settings import Settings

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Attributes:
        part: what was looked at.
        state: ``ok``; ``warning``: it works, and may not go on to; ``problem``: a night or the server would fail.
        told: what was found.
        advice: what to do; empty where it is ok, or where ``told`` says it.
    """

    part: str
    state: State
    told: str
    advice: str = ""


def ok(part: str, told: str) -> Finding:
    """As it should be."""
    return Finding(part, "ok", told)


def warning(part: str, told: str, advice: str) -> Finding:
    """It works, and may not go on to."""
    return Finding(part, "warning", told, advice)


def problem(part: str, told: str, advice: str) -> Finding:
    """A night or the server would fail."""
    return Finding(part, "problem", told, advice)


Look = Callable[[Settings], Iterator[Finding]]
"""Looks at one part. An error that it raises is a problem, told by its own text."""
