"""The reports that asked for edits, as the nights' tables tell them, and what became of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.journal import Night
from schemas.reports import CONTRADICTIONS, DUPLICATES, QUARANTINE, REPORTS

FIRST, AGAIN, CONTRADICTED = "first", "duplicate", "contradicted"


@dataclass(frozen=True, slots=True)
class Telling:
    """A report that asked for an edit.

    Attributes:
        night: that read it.
        source, line: where it stands.
        reporter: who sent it, where it says so.
        time: when it was reported, where that was noted.
        became: ``first``, ``duplicate``, ``contradicted``, or the reason why it was not let through.
        told: whether the night noted who sent it; one before format 3 did not of duplicates.
    """

    night: int
    source: str
    line: int
    reporter: str | None
    time: datetime | None
    became: str
    told: bool = True


def tellings(nights: Iterable[Night], edits: Sequence[str]) -> dict[str, list[Telling]]:
    """The reports that asked for some edits, by edit id, in the order in which they were read.

    A report that was read on several nights is told once for all that became of it.
    """
    found: defaultdict[str, list[Telling]] = defaultdict(list)
    wanted = pa.array(edits, pa.string())
    for night in nights:
        for name, schema in (("edits", REPORTS), ("duplicates", DUPLICATES), ("quarantine", QUARANTINE)):
            for row, told in rows_about(night, name, schema, "edit_id", wanted):
                became = {"edits": FIRST, "duplicates": AGAIN}.get(name) or row["reason"]
                time = row["reported"] if name == "duplicates" else row["time"] if name == "edits" else None
                place = row["source"], row["line"], row["reporter"]
                found[row["edit_id"]].append(Telling(night.number, *place, time, became, told))
        for row, told in rows_about(night, "contradictions", CONTRADICTIONS, "dropped_edit_id", wanted):
            place = row["dropped_source"] or "", row["dropped_line"] or 0, row["dropped_reporter"]
            became = f"{CONTRADICTED}: {row['kept_edit_id'][:12]} prevails, {row['reason']}"
            found[row["dropped_edit_id"]].append(Telling(night.number, *place, None, became, told))
    return {edit: _once(tellings) for edit, tellings in found.items()}


def rows_about(
    night: Night, name: str, schema: pa.Schema, column: str, wanted: pa.Array
) -> Iterable[tuple[dict[str, Any], bool]]:
    """Rows of a night's table about some edits, and whether it has all of the schema's columns."""
    file = night.folder / f"{name}.parquet"
    if not file.is_file():
        return
    told = set(schema.names) <= set(pq.read_schema(file).names)
    table = pq.read_table(file, schema=schema)
    for row in table.filter(pc.is_in(table[column], wanted)).to_pylist():
        yield row, told


def _once(tellings: Iterable[Telling]) -> list[Telling]:
    """The same without what only says that a report was read again."""
    kept: list[Telling] = []
    seen: set[tuple[object, ...]] = set()
    for one in tellings:
        place = one.source, one.line
        asked = one.became in (FIRST, AGAIN)
        keys = {(*place, one.reporter, asked or one.became.partition(":")[0])} | ({place} if asked else set())
        if one.became == FIRST or not (seen >= keys or (place in seen and not one.told)):
            kept.append(one)
        seen |= keys
    return kept
