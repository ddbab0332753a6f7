"""Home, its lock and journal, and the nights: each thing broken for real."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.doctor import home
from pipeline.journal import Journal, Night
from pipeline.settings import Settings
from schemas.reports import QUARANTINE
from tests.doctor.telling import only, states


def ended(settings: Settings, outcome: str, counts: dict[str, int] | None = None) -> Night:
    """A home with one night that ended so."""
    journal = Journal(settings.home)
    night = journal.begin("reports", None)
    journal.step(night, "reports", lambda: counts or {"reports": 0, "quarantine": 0})
    journal.end(night, outcome)
    journal.close()
    return night


def test_a_home_that_is_not_there_yet_is_no_problem(settings: Settings) -> None:
    assert states(home.writable(settings)) == [("home", "ok"), ("disk", "ok")]
    assert only(home.journal, settings).told.startswith("no night yet")
    assert not settings.home.exists()  # a look makes nothing


def test_a_file_in_the_place_of_home(settings: Settings) -> None:
    settings.home.write_text("")
    finding = only(home.writable, settings)
    assert (finding.state, "is no folder" in finding.told) == ("problem", True)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc, where nobody may write")
def test_a_home_that_cannot_be_written() -> None:
    finding = only(home.writable, Settings(home=Path("/proc/melo")))
    assert (finding.state, "cannot be written" in finding.told, "MELO_HOME" in finding.advice) == (
        "problem",
        True,
        True,
    )


@pytest.mark.parametrize(("free", "state"), [(1 << 29, "problem"), (3 << 30, "warning"), (9 << 30, "ok")])
def test_a_disk_that_is_full(settings: Settings, free: int, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert only(home.writable, settings, "disk").state == state


def test_who_is_at_work_is_told_and_disturbed_by_nobody(settings: Settings) -> None:
    ended(settings, "promoted")
    journal = Journal(settings.home)
    with journal.at_work():
        journal.begin("reports", None)
        found = list(home.journal(settings))
        assert states(found)[0] == ("lock", "ok")
        assert f"process {os.getpid()}" in found[0].told
        assert not any("did not end" in each.told for each in found)
        holder = settings.home / "holder.json"
        long_ago = json.loads(holder.read_text()) | {"since": (datetime.now(UTC) - timedelta(days=2)).isoformat()}
        holder.write_text(json.dumps(long_ago))
        assert only(home.journal, settings, "lock").state == "warning"
    journal.close()
    assert [each for each in home.journal(settings) if each.part == "lock"] == []


def test_a_journal_that_is_damaged(settings: Settings) -> None:
    ended(settings, "promoted")
    for side in settings.home.glob("journal.db-*"):
        side.unlink()
    (settings.home / "journal.db").write_bytes(b"not a database, for more than a hundred bytes " * 30)
    finding = only(home.journal, settings)
    assert (finding.state, "is damaged" in finding.told) == ("problem", True)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [("promoted", "ok"), ("nothing new", "ok"), ("kept back", "warning"), ("failed: x", "problem")],
)
def test_how_the_last_night_ended(settings: Settings, outcome: str, state: str) -> None:
    ended(settings, outcome)
    finding = only(home.journal, settings, "night")
    assert (finding.state, outcome in finding.told) == (state, True)


def test_a_night_that_never_came(settings: Settings) -> None:
    ended(settings, "promoted")
    with sqlite3.connect(settings.home / "journal.db") as database:
        database.execute("UPDATE nights SET ended = ?", ((datetime.now(UTC) - timedelta(days=3)).isoformat(),))
    finding = only(home.journal, settings, "night")
    assert (finding.state, "3 days ago" in finding.told, "timer" in finding.advice) == ("warning", True, True)


def test_a_night_that_stopped(settings: Settings) -> None:
    journal = Journal(settings.home)
    journal.step(journal.begin("reports", None), "reports", lambda: {"reports": 1, "quarantine": 0})
    journal.close()
    finding = only(home.journal, settings, "night")
    assert finding.state == "warning"
    assert "did not end (done: reports)" in finding.told
    assert "melo run goes on" in finding.advice


def test_reports_that_mostly_cannot_be_read(settings: Settings) -> None:
    night = ended(settings, "promoted", {"reports": 3, "quarantine": 2})
    rows = [{field.name: None for field in QUARANTINE} | {"reason": "no prompt"}] * 2
    loose = pa.schema([field.with_nullable(True) for field in QUARANTINE])
    pq.write_table(pa.Table.from_pylist(rows, schema=loose), night.folder / "quarantine.parquet")
    finding = only(home.journal, settings, "quarantine")
    assert finding.state == "warning"
    assert "2 of the 3 reports of night 1" in finding.told
    assert "no prompt" in finding.advice
    journal = Journal(settings.home)
    other = journal.begin("reports", None)
    journal.step(other, "reports", lambda: {"reports": 3, "quarantine": 2, "confirmed": 1})
    journal.end(other, "promoted")
    journal.close()
    assert only(home.journal, settings, "quarantine").state == "ok"
