"""The trail where nights are of an earlier format, read again, undone and replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.editlog import UNDO
from pipeline.journal import Night
from pipeline.tellings import AGAIN, FIRST
from pipeline.trail import Trails
from schemas.reports import CONTRADICTIONS, DUPLICATES, REPORTS
from tests.test_editlog import START, A, B, C, Home, ident
from tests.test_editlog import home as home  # the fixture


def trails(home: Home) -> Trails:
    return Trails(home.journal, home.moves)


def named(night: Night, *reporters: str | None) -> None:
    """The night's edits were sent by these."""
    file = night.folder / "edits.parquet"
    rows = pq.read_table(file).to_pylist()
    rows = [row | {"reporter": name} for row, name in zip(rows, reporters, strict=True)]
    pq.write_table(pa.Table.from_pylist(rows, REPORTS), file)


def again(night: Night, *rows: tuple[tuple[str, str], str, int, str | None], old: bool = False) -> None:
    told: list[dict[str, Any]] = [
        {"edit_id": ident(*edit), "source": source, "line": line, "of": "version", "reporter": name, "reported": START}
        for edit, source, line, name in rows
    ]
    table = pa.Table.from_pylist(told, DUPLICATES)
    pq.write_table(table.select(table.column_names[:4]) if old else table, night.folder / "duplicates.parquet")


def test_a_report_that_is_read_every_night_is_told_once(home: Home) -> None:
    first = home.night(None, A)
    named(first, "ada")
    home.makes(first, "one", {A: "live"})
    for _ in range(2):
        again(home.night("one"), (A, "1.jsonl", 1, "ada"), (A, "x.jsonl", 3, "bob"))
    told = trails(home).reports([ident(*A)])[ident(*A)]
    assert [(one.night, one.source, one.reporter, one.became) for one in told] == [
        (1, "1.jsonl", "ada", FIRST),
        (2, "x.jsonl", "bob", AGAIN),
    ]


def test_replaced_and_undone_edits_say_by_what_when_and_why(home: Home) -> None:
    home.makes(home.night(None, A, C), "one", {A: "live", C: "live"})
    home.makes(home.night("one", B), "two", {A: "replaced", C: "live", B: "live"})
    source = f"{UNDO}{ident(*C)},{ident(*B)} it was wrong, and so on"
    home.makes(home.night("two", source=source), "three", {A: "replaced", C: "undone", B: "undone"})
    (gone,) = trails(home).trail(ident(*A)).endings
    assert (gone.how, gone.night, gone.by, gone.why) == ("replaced", 2, ident(*B), "")
    (undone,) = trails(home).trail(ident(*C)).endings
    assert (undone.how, undone.night, undone.why) == ("undone", 3, "it was wrong, and so on")
    found = trails(home).trail(ident(*A))
    assert [(one.number, one.state) for one in found.versions] == [(1, "live"), (2, "replaced"), (3, "replaced")]


def test_an_answer_that_lost_leads_to_the_one_that_prevailed(home: Home) -> None:
    night = home.night(None, B)
    row = {"prompt": "Who?", "kept_edit_id": ident(*B), "kept_target": "You", "dropped_edit_id": ident(*A)}
    row |= {"dropped_target": "Me", "reason": "later", "dropped_source": "1.jsonl", "dropped_reporter": "eve"}
    pq.write_table(
        pa.Table.from_pylist([row | {"dropped_line": 7}], CONTRADICTIONS), night.folder / "contradictions.parquet"
    )
    found = trails(home).trail(ident(*A))
    (told,) = found.reports
    assert (told.source, told.line, told.reporter) == ("1.jsonl", 7, "eve")
    assert told.became.startswith(f"contradicted: {ident(*B)[:12]} prevails")
    assert (found.target, found.record, found.endings[0].by) == ("Me", None, ident(*B))
    assert trails(home).find(ident(*A)[:8]) == [ident(*A)]


@pytest.fixture
def taught(home: Home) -> Iterator[tuple[Home, Night]]:
    first = home.night(None, A, C)
    named(first, "Eve", "eve ")
    home.makes(first, "one", {A: "live", C: "live"})
    yield home, home.night("one")


def test_an_edit_rests_on_a_reporter_unless_somebody_with_a_name_reported_it_too(
    taught: tuple[Home, Night],
) -> None:
    home, night = taught
    again(night, (A, "x", 1, None), (A, "x", 2, "EVE"), (C, "x", 3, "Bob"))
    alone, others = trails(home).sole([ident(*A), ident(*C)], "eve")
    assert (alone, others) == ([ident(*A)], {ident(*C): ["Bob"]})
    assert trails(home).sole([ident(*A), ident(*C)], "bob") == ([], {ident(*C): ["eve "]})
    assert trails(home).sole([ident(*A), ident(*C)], "mallory") == ([], {})


def test_who_reported_again_on_a_night_of_an_earlier_format_may_be_somebody_else(taught: tuple[Home, Night]) -> None:
    home, night = taught
    again(night, (A, "x", 1, "eve"), (C, "1.jsonl", 2, "eve"), old=True)  # the second is C's own line, read again
    alone, others = trails(home).sole([ident(*A), ident(*C)], "eve")
    assert (alone, others) == ([ident(*C)], {ident(*A): ["somebody on night 2"]})


def test_nights_of_an_earlier_format_are_shown(home: Home, tmp_path: Path) -> None:
    night = home.night(None, A)
    home.makes(night, "one", {A: "live"})
    file = night.folder / "edits.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["aliases"]), file)
    again(home.night("one"), (A, "x", 1, "eve"), old=True)
    found = trails(home).trail(ident(*A))
    assert [(one.reporter, one.told, one.became) for one in found.reports] == [
        (None, False, FIRST),
        (None, False, AGAIN),
    ]
