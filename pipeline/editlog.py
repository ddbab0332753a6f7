"""The log of edits: what every night admitted, what is still to be taught, and what a version is to know."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.editing.folder import RECORDS
from pipeline.editing.unpacking import unpacked
from pipeline.expiry import over
from pipeline.journal import Journal, Night
from pipeline.sources import Aside
from pipeline.sources.policy import Ask, Earlier
from schemas.edits import EDITS
from schemas.reports import CONTRADICTIONS, REPORTS

if TYPE_CHECKING:
    from pipeline.registry.promotions import Promotion

_EDITS = [(field.name, field.type) for field in EDITS]
UNDO = "undo:"
"""A source that begins with it names edits that are to be taken back, by their ids, and behind a space why."""
KNOWN = ("live", "failed", "evicted")
"""States of records whose edits a version is to know; the others were replaced or undone, or their time is over."""


def taken_back(source: str) -> list[str]:
    """Ids of the edits that a source takes back; none for a source of reports."""
    return source.removeprefix(UNDO).partition(" ")[0].split(",") if source.startswith(UNDO) else []


def why_taken_back(source: str) -> str:
    """Why such a source takes them back; empty if nobody said."""
    return source.removeprefix(UNDO).partition(" ")[2] if source.startswith(UNDO) else ""


def records_of(version: Path) -> pa.Table:
    """The records of the version in a folder: schema EDITS. A column that its format lacks is null."""
    path = version / RECORDS
    table = unpacked(path.read_bytes(), path)
    columns = [table[name] if name in table.column_names else pa.nulls(table.num_rows, kind) for name, kind in _EDITS]
    return pa.table(columns, schema=EDITS)


def states_of(version: Path | None) -> dict[str, str]:
    """Edit id -> state of its record."""
    if version is None:
        return {}
    records = records_of(version)
    return dict(zip(records["edit_id"].to_pylist(), records["state"].to_pylist(), strict=True))


def _as_reports(version: Path, edits: set[str]) -> pa.Table:
    """Some records of a version in the shape of reports."""
    rows = [
        {"edit_id": row["edit_id"], "prompt": row["prompt"], "target": row["target"], "subject": row["subject"]}
        | {"rephrases": row["rephrases"], "locality": [{"prompt": prompt} for prompt in row["locality"]]}
        | {"source": f"version {version.name}", "line": number, "time": datetime.fromtimestamp(0, UTC)}
        | {"aliases": row["aliases"], "metadata": "{}"}
        for number, row in enumerate(records_of(version).to_pylist() if edits else (), start=1)
        if row["edit_id"] in edits
    ]
    return pa.Table.from_pylist(rows, REPORTS)


@dataclass(frozen=True, slots=True)
class _Left:
    """When and how an edit ceased to be said.

    Attributes:
        since: an admission after it is to be taught again.
        until: reports up to it ask for nothing new.
    """

    since: datetime
    until: datetime


class EditLog:
    """Reads the nights of a journal. Nothing is kept: it is the journal's and the versions' to remember.

    Args:
        journal: of the runs.
        moves: promotions and rollbacks, the oldest first.
    """

    def __init__(self, journal: Journal, moves: Iterable[Promotion]) -> None:
        self._journal = journal
        self._moves = list(moves)

    def known(self, night: Night) -> dict[str, Aside | None]:
        """What was admitted before a night, for ``pipeline.sources.admit``."""
        nights = self._before(night)
        log = self._latest(nights)
        states = states_of(self._folder(night.base))
        left = self._left(log, night.base, states)
        known: dict[str, Aside | None] = dict.fromkeys([*log, *(edit for edit in states if states[edit] in KNOWN)])
        for edit in over(nights, datetime.fromisoformat(night.begun)):
            known.pop(edit, None)  # a report of it that is valid still asks for it anew
        if left:
            places = self._places(nights, set(left))
            known |= {edit: Aside(how.until, frozenset(places[edit])) for edit, how in left.items() if edit in log}
        return known

    def earlier(self, night: Night) -> Earlier:
        """What waited for a quorum before a night, or did not prevail, for ``pipeline.sources.policy``."""
        waiting: dict[Ask, dict[str, Any]] = {}
        counted: set[Ask] = set()
        for other in self._before(night):
            file = other.folder / "waiting.parquet"  # nights of earlier releases have none
            for row in pq.read_table(file, schema=REPORTS).to_pylist() if file.is_file() else ():
                waiting.setdefault((row["edit_id"], row["source"], row["line"]), row)
            file = other.folder / "contradictions.parquet"
            if file.is_file():
                columns = ("dropped_edit_id", "dropped_source", "dropped_line")
                table = pq.read_table(file, schema=CONTRADICTIONS).select(columns)
                counted.update(zip(*(column.to_pylist() for column in table.columns), strict=True))
        begun = datetime.fromisoformat(night.begun)
        valid = [row for row in waiting.values() if row["valid_until"] is None or row["valid_until"] > begun]
        return Earlier(pa.Table.from_pylist(valid, REPORTS), frozenset(counted))

    def expired(self, night: Night) -> list[str]:
        """The edits of a night's base whose time was over when the night began, and which none of its reports renew."""
        gone = over(self._journal.nights(), datetime.fromisoformat(night.begun))
        return [edit for edit, state in states_of(self._folder(night.base)).items() if state in KNOWN and edit in gone]

    def waiting(self, night: Night) -> bool:
        """Whether anything was admitted since a night last made a version. What the gate kept back does not count."""
        admitted = False
        for other in self._journal.nights():
            if other.number <= night.number:
                results = self._journal.results(other)
                admitted |= results.get("reports", {}).get("edits", 0) > 0
                admitted &= "version" not in results or other.number == night.number
        return admitted

    def to_teach(self, night: Night) -> pa.Table:
        """What a night's base does not know: tonight's edits and those of nights that the gate kept back.

        What was undone, replaced or rolled back is taught only if it was admitted again since. What the model cannot
        take is never taught, and what is not valid any more neither.

        Returns:
            A table of schema REPORTS, in the order in which the edits were admitted last.
        """
        log = self._latest(self._journal.nights())
        states = states_of(self._folder(night.base))
        left = self._left(log, night.base, states)
        never = self.refused().keys() | over(self._journal.nights(), datetime.fromisoformat(night.begun))
        rows = [
            row
            for edit, row in log.items()
            if edit not in never
            and states.get(edit) not in KNOWN
            and (edit not in left or row["admitted"] > left[edit].since)
        ]
        return self._rows(rows)

    def to_be_known(self, version: Path) -> pa.Table:
        """The edits that the version in a folder is to know: schema REPORTS, in order.

        They come as they were reported; those that were admitted in another home as far as the version knows them.
        """
        states = states_of(version)
        log = self._latest(self._journal.nights())
        elsewhere = {edit for edit, state in states.items() if state in KNOWN and edit not in log}
        here = [row for edit, row in log.items() if states.get(edit) in KNOWN]
        return pa.concat_tables([_as_reports(version, elsewhere), self._rows(here)])

    def refused(self) -> dict[str, str]:
        """Edits that the model cannot take, and why."""
        refused: dict[str, str] = {}
        for night in self._journal.nights():
            refused |= self._journal.results(night).get("version", {}).get("refused", {})
        return refused

    def _before(self, night: Night) -> list[Night]:
        return [other for other in self._journal.nights() if other.number < night.number]

    def _folder(self, digest: str | None) -> Path | None:
        return None if digest is None else self._journal.versions / digest

    def _latest(self, nights: Iterable[Night]) -> dict[str, dict[str, Any]]:
        """Edit id -> where its latest admission stands (night, row) and when it was, and its report's time."""
        log: dict[str, dict[str, Any]] = {}
        for night in nights:
            file = night.folder / "edits.parquet"
            if not file.is_file():
                continue
            table = pq.read_table(file, columns=["edit_id", "time"])
            admitted = datetime.fromisoformat(night.begun)
            for row, (edit, time) in enumerate(zip(*(column.to_pylist() for column in table.columns), strict=True)):
                log.pop(edit, None)
                log[edit] = {"file": file, "row": row, "admitted": admitted, "time": time}
        return log

    def _rows(self, rows: list[dict[str, Any]]) -> pa.Table:
        """The reports at some places of the log. A column that an earlier format lacks is null."""
        by_file: defaultdict[Any, list[int]] = defaultdict(list)
        for row in rows:
            by_file[row["file"]].append(row["row"])
        parts = [pq.read_table(file, schema=REPORTS).take(numbers) for file, numbers in by_file.items()]
        return pa.concat_tables([REPORTS.empty_table(), *parts])

    def _left(self, log: dict[str, dict[str, Any]], base: str | None, states: dict[str, str]) -> dict[str, _Left]:
        """Edits that the base, with records of these states, knew once, or a version that was rolled back from."""
        left: dict[str, _Left] = {}
        for move in self._moves:
            if move.kind == "rollback":
                known = states_of(self._folder(self._digest_of(move.from_version)))
                left |= dict.fromkeys((edit for edit in known if edit not in states), _Left(move.when, move.when))
        for night in self._journal.nights():
            begun = datetime.fromisoformat(night.begun)
            undone = [edit for edit in taken_back(night.source) if states.get(edit) == "undone"]
            left |= dict.fromkeys(undone, _Left(begun, begun))
        if base is not None and "replaced" in states.values():
            records = records_of(self._journal.versions / base)
            for by, gone in zip(records["edit_id"].to_pylist(), records["replaced"].to_pylist(), strict=True):
                for edit in gone or ():
                    if states[edit] == "replaced" and by in log:
                        left[edit] = _Left(log[by]["admitted"], log[by]["time"])
        return left

    def _digest_of(self, number: int | None) -> str | None:
        """Digest of a registered version, if a night of this journal made it."""
        for night in self._journal.nights():
            results = self._journal.results(night)
            if results.get("registered", {}).get("number") == number:
                return str(results["version"]["digest"])
        return None

    @staticmethod
    def _places(nights: Iterable[Night], edits: set[str]) -> defaultdict[str, set[tuple[str, int]]]:
        """Where reports of some edits were read before, by edit id."""
        places: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
        wanted = pa.array(sorted(edits), pa.string())
        for night in nights:
            for name in ("edits", "duplicates"):
                file = night.folder / f"{name}.parquet"
                if not file.is_file():
                    continue
                table = pq.read_table(file, columns=["edit_id", "source", "line"])
                table = table.filter(pc.is_in(table["edit_id"], wanted))
                for edit, source, line in zip(*(column.to_pylist() for column in table.columns), strict=True):
                    places[edit].add((source, line))
        return places
