"""Where state lives: room to write, the journal, and how the last nights went."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from pipeline.doctor.finding import Finding, ok, problem, warning
from pipeline.journal import Journal
from pipeline.review import ReviewQueue
from pipeline.settings import Settings

LEAST_BYTES, FEW_BYTES = 1 << 30, 5 << 30
"""Free space below which nights fail, or soon will; a night writes a version, its tables and MLflow's copy."""
OVERDUE = timedelta(hours=36)
"""Age of the last night from which a nightly one was missed."""
LONG = timedelta(hours=12)
"""Hours at work from which a run is worth a look."""
MANY_COMPLAINTS = 100


def writable(settings: Settings) -> Iterator[Finding]:
    """Home, and room on its disk."""
    home = settings.home.absolute()
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    if not there.is_dir():
        yield problem("home", f"{there} is no folder", "name another folder in MELO_HOME")
        return
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(b"melo")
    except OSError as error:
        advice = "give this user the right to write there, or name another folder in MELO_HOME"
        yield problem("home", f"{there} cannot be written: {error.strerror}", advice)
        return
    yield ok("home", f"{home} {'is writable' if there == home else 'is made by the first run'}")
    free = shutil.disk_usage(there).free
    told = f"{free / 2**30:.1f} GiB free at {there}"
    if free < FEW_BYTES:
        advice = f"make room: nights of candidates that nobody promoted, in {home / 'nights'}, are the first to go"
        yield (problem if free < LEAST_BYTES else warning)("disk", told, advice)
    else:
        yield ok("disk", told)


def journal(settings: Settings) -> Iterator[Finding]:
    """The lock, the journal, the last night, and what it left to people."""
    home = settings.home.absolute()
    running = _holder(home)
    if running is not None:
        since = datetime.fromisoformat(running["since"])
        told = f"process {running['process']} of {running['user']} on {running['host']} is at work since {since:%F %R}"
        if datetime.now(UTC) - since > LONG:
            yield warning(
                "lock", told, "look whether it still gets on; when it is killed, the next run goes on with it"
            )
        else:
            yield ok("lock", told)
    if not (home / "journal.db").is_file():
        yield ok("journal", "no night yet: melo run makes the first")
        return
    with closing(sqlite3.connect(f"file:{home / 'journal.db'}?mode=ro", uri=True)) as database:
        try:
            verdict = database.execute("PRAGMA quick_check").fetchone()[0]
        except sqlite3.DatabaseError as error:
            verdict = str(error)
    if verdict != "ok":
        advice = (
            f"put a copy of it back; or move {home} away: the next run begins anew from the champion, and reports that "
            "were read before come again"
        )
        yield problem("journal", f"{home / 'journal.db'} is damaged: {verdict}", advice)
        return
    opened = Journal(home)
    try:
        yield from _nights(opened, running is not None)
        yield from _left_to_people(opened)
    finally:
        opened.close()


def _holder(home: Path) -> dict[str, str] | None:
    """Who holds the lock."""
    if not (home / "lock").exists():
        return None
    try:
        with FileLock(home / "lock", timeout=0):
            return None
    except Timeout:
        return dict(json.loads((home / "holder.json").read_text()))


def _nights(journal: Journal, at_work: bool) -> Iterator[Finding]:
    nights = journal.nights()
    yield ok("journal", f"{len(nights)} nights, intact")
    unfinished = journal.unfinished()
    if unfinished is not None and not at_work:
        done = ", ".join(journal.results(unfinished)) or "nothing"
        yield warning(
            "night",
            f"night {unfinished.number}, begun {unfinished.begun[:16]}, did not end (done: {done})",
            "melo run goes on where it stopped, if its cause is gone",
        )
    ended = [night for night in nights if night.ended is not None]
    if not ended:
        return
    last = ended[-1]
    age = datetime.now(UTC) - datetime.fromisoformat(str(last.ended))
    told = f"night {last.number} ended {_ago(age)} ago: {last.outcome}"
    if str(last.outcome).startswith("failed"):
        yield problem("night", told, "remove the cause and start melo run: what was admitted is taught then")
    elif age > OVERDUE:
        yield warning("night", told, "look at the timer or cron: systemctl list-timers, kubectl get cronjob")
    elif last.outcome == "kept back":
        yield warning("night", told, "melo status says why; its edits are taken up again with the next ones")
    else:
        yield ok("night", told)


def _ago(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    return (
        f"{hours * 60:.0f} minutes" if hours < 2 else f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
    )


def _left_to_people(journal: Journal) -> Iterator[Finding]:
    waiting = len(ReviewQueue(journal).waiting())
    told = f"{waiting} complaints wait for a review"
    if waiting > MANY_COMPLAINTS:
        yield warning("review", told, "melo review lists them, melo review ID --answer or --dismiss settles one")
    else:
        yield ok("review", told + (" (melo review)" if waiting else ""))
    for night in reversed(journal.nights()):
        counts = journal.results(night).get("reports")
        if counts is None or not counts["reports"]:
            continue
        bad, read = counts["quarantine"] - counts.get("confirmed", 0), counts["reports"]
        told = f"{bad} of the {read} reports of night {night.number} are in quarantine"
        if 2 * bad > read:
            table = pq.read_table(night.folder / "quarantine.parquet", columns=["reason"])
            reasons = table["reason"].value_counts().to_pylist()
            most = max(reasons, key=lambda each: each["counts"])
            advice = f"look at {night.folder / 'quarantine.parquet'}; the commonest reason: {most['values']}"
            yield warning("quarantine", told, advice)
        else:
            yield ok("quarantine", told)
        return
