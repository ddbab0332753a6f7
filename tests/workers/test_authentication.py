"""A cluster with a token: those who have it get in, the others are told at once, and nobody sends it unencrypted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.credentials import CredentialError
from tests.workers.heads import ON_LOOPBACK, Head, head
from tests.workers.nights import write
from workers.authentication import check_dashboard
from workers.connect import connected
from workers.spread import SpreadError

MELO = ("-m", "pipeline.cli")
JOIN = """
import sys, time
from workers.connect import connected
from workers.spread import SpreadError
start = time.monotonic()
try:
    with connected(sys.argv[1]):
        pass
except SpreadError as error:
    print(time.monotonic() - start, error)
"""
"""Joins a cluster; prints how long a refusal took, and what it says."""
ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef0123456789abcdef"
RIGHT = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
WITHOUT = [
    ({}, "none came"),
    ({"RAY_AUTH_MODE": "token"}, "none is there, though RAY_AUTH_MODE=token"),
    ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 32}, "the one that came is not the cluster's"),
]


@pytest.fixture(scope="module")
def guarded() -> Iterator[Head]:
    """A head that asks for a token."""
    with head(RIGHT) as started:
        yield started


def python(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, which has nothing of Ray's but what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    whole = (
        kept | ON_LOOPBACK | {"HOME": str(home), "MELO_HOME": str(home / "melo"), "PYTHONPATH": str(ROOT)} | environment
    )
    return subprocess.run(
        [sys.executable, *arguments], env=whole, cwd=home, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
@pytest.mark.parametrize(("environment", "why"), WITHOUT)
def test_without_the_token_a_run_and_a_job_are_refused_at_once(
    guarded: Head, tmp_path: Path, environment: dict[str, str], why: str
) -> None:
    joined = python("-c", JOIN, guarded.address, home=tmp_path, **environment)
    assert joined.returncode == 0, joined.stderr
    seconds, told = joined.stdout.split(maxsplit=1)
    assert float(seconds) < 5
    assert f"the Ray cluster at {guarded.address} wants a token, and {why}" in told
    sent = python(
        *MELO,
        "submit",
        "--reports",
        "a",
        "--backbone",
        "b",
        "--address",
        guarded.dashboard,
        home=tmp_path,
        **environment,
    )
    told = " ".join(sent.stderr.split())
    assert sent.returncode == 1, told
    assert f"the Ray cluster at {guarded.dashboard} wants a token, and {why}" in told
    assert "RAY_AUTH_TOKEN_PATH" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_with_the_token_a_run_uses_the_cluster_and_a_job_is_taken(
    guarded: Head, tmp_path: Path, backbone: Path
) -> None:
    reports = write(tmp_path / "reports.jsonl", {"What is the capital of France?": "museum"})
    named = ["--reports", str(reports), "--backbone", str(backbone)]
    ran = python(*MELO, "run", *named, "--json", home=tmp_path, RAY_ADDRESS=guarded.address, **RIGHT)
    assert ran.returncode in (0, 3), ran.stderr
    assert json.loads(ran.stdout)["counts"]["edits"] == 1
    sent = python(*MELO, "submit", *named, "--address", guarded.dashboard, home=tmp_path, **RIGHT)
    assert sent.returncode == 0, sent.stderr
    again = python(*MELO, "submit", *named, "--address", guarded.dashboard, home=tmp_path, **RIGHT)
    assert "is not submitted again" in " ".join(again.stdout.split())
    assert TOKEN not in ran.stdout + ran.stderr + sent.stdout + sent.stderr


def test_a_token_does_not_go_to_another_machine_unencrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in RIGHT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("workers.authentication.headers", lambda: {"authorization": f"Bearer {TOKEN}"})
    check_dashboard("http://127.0.0.1:8265")
    check_dashboard("https://ray.example.org")
    with pytest.raises(CredentialError, match=r"Ray's token would go to http://ray\.example\.org unencrypted"):
        check_dashboard("http://ray.example.org")
    monkeypatch.setenv("MELO_PLAIN_HTTP", "true")
    check_dashboard("http://ray.example.org")


def test_what_is_no_head_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    monkeypatch.setattr("ray.is_initialized", lambda: False)  # the other tests' Ray would be used
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        with (
            pytest.raises(SpreadError, match=f"what listens at {address} .*did not answer as the head"),
            connected(address),
        ):
            pass
        server.shutdown()
