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
WAIT = """
import sys
from datetime import date
from pipeline.settings import Settings
from workers.submission import job, outcome, submit
dashboard, entrypoint, address = sys.argv[1:]
wanted = job(Settings(), "a", "b", date(2026, 3, 1)) | {"entrypoint": entrypoint}
wanted["runtime_env"]["env_vars"] |= {"RAY_ADDRESS": address, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
code, printed = outcome(dashboard, submit(dashboard, wanted)[0], every=0.5)
print(printed)
raise SystemExit(code)
"""
"""Sends another entrypoint as if it were a run, and waits for it."""
EXAMINE = """
import json
from dataclasses import asdict
from pipeline.doctor.servers import ray
from pipeline.doctor.examination import within
from pipeline.settings import Settings
print(json.dumps([asdict(each) for each in within("ray", ray, Settings(), 60)]))
"""
"""Looks at the cluster that is named."""
INSIDE = """
import os, ray
ray.init(os.environ["RAY_ADDRESS"])
print("HAS", ray.get(ray.remote(lambda: os.environ["QDRANT_API_KEY"]).remote()))
raise SystemExit(3)
"""
"""The job's driver: an actor of its own tells which key it finds."""
ROOT = Path(__file__).parents[2]
KEY = "of-the-node"
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
    with head(RIGHT | {"QDRANT_API_KEY": KEY}) as started:
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


@pytest.mark.slow
def test_a_job_is_waited_for_and_its_actors_have_the_key_of_their_node(guarded: Head, tmp_path: Path) -> None:
    (tmp_path / "inside.py").write_text(INSIDE)
    sent = [f"{sys.executable} {tmp_path / 'inside.py'}", guarded.address]
    waited = python("-c", WAIT, guarded.dashboard, *sent, home=tmp_path, QDRANT_API_KEY="of-the-sender", **RIGHT)
    assert (waited.returncode, f"HAS {KEY}" in waited.stdout) == (3, True), waited


@pytest.mark.slow
def test_the_doctor_tells_whether_the_token_is_taken(guarded: Head, tmp_path: Path) -> None:
    for environment, state, told in (({}, "problem", "wants a token"), (RIGHT, "ok", "takes us: 2 CPUs, 0 GPUs")):
        done = python("-c", EXAMINE, home=tmp_path, RAY_ADDRESS=guarded.address, **environment)
        (line,) = json.loads(done.stdout)
        assert (line["state"], told in line["told"]) == (state, True), line


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
