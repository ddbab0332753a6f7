"""Admission: which of a night's reports become edits.

Each report ends in one place: it is the first to ask for its edit, which is admitted or was contradicted; or it is a
duplicate. The outcome does not depend on the order in which the batches come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
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
class _Asked:
    """An edit that was asked for: by whom first and last."""

    first: Place
    last: Place
    prompt: str
    target: str


def admit(reports: Iterable[pa.RecordBatch], known: Collection[str]) -> Admission:
    """Deduplicates reports and settles contradictions.

    Of edits with the same normalised prompt and different targets, the one that was reported last prevails, be it
    only again; at the same time, the one of the later source and line. What the model knows takes part: a report of
    it that is the latest drops the others, though there is nothing to be learned then.

    Args:
        reports: batches of schema ``REPORTS``, of any length. Reports of edits that came before are not kept in
            memory, nor are those of known ones.
        known: ids of the edits that the model has live.

    Raises:
        ValueError: a batch of another schema.
    """
    known = frozenset(known)
    asked: dict[str, _Asked] = {}
    again: list[tuple[Place, str]] = []
    kept: list[pa.RecordBatch] = []
    for batch in reports:
        if not batch.schema.equals(REPORTS):
            raise ValueError(f"reports have the columns {batch.schema.names}, expected {REPORTS.names}")
        firsts = _ask(batch, asked, again)
        fresh = [row for row in firsts if batch["edit_id"][row].as_py() not in known]
        kept.append(batch.take(pa.array(fresh, pa.int64())))
    prevailing, contradictions = _settle(asked)
    table = pa.Table.from_batches(kept, REPORTS)
    places = zip(*(table[name].to_pylist() for name in ("edit_id", "time", "source", "line")), strict=True)
    admitted = [edit in prevailing and asked[edit].first == tuple(place) for edit, *place in places]
    edits = table.filter(pa.array(admitted, pa.bool_())).sort_by(_ORDER)
    again += [(asked[edit].first, edit) for edit in known & prevailing]
    return Admission(edits, _duplicates(again, asked, known), contradictions)


def _ask(batch: pa.RecordBatch, asked: dict[str, _Asked], again: list[tuple[Place, str]]) -> list[int]:
    """Notes what a batch asks for; gives the rows that nothing before them came before."""
    firsts: dict[str, int] = {}
    columns = (batch[name].to_pylist() for name in ("edit_id", "time", "source", "line", "prompt", "target"))
    for row, (edit, time, source, line, prompt, target) in enumerate(zip(*columns, strict=True)):
        place = (time, source, line)
        before = asked.get(edit)
        if before is None or place < before.first:
            asked[edit] = _Asked(place, before.last if before else place, prompt, target)
            firsts[edit] = row
            if before is not None:
                again.append((before.first, edit))
        else:
            asked[edit] = replace(before, last=max(place, before.last))
            again.append((place, edit))
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
    }


def _duplicates(again: list[tuple[Place, str]], asked: dict[str, _Asked], known: frozenset[str]) -> pa.Table:
    rows = []
    for (_, source, line), edit in sorted(again):
        _, first_source, first_line = asked[edit].first
        of = "version" if edit in known else f"{first_source}:{first_line}"
        rows.append({"edit_id": edit, "source": source, "line": line, "of": of})
    return pa.Table.from_pylist(rows, DUPLICATES)
