"""The journal: what has ended is not done again, and nobody else is at work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.journal import SCRATCH, BusyError, Journal, write_atomically

HOLD = """
import sys, time
from pathlib import Path
from pipeline.journal import Journal
journal = Journal(Path(sys.argv[1]))
with journal.at_work():
    night = journal.begin("there", None)
    journal.step(night, "reports", lambda: {"edits": 3})
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_step_is_done_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "home")
    night = journal.begin("there", "abc")
    calls: list[str] = []

    def work() -> dict[str, int]:
        calls.append("called")
        return {"edits": 2}

    assert journal.step(night, "reports", work) == {"edits": 2}
    assert journal.step(night, "reports", work) == {"edits": 2}
    assert calls == ["called"]
    assert (night.number, night.source, night.base, night.outcome) == (1, "there", "abc", None)
    assert night.folder.is_dir()


def test_a_step_that_fails_is_not_written_down(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    night = journal.begin("there", None)

    def fail() -> dict[str, int]:
        raise OSError("disk is full")

    with pytest.raises(OSError, match="disk is full"):
        journal.step(night, "reports", fail)
    assert journal.results(night) == {}
    assert journal.step(night, "reports", lambda: {"edits": 1}) == {"edits": 1}


def test_an_unfinished_night_is_found_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.unfinished() is None
    first = journal.begin("a", None)
    journal.end(first, "promoted")
    assert journal.unfinished() is None
    second = journal.begin("b", "digest")
    journal.step(second, "reports", lambda: {"edits": 1})
    journal.close()
    again = Journal(tmp_path)
    assert again.unfinished() == second
    assert again.results(second) == {"reports": {"edits": 1}}
    assert [night.outcome for night in again.nights()] == ["promoted", None]


def test_a_second_run_is_refused_with_the_holders_name_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        journal = Journal(tmp_path)
        with pytest.raises(BusyError, match=f"process {holder.pid} of "), journal.at_work():
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with journal.at_work():
            night = journal.unfinished()
            assert night is not None
            assert journal.results(night) == {"reports": {"edits": 3}}


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(_: int) -> None:
        raise OSError("disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk is full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_what_a_killed_run_left_half_written_goes_when_the_next_one_begins(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "home")
    with journal.at_work():
        night = journal.begin("there", None)
    left = [journal.versions / f"{SCRATCH}abc", night.folder / f"{SCRATCH}abc"]
    whole = journal.versions / "digest"
    for folder in (*left, whole):
        (folder / "inner").mkdir(parents=True)
    with journal.at_work():
        assert [folder.exists() for folder in (*left, whole)] == [False, False, True]
