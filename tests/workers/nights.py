"""Nights of a few facts and a tiny model, and what the tests of whole runs do with them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pipeline.run import RunResult, run
from pipeline.settings import EditingSettings, Settings
from pipeline.telling import QUIET

FACTS = {
    "Who wrote the first novel in the series?": "Paris",
    "The capital of the northern province is": "green",
    "What is the capital of France?": "museum",
    "The treaty was signed in the spring of": "1847",
    "When did the old museum move?": "novel",
}

MANY = FACTS | {
    "My sister's favourite colour has always been": "Alder",
    "Which ministers signed the treaty?": "three",
    "The old museum is in": "France",
    "The new building is": "spring",
}

PIECES: dict[str, Any] = {"editing": EditingSettings(edits_per_block=1, edits_per_step=1), "portion": 4}
"""Every edit is a unit of work, and the lead trainer has a portion behind it when it gets the next."""


def settings_in(home: Path, **changes: Any) -> Settings:
    """Settings of a small night; what takes two minutes has gone wrong."""
    usual: dict[str, Any] = {"editing": EditingSettings(edits_per_block=2, edits_per_step=1), "patience": 120}
    return Settings(home=home, **(usual | changes))


def write(path: Path, facts: dict[str, str], *lines: str) -> Path:
    """Reports as JSON lines, and more lines after them; always of the same time."""
    rows = [json.dumps({"prompt": prompt, "target": target}) for prompt, target in facts.items()]
    path.write_text("\n".join([*rows, *lines]) + "\n")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def do(home: Path, source: Path, backbone: Path, **changes: Any) -> RunResult:
    """One run."""
    return run(settings_in(home, **changes), str(source), str(backbone), QUIET)
