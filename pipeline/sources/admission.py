"""Admission: which of a night's reports become edits.

Each report ends in one place: it is the first to ask for its edit, which is admitted or was contradicted; or it is a
duplicate. The outcome does not depend on the order in which the batches come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from pipeline.editing.edit import normalise
from schemas.reports import CONTRADICTIONS, DUPLICATES, REPORTS

Place = tuple[datetime, str, int]
"""A report's time, source and line, by which reports are ordered."""

_ORDER = [("time", "ascending"), ("source", "ascending"), ("line", "ascending")]


@dataclass(frozen=True, slots=True)
class Admission:
    """A night's reports, sorted.

    Attributes:
        edits: of schema ``REPORTS``; an edit a row, the first report of each, by time, source and line.
        duplicates: of schema ``DUPLICATES``, in the same order.
        contradictions: of schema ``CONTRADICTIONS``; an edit that was dropped a row, in the order of the prompts.
    """

    edits: pa.Table
    duplicates: pa.Table
    contradictions: pa.Table


@dataclass(frozen=True, slots=True)
class Aside:
    """An edit that the model was taught once and does not say any more: undone, replaced or rolled back.

    Attributes:
        until: its reports up to this time are settled by that; a later one asks for it anew.
        places: source and line of its reports that were read before. A file without times counts as written when it
            was last changed, so a report is no new one only because its file was.
    """

    until: datetime
    places: frozenset[tuple[str, int]]

    def settles(self, place: Place) -> bool:
        """Whether a report is no new one."""
        time, *where = place
        return time <= self.until or tuple(where) in self.places


@dataclass(frozen=True, slots=True, order=True)
class _Teller:
    """A report of an edit: where it stands, who sent it, and until when it holds."""

    place: Place
    edit: str
    reporter: str | None = field(compare=False)
    valid_until: datetime | None = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Asked:
    """An edit that was asked for: by whom first, and where last."""

    first: _Teller
    last: Place
    prompt: str
    target: str


def admit(reports: Iterable[pa.RecordBatch], known: Mapping[str, Aside | None]) -> Admission:
    """Deduplicates reports and settles contradictions.

    Of edits with the same normalised prompt and different targets, the one that was reported last prevails, be it
    only again; at the same time, the one of the later source and line. What the model knows takes part: a report of
    it that is the latest drops the others, though there is nothing to be learned then. What was set aside takes no
    part, unless it is reported anew.

    Args:
        reports: batches of schema ``REPORTS``, of any length. Reports of edits that came before are not kept in
            memory, nor are those of known ones.
        known: ids of the edits that were admitted before; with None those that the model knows or is to learn.

    Raises:
        ValueError: a batch of another schema.
    """
    night = _Night(known)
    kept: list[pa.RecordBatch] = []
    for batch in reports:
        if not batch.schema.equals(REPORTS):
            raise ValueError(f"reports have the columns {batch.schema.names}, expected {REPORTS.names}")
        firsts = night.ask(batch)
        fresh = [row for row in firsts if not night.knows(batch["edit_id"][row].as_py())]
        kept.append(batch.take(pa.array(fresh, pa.int64())))
    asked = night.asked
    prevailing, contradictions = _settle(asked)
    table = pa.Table.from_batches(kept, REPORTS)
    places = zip(*(table[name].to_pylist() for name in ("edit_id", "time", "source", "line")), strict=True)
    admitted = [edit in prevailing and asked[edit].first.place == tuple(place) for edit, *place in places]
    edits = table.filter(pa.array(admitted, pa.bool_())).sort_by(_ORDER)
    again = night.again + [asked[edit].first for edit in prevailing if night.knows(edit)]
    return Admission(edits, _duplicates(again, night), contradictions)


@dataclass(slots=True)
class _Night:
    """What was asked for so far.

    Attributes:
        known: see ``admit``.
        asked: edits by id.
        again: reports that ask for an edit once more.
        anew: edits that were set aside and are asked for again.
    """

    known: Mapping[str, Aside | None]
    asked: dict[str, _Asked] = field(default_factory=dict)
    again: list[_Teller] = field(default_factory=list)
    anew: set[str] = field(default_factory=set)

    def knows(self, edit: str) -> bool:
        """Whether there is nothing to be learned for an edit."""
        return edit in self.known and edit not in self.anew

    def ask(self, batch: pa.RecordBatch) -> list[int]:
        """Notes what a batch asks for; gives the rows that nothing before them came before."""
        firsts: dict[str, int] = {}
        names = ("edit_id", "time", "source", "line", "prompt", "target", "reporter", "valid_until")
        columns = (batch[name].to_pylist() for name in names)
        for row, (edit, time, source, line, prompt, target, reporter, until) in enumerate(zip(*columns, strict=True)):
            place = (time, source, line)
            teller = _Teller(place, edit, reporter, until)
            aside = self.known.get(edit)
            if aside is not None:
                if aside.settles(place):
                    self.again.append(teller)
                    continue
                self.anew.add(edit)
            before = self.asked.get(edit)
            if before is None or place < before.first.place:
                self.asked[edit] = _Asked(teller, before.last if before else place, prompt, target)
                firsts[edit] = row
                if before is not None:
                    self.again.append(before.first)
            else:
                self.asked[edit] = replace(before, last=max(place, before.last))
                self.again.append(teller)
        return sorted(firsts.values())


def _settle(asked: dict[str, _Asked]) -> tuple[set[str], pa.Table]:
    """The edits that no other contradicts or that prevail, and how those that do not were dropped."""
    answers: defaultdict[str, list[str]] = defaultdict(list)
    for edit, what in asked.items():
        answers[normalise(what.prompt)].append(edit)
    prevailing: set[str] = set()
    rows: list[dict[str, Any]] = []
    for prompt in sorted(answers):
        kept, *dropped = sorted(answers[prompt], key=lambda edit: asked[edit].last, reverse=True)
        prevailing.add(kept)
        rows.extend(_contradiction(kept, edit, asked) for edit in dropped)
    return prevailing, pa.Table.from_pylist(rows, CONTRADICTIONS)


def _contradiction(kept: str, dropped: str, asked: dict[str, _Asked]) -> dict[str, Any]:
    winner, loser = asked[kept], asked[dropped]
    if winner.last[0] != loser.last[0]:
        reason = "later"
    else:
        reason = "same time, later line" if winner.last[1] == loser.last[1] else "same time, later source"
    return {
        "prompt": winner.prompt,
        "kept_edit_id": kept,
        "kept_target": winner.target,
        "dropped_edit_id": dropped,
        "dropped_target": loser.target,
        "reason": reason,
        "dropped_source": loser.first.place[1],
        "dropped_line": loser.first.place[2],
        "dropped_reporter": loser.first.reporter,
    }


def _duplicates(again: list[_Teller], night: _Night) -> pa.Table:
    rows = []
    for teller in sorted(again):
        time, source, line = teller.place
        of = "version" if night.knows(teller.edit) else "{1}:{2}".format(*night.asked[teller.edit].first.place)
        row = {"edit_id": teller.edit, "source": source, "line": line, "of": of, "reporter": teller.reporter}
        rows.append(row | {"reported": time, "valid_until": teller.valid_until})
    return pa.Table.from_pylist(rows, DUPLICATES)
