"""Lines that hold: whatever is logged, by whom and how, is one JSON object a line."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.logs import LOG, NIGHT_LOG, about, log_to, night_folder, night_log

ROOT = Path(__file__).resolve().parents[1]
EVIL = '\n{"event": "promoted"}\r\u2028\x85\x00\x1b[2J\ud800"'

SCRIPT = """
import logging, os, sys, warnings
from pipeline.logs import LOG, about, all_of_stderr, configure
configure("json", stream=all_of_stderr())
with about(night=3, step="gate"):
    LOG.info("admitted", edit_id="a", share=float("nan"))
print("a print", file=sys.stderr)
os.write(2, b"from C++ \\xff\\n")
logging.getLogger("other").warning("two\\nlines %s", 1)
logging.getLogger("other").info("not worth a line")
warnings.warn("careful")
raise ValueError('boom\\n{"event": "promoted"}')
"""


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_line_of_stderr_is_an_object() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == b""
    found = [json.loads(line) for line in done.stderr.decode("ascii").splitlines()]
    by_event = {line["event"]: line for line in found}
    assert "promoted" not in by_event
    admitted = by_event["admitted"]
    assert list(admitted)[:5] == ["time", "level", "event", "night", "step"]
    assert (admitted["night"], admitted["edit_id"], admitted["share"]) == (3, "a", None)
    printed = {line["message"] for line in found if line["event"] == "printed"}
    assert printed == {"a print", "from C++ \\xff"}
    logged = [line for line in found if line["event"] == "log"]
    assert [line["level"] for line in logged] == ["warning", "warning"]
    assert logged[0]["message"] == "two\nlines 1"
    assert "careful" in logged[1]["message"]
    failed = by_event["failed"]
    assert failed["level"] == "critical"
    assert failed["exception"][0]["exc_type"] == "ValueError"
    assert failed["exception"][0]["frames"]
    assert "night" not in failed


@contextmanager
def alone() -> Iterator[None]:
    """Within it pytest keeps no lines: it could not pass on half a surrogate pair between its processes."""
    root = logging.getLogger()
    before = list(root.handlers)
    root.handlers.clear()
    try:
        yield
    finally:
        root.handlers[:] = before


def test_what_strangers_sent_breaks_no_line(tmp_path: Path) -> None:
    with alone(), night_log(tmp_path), about(night=1):
        LOG.info("request", prompts=[EVIL], path=EVIL)
        try:
            raise ValueError(EVIL)
        except ValueError:
            LOG.exception("failed")
        logging.getLogger("pipeline.some").warning("%s", EVIL)
    content = (tmp_path / NIGHT_LOG).read_bytes()
    assert content.isascii()
    assert not set(content) & {0, 0x0D, 0x1B}
    assert content.count(b"\n") == 3
    first, failed, other = read(tmp_path / NIGHT_LOG)
    assert (first["prompts"], first["path"]) == ([EVIL], EVIL)
    assert failed["exception"][0]["exc_value"] == EVIL
    assert (other["event"], other["message"], other["night"]) == ("log", EVIL, 1)


def test_a_nights_log_is_its_own_and_goes_on_after_a_crash(tmp_path: Path) -> None:
    for attempt in (1, 2):
        with night_log(tmp_path):
            assert night_folder() == tmp_path
            LOG.info("begun", attempt=attempt)
    LOG.info("begun", attempt=3)
    assert night_folder() is None
    assert [line["attempt"] for line in read(tmp_path / NIGHT_LOG)] == [1, 2]


def test_locals_stay_out_of_traces(tmp_path: Path) -> None:
    handler = log_to(tmp_path / "log")
    secret = "the personal prompt"
    try:
        raise KeyError(len(secret))
    except KeyError:
        LOG.exception("failed")
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    assert secret not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("form", ["text", "json"])
def test_errors_that_say_what_to_do_come_in_the_form_that_is_asked_for(form: str) -> None:
    script = (
        "from pipeline.commands.common import logged, plain_errors\n"
        "from pipeline.errors import MeloError\n"
        "from pipeline.settings import Settings\n"
        "logged(Settings())\n"
        "with plain_errors():\n"
        "    raise MeloError('no file at [/reports]: name one that is there')\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MELO_LOG": form}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
    told = "no file at [/reports]: name one that is there"
    if form == "text":
        assert done.stderr.splitlines()[0] == f"error: {told}"
    else:
        (first, *_) = map(json.loads, done.stderr.splitlines())
        assert (first["event"], first["error"], first["kind"]) == ("failed", told, "MeloError")
