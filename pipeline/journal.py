"""The journal: what every run has done, on disk before the next thing begins (rule 9).

A run ("night") is numbered and made of named steps. A step that has ended is never done again: its result is read
back. So a run that was killed anywhere goes on where it stopped, and a step may be repeated only until it has ended.

    MELO_HOME/journal.db     runs and their steps, and what reviewers settled, SQLite
    MELO_HOME/lock           held while a run is at work; holder.json says by whom
    MELO_HOME/nights/000001/ what the steps of a run wrote: tables, trained units
    MELO_HOME/versions/      edited models, named by their digests
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.errors import MeloError

SCRATCH = ".unfinished-"
"""Begins the names of folders that hold what is being written; what a killed run left goes when the next one begins."""

_TABLES = """
CREATE TABLE IF NOT EXISTS nights (
    number INTEGER PRIMARY KEY, source TEXT NOT NULL, base TEXT, begun TEXT NOT NULL, ended TEXT, outcome TEXT
);
CREATE TABLE IF NOT EXISTS steps (
    night INTEGER NOT NULL REFERENCES nights, name TEXT NOT NULL, ended TEXT NOT NULL, result TEXT NOT NULL,
    PRIMARY KEY (night, name)
);
CREATE TABLE IF NOT EXISTS settlements (
    number INTEGER PRIMARY KEY, complaint TEXT NOT NULL UNIQUE, answer TEXT, reason TEXT NOT NULL,
    reviewer TEXT NOT NULL, settled TEXT NOT NULL
);
"""


class BusyError(MeloError, RuntimeError):
    """Another run is at work in this home."""


@dataclass(frozen=True, slots=True)
class Night:
    """One run.

    Attributes:
        number: counts up from 1.
        source: where its reports come from.
        base: digest of the version that it edits; None when it begins with the bare backbone.
        begun, ended: UTC, ISO 8601; ``ended`` is None while it is unfinished.
        outcome: how it ended.
        folder: what its steps write.
    """

    number: int
    source: str
    base: str | None
    begun: str
    ended: str | None
    outcome: str | None
    folder: Path


class SettledError(MeloError, ValueError):
    """A complaint that was settled before."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a reviewer made of a complaint.

    Attributes:
        number: counts up from 1, in the order in which complaints were settled.
        complaint: its id, of the schema REVIEW.
        answer: what is right; None: the complaint was dismissed.
        reason: the reviewer's, or empty.
        reviewer: who.
        settled: UTC, ISO 8601.
    """

    number: int
    complaint: str
    answer: str | None
    reason: str
    reviewer: str
    settled: str


class Journal:
    """The runs of one home. Use it within ``at_work`` to write, but for ``settle``.

    Args:
        home: MELO_HOME; made if it is not there.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.home.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.home / "journal.db")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_TABLES)

    def close(self) -> None:
        """Closes the database."""
        self._db.close()

    @property
    def versions(self) -> Path:
        """Folder of all versions."""
        return self.home / "versions"

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Within it no other process may run in this home; a killed holder's lock is free again at once.

        Raises:
            BusyError: one does; names it.
        """
        holder = self.home / "holder.json"
        lock = FileLock(self.home / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = json.loads(holder.read_text()) if holder.is_file() else {}
            raise BusyError(
                f"another run is at work in {self.home}: process {who.get('process')} of {who.get('user')} on "
                f"{who.get('host')}, since {who.get('since')}. Wait until it has ended."
            ) from None
        try:
            me = {"process": os.getpid(), "user": user_name(), "host": socket.gethostname(), "since": _now()}
            write_atomically(holder, json.dumps(me).encode())
            for left in (*self.versions.glob(f"{SCRATCH}*"), *self.home.glob(f"nights/*/{SCRATCH}*")):
                shutil.rmtree(left, ignore_errors=True)
            yield
        finally:
            lock.release()

    def take_in(self, digest: str, folder: Path) -> None:
        """Copies a version that was made in another home, or in one that was lost, unless it is here."""
        if not (self.versions / digest).is_dir():
            self.versions.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=self.versions) as scratch:
                shutil.copytree(folder, Path(scratch) / digest).rename(self.versions / digest)

    def nights(self) -> list[Night]:
        """All runs, in order."""
        rows = self._db.execute("SELECT number, source, base, begun, ended, outcome FROM nights ORDER BY number")
        return [
            Night(number, source, base, begun, ended, outcome, self._folder(number))
            for number, source, base, begun, ended, outcome in rows
        ]

    def outcome(self, night: Night) -> str | None:
        """How a run ended, by now; None while it has not."""
        (outcome,) = self._db.execute("SELECT outcome FROM nights WHERE number = ?", (night.number,)).fetchone()
        return None if outcome is None else str(outcome)

    def unfinished(self) -> Night | None:
        """The run that was begun last, if it never ended."""
        return next((night for night in reversed(self.nights()) if night.ended is None), None)

    def begin(self, source: str, base: str | None) -> Night:
        """A new run."""
        with self._db:
            cursor = self._db.execute(
                "INSERT INTO nights (source, base, begun) VALUES (?, ?, ?)", (source, base, _now())
            )
        night = self.nights()[-1]
        assert night.number == cursor.lastrowid
        night.folder.mkdir(parents=True, exist_ok=True)
        return night

    def step(self, night: Night, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of a step: what was written down, or else what ``work`` returns, written down.

        Args:
            night: the run.
            name: of the step, once a run.
            work: may be called again after a crash, so it repeats or finds what it did before; its result is JSON.
        """
        row = self._db.execute("SELECT result FROM steps WHERE night = ? AND name = ?", (night.number, name)).fetchone()
        if row is not None:
            found: dict[str, Any] = json.loads(row[0])
            return found
        result = work()
        with self._db:
            self._db.execute("INSERT INTO steps VALUES (?, ?, ?, ?)", (night.number, name, _now(), json.dumps(result)))
        return result

    def results(self, night: Night) -> dict[str, dict[str, Any]]:
        """The results of the steps of a run that have ended, by name, in order."""
        rows = self._db.execute("SELECT name, result FROM steps WHERE night = ? ORDER BY rowid", (night.number,))
        return {name: json.loads(result) for name, result in rows}

    def times(self, night: Night, since: float | None = None) -> dict[str, float]:
        """Seconds that each step of a run took, in order, for one that was never stopped.

        Args:
            night: the run.
            since: Unix time; gives ``start``, the seconds from then until the run began, as well.
        """
        rows = self._db.execute("SELECT name, ended FROM steps WHERE night = ? ORDER BY rowid", (night.number,))
        marks = [("start", night.begun), *rows]
        moments = [since, *(datetime.fromisoformat(moment).timestamp() for _, moment in marks)]
        pairs = zip(marks, moments, moments[1:], strict=False)
        return {name: after - before for (name, _), before, after in pairs if before is not None and after is not None}

    def end(self, night: Night, outcome: str) -> None:
        """Writes down how a run ended."""
        with self._db:
            self._db.execute(
                "UPDATE nights SET ended = ?, outcome = ? WHERE number = ?", (_now(), outcome, night.number)
            )

    def settle(self, complaint: str, answer: str | None, reason: str, reviewer: str) -> Settlement:
        """Writes down what became of a complaint; a run that is at work is not disturbed.

        Raises:
            SettledError: it was settled before; says how, by whom and when.
        """
        values = (complaint, answer, reason, reviewer, _now())
        try:
            with self._db:
                self._db.execute(
                    "INSERT INTO settlements (complaint, answer, reason, reviewer, settled) VALUES (?, ?, ?, ?, ?)",
                    values,
                )
        except sqlite3.IntegrityError:
            before = next(one for one in self.settlements() if one.complaint == complaint)
            how = "dismissed" if before.answer is None else f"answered {before.answer!r}"
            raise SettledError(
                f"complaint {complaint} was {how} by {before.reviewer} at {before.settled}: there is nothing to settle"
            ) from None
        return self.settlements()[-1]

    def settlements(self) -> list[Settlement]:
        """What became of complaints, in the order in which they were settled."""
        rows = self._db.execute(
            "SELECT number, complaint, answer, reason, reviewer, settled FROM settlements ORDER BY number"
        )
        return [Settlement(*row) for row in rows]

    def _folder(self, number: int) -> Path:
        return self.home / "nights" / f"{number:06d}"


def write_atomically(path: Path, content: bytes) -> None:
    """The file is there whole or not at all, and stays after a power cut."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_bytes(content)
    move_whole(scratch, path)


def move_whole(scratch: Path, path: Path) -> None:
    """Puts a file that is written in its place at once; it stays there after a power cut."""
    with scratch.open("rb") as file:
        os.fsync(file.fileno())
    scratch.replace(path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def user_name() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a passwd entry
        return str(os.getuid())
