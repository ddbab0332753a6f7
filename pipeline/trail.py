"""The trail of an edit: from the reports that asked for it to the versions that serve it, and back.

Everything is read where it was written: reports in the nights' tables, versions in their folders, what became champion
in the registry's history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.editing.folder import RECORDS
from pipeline.editlog import records_of, taken_back, why_taken_back
from pipeline.expiry import ends
from pipeline.journal import Journal, Night
from pipeline.sources.policy import plain
from pipeline.tellings import AGAIN, CONTRADICTED, FIRST, Telling, rows_about, tellings
from schemas.edits import EDITS
from schemas.reports import CONTRADICTIONS, QUARANTINE, REPORTS

if TYPE_CHECKING:
    from pipeline.registry.promotions import Promotion


@dataclass(frozen=True, slots=True)
class Served:
    """A version that was made while the edit was on record.

    Attributes:
        number, digest: of the version; the number is None until it is registered.
        night: that made it.
        state: of the edit in it.
        gate: ``passed`` or ``failed``; None where it was not held against it.
        reasons: of the gate.
    """

    number: int | None
    digest: str
    night: int
    state: str
    gate: str | None
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class Period:
    """A time in which a version was champion; ``until`` is None while it is."""

    version: int
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Ending:
    """How an edit ceased to be said.

    Attributes:
        how: ``undone``, ``replaced``, ``expired`` or ``contradicted``.
        night: in which.
        when: UTC, when that night began.
        by: the edit that came in its place.
        why: what is told of it.
    """

    how: str
    night: int
    when: datetime
    by: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Trail:
    """Everything about one edit; see the parts. ``record`` is the latest row of schema EDITS, or None."""

    edit_id: str
    prompt: str
    target: str
    valid_until: datetime | None
    refused: str | None
    record: dict[str, Any] | None
    reports: list[Telling] = field(default_factory=list)
    versions: list[Served] = field(default_factory=list)
    champion: list[Period] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)


class Trails:
    """Reads the nights of a journal.

    Args:
        journal: of the runs.
        moves: promotions and rollbacks, the oldest first.
    """

    def __init__(self, journal: Journal, moves: Iterable[Promotion] = ()) -> None:
        self._journal = journal
        self._moves = list(moves)

    @cached_property
    def _nights(self) -> list[Night]:
        return self._journal.nights()

    def reports(self, edits: Sequence[str]) -> dict[str, list[Telling]]:
        """The reports that asked for some edits; see ``pipeline.tellings``."""
        return tellings(self._nights, edits)

    def find(self, beginning: str) -> list[str]:
        """Ids that begin so, of all edits that a report ever asked for or a version ever had."""
        found: dict[str, None] = {}
        for night in self._nights:
            columns = [("edits", "edit_id"), ("quarantine", "edit_id"), ("contradictions", "dropped_edit_id")]
            for name, column in columns:
                file = night.folder / f"{name}.parquet"
                if file.is_file() and column in pq.read_schema(file).names:
                    found |= dict.fromkeys(pq.read_table(file, columns=[column])[column].to_pylist())
        for folder in (version for _, version in self._versions):
            found |= dict.fromkeys(pq.read_table(folder / RECORDS, columns=["edit_id"])["edit_id"].to_pylist())
        return [edit for edit in found if edit is not None and edit.startswith(beginning)]

    def trail(self, edit: str, record: dict[str, Any] | None = None) -> Trail:
        """All of an edit.

        Args:
            edit: its id, one of those that ``find`` gives.
            record: of it in a version, where the nights' versions have none: it came from another home.
        """
        reports = self.reports([edit]).get(edit, [])
        versions = self._served(edit)
        if versions:
            record = self._record(self._journal.versions / versions[-1].digest, edit)
        said = record or self._said(edit)
        refused = None
        for night in self._nights:
            refused = self._journal.results(night).get("version", {}).get("refused", {}).get(edit, refused)
        return Trail(
            edit,
            said["prompt"],
            said["target"],
            ends(self._nights).get(edit),
            refused,
            record,
            reports,
            versions,
            self._periods({one.number for one in versions if one.state == "live" and one.number is not None}),
            self._endings(edit, versions),
        )

    def sole(self, edits: Sequence[str], reporter: str) -> tuple[list[str], dict[str, list[str]]]:
        """Which of some edits rest on a reporter alone, and which others reported as well, with their names.

        A report without a name vouches for nothing. One of which an earlier release did not note who sent it may be
        somebody else's, so it counts as such.
        """
        alone: list[str] = []
        others: dict[str, list[str]] = {}
        name = plain(reporter)
        for edit, told in self.reports(edits).items():
            asked = [one for one in told if one.became in (FIRST, AGAIN)]
            who = {plain(one.reporter): one.reporter for one in asked if one.reporter}
            if name in who:
                rest = [said for key, said in who.items() if key != name]
                rest += [f"somebody on night {one.night}" for one in asked if not one.told]
                if rest:
                    others[edit] = rest
                else:
                    alone.append(edit)
        return alone, others

    @cached_property
    def _versions(self) -> list[tuple[Night, Path]]:
        """The nights that made a version, and its folder, in order."""
        made = [(night, self._journal.results(night).get("version")) for night in self._nights]
        folders = [(night, self._journal.versions / version["digest"]) for night, version in made if version]
        return [(night, folder) for night, folder in folders if folder.is_dir()]

    def _served(self, edit: str) -> list[Served]:
        found = []
        for night, folder in self._versions:
            record = self._record(folder, edit)
            if record is not None:
                results = self._journal.results(night)
                gate = results.get("gate")
                verdict = None if gate is None else "passed" if gate["passed"] else "failed"
                reasons = [] if gate is None else list(gate.get("reasons", ()))
                number = results.get("registered", {}).get("number")
                found.append(Served(number, folder.name, night.number, record["state"], verdict, reasons))
        return found

    def _periods(self, versions: set[int]) -> list[Period]:
        ended: list[datetime | None] = [move.when for move in self._moves[1:]]
        times = zip(self._moves, [*ended, None], strict=False)
        return [Period(move.to_version, move.when, end) for move, end in times if move.to_version in versions]

    def _endings(self, edit: str, versions: Sequence[Served]) -> list[Ending]:
        found = []
        numbered = {night.number: night for night in self._nights}
        before = ""
        for version in versions:
            night, state = numbered[version.night], version.state
            when = datetime.fromisoformat(night.begun)
            if state != before and state in ("undone", "replaced", "expired"):
                by = self._replacer(self._journal.versions / version.digest, edit) if state == "replaced" else None
                why = why_taken_back(night.source) if edit in taken_back(night.source) else ""
                found.append(Ending(state, night.number, when, by, why))
            before = state
        for night in self._nights:
            wanted = pa.array([edit], pa.string())
            for row, _ in rows_about(night, "contradictions", CONTRADICTIONS, "dropped_edit_id", wanted):
                when = datetime.fromisoformat(night.begun)
                found.append(Ending(CONTRADICTED, night.number, when, row["kept_edit_id"], row["reason"]))
        return sorted(found, key=lambda one: one.night)

    def _said(self, edit: str) -> dict[str, Any]:
        """Prompt and target of an edit that no version has."""
        wanted = pa.array([edit], pa.string())
        for night in reversed(self._nights):
            for row, _ in rows_about(night, "edits", REPORTS, "edit_id", wanted):
                return row
            for row, _ in rows_about(night, "waiting", REPORTS, "edit_id", wanted):
                return row
            for row, _ in rows_about(night, "contradictions", CONTRADICTIONS, "dropped_edit_id", wanted):
                return {"prompt": row["prompt"], "target": row["dropped_target"]}
            for row, _ in rows_about(night, "quarantine", QUARANTINE, "edit_id", wanted):
                prompt, _, target = row["detail"].partition(" -> ")
                return {"prompt": prompt, "target": target}
        return {"prompt": "", "target": ""}

    @staticmethod
    def _record(version: Path, edit: str) -> dict[str, Any] | None:
        table = pq.read_table(version / RECORDS, schema=EDITS, filters=[("edit_id", "=", edit)])
        return next(iter(table.to_pylist()), None)

    @staticmethod
    def _replacer(version: Path, edit: str) -> str | None:
        rows = records_of(version).select(["edit_id", "replaced"]).to_pylist()
        return next((row["edit_id"] for row in rows if edit in (row["replaced"] or ())), None)
