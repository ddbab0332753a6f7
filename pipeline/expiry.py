"""When edits end: with the last of their reports that names an end, and never if one names none."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import pyarrow.parquet as pq

from pipeline.journal import Night


def ends(nights: Iterable[Night]) -> dict[str, datetime | None]:
    """When each edit ends that some nights admitted, in order, by its reports since it was admitted last."""
    found: dict[str, datetime | None] = {}
    for night in nights:
        for name in ("edits", "duplicates"):
            file = night.folder / f"{name}.parquet"
            if not file.is_file() or "valid_until" not in pq.read_schema(file).names:  # duplicates before format 3
                continue
            table = pq.read_table(file, columns=["edit_id", "valid_until"])
            for edit, until in zip(*(column.to_pylist() for column in table.columns), strict=True):
                if name == "edits":
                    found[edit] = until
                elif (end := found.get(edit)) is not None:
                    found[edit] = until and max(until, end)
    return found


def over(nights: Iterable[Night], at: datetime) -> set[str]:
    """The edits whose time is over at a moment."""
    return {edit for edit, end in ends(nights).items() if end is not None and end <= at}
