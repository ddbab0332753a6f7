"""Small exports of each tool, in the layouts that it documents, and what comes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.sources.gathered import Gathered, gather

SAMPLES = Path(__file__).parents[1] / "samples"


def sample(name: str) -> Gathered:
    """What comes of a sample."""
    return gather(SAMPLES / name)


def rows(name: str) -> list[dict[str, Any]]:
    """A sample as it stands, to be changed."""
    text = (SAMPLES / name).read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(text if name.endswith(".json") else f"[{','.join(text.splitlines())}]")
    return found


def put(tmp_path: Path, *changed: dict[str, Any]) -> Gathered:
    """What comes of rows."""
    (tmp_path / "rows.json").write_text(json.dumps(list(changed)), encoding="utf-8")
    return gather(tmp_path)


def reasons(found: Gathered) -> list[str]:
    """The beginning of each reason in quarantine."""
    return [reason[:50] for _, reason in found.refused]


def metadata(row: dict[str, Any]) -> dict[str, Any]:
    """A row's metadata."""
    found: dict[str, Any] = json.loads(row["metadata"])
    return found
