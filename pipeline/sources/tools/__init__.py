"""Exports of the tools in which people collect feedback, each told by its own marks.

A tool's file gives, for a row in its layout, the answers in it and what was said about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pipeline.sources.feedback import Judged
from pipeline.sources.tools import argilla, label_studio, langfuse, mlflow, phoenix

Layout = tuple[Callable[[dict[str, Any]], bool], Callable[[dict[str, Any]], Iterator[Judged]]]
TOOLS: tuple[Layout, ...] = (
    (mlflow.is_trace, mlflow.judged),
    (label_studio.is_task, label_studio.judged),
    (argilla.is_record, argilla.judged),
    (langfuse.is_export, langfuse.judged),
    (phoenix.is_span, phoenix.judged),
)
"""Whether a row is a tool's, and what tells it."""


def judged(row: dict[str, Any]) -> Iterator[Judged] | None:
    """The answers in a row and what was said about them; None if the row is no tool's.

    Raises:
        ReportError: from the iterator, when the layout is known but broken.
    """
    return next((tell(row) for marks, tell in TOOLS if marks(row)), None)
