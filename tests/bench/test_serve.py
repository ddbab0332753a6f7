"""Servers side by side under real clients, on a random backbone: all that does not depend on the clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.bench import serve
from pipeline.cli import app
from pipeline.errors import MeloError

OnDisk = Callable[[str, int], tuple[Path, Path, Path]]


def test_all_servers_are_asked_the_same_and_compared(on_disk: OnDisk) -> None:
    backbone, reports, _ = on_disk("t5", 12)
    command = ["bench", "serve", "--json", "--backbone", str(backbone), "--reports", str(reports)]
    command += ["--edits", "6", "--requests", "5", "--clients", "2", "--rounds", "2"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["edits"], found["clients"], found["requests"], found["rounds"]) == (6, 2, 5, 2)
    rows = [(load["sort"], load["server"]) for load in found["loads"]]
    servers = (serve.BARE, serve.EMPTY, serve.EDITED)
    assert rows == [(sort, server) for sort in (serve.OTHERS, serve.TAUGHT) for server in servers]
    assert all(load["of_backbone"] == 1.0 for load in found["loads"] if load["server"] == serve.BARE)
    assert all(load["per_second"] > 0 and 0 < load["p50_ms"] <= load["p99_ms"] for load in found["loads"])


def test_clients_that_are_not_answered_are_an_error() -> None:
    with pytest.raises(MeloError, match=r"the clients of http://127\.0\.0\.1:9/ failed"):
        serve._asked("http://127.0.0.1:9/", 1, [{}])
