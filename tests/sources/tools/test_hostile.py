"""Whatever stands anywhere in an export, reading goes on: each row ends as a report, a complaint, or in quarantine."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.sources.gathered import gather
from tests.sources.tools.samples import SAMPLES, rows

STRANGE: tuple[Any, ...] = (None, 4, -1.5, True, "", "x", "{", [], {}, [3], [[]], {"a": {}}, ["x"], [{}])


def changed(value: Any) -> Any:
    """The value with each part of it replaced in turn by each strange one."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(parts):
        for strange in STRANGE:
            other = copy.copy(value)
            other[key] = strange
            yield other
        for inner in changed(part):
            other = copy.copy(value)
            other[key] = inner
            yield other


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.iterdir()))
def test_no_change_anywhere_stops_the_reading(tmp_path: Path, name: str) -> None:
    hostile = [other for row in rows(name) for other in changed(row)]
    (tmp_path / "hostile.jsonl").write_text("".join(json.dumps(row) + "\n" for row in hostile))
    found = gather(tmp_path)
    lines = {row["line"] for kind in (found.reports, found.review, found.quarantine) for row in kind}
    assert lines == set(range(1, len(hostile) + 1))
