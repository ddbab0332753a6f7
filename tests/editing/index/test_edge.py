"""What only the embedded shard does: it lies in a directory, survives its process, and has one owner."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.editing.index import Delta
from pipeline.editing.index.edge import EdgeIndex
from pipeline.editing.index.points import IndexHomeError

DIES_AFTER_APPLY = """
import os, signal, sys, torch
from pipeline.editing.index import Delta
from pipeline.editing.index.edge import EdgeIndex

index, n = EdgeIndex(sys.argv[1], 8), 500
ids = torch.arange(n)
vectors = torch.arange(n).float()[:, None].expand(n, 8)
names = [f"e{i}" for i in range(n)]
index.apply(Delta(ids, vectors, torch.full((n,), 0.1), [], names, vectors, ids, ids, [], 1))
empty = torch.empty(0, dtype=torch.int64)
rows = torch.empty(0, 8)
index.apply(Delta(empty, rows, torch.empty(0), [3], [], rows, empty, empty, ["e3"], 2))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_content_survives_closing(tmp_path: Path, delta_of: Callable[..., Delta]) -> None:
    radius = torch.tensor(0.1).item()
    index = EdgeIndex(tmp_path / "deep" / "index", 2)
    index.apply(delta_of(2, {1: ([0.0, 0.0], radius)}, {"a": ([0.0, 0.0], 1, 6)}))
    before = index.route(torch.zeros(1, 2))
    index.close()
    again = EdgeIndex(tmp_path / "deep" / "index", 2)
    assert again.count() == (1, 1)
    assert again.route(torch.zeros(1, 2)) == before
    assert (before[0].block, before[0].radius) == (6, radius)
    again.close()


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DIES_AFTER_APPLY, str(tmp_path / "index")], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    index = EdgeIndex(tmp_path / "index", 8)
    assert index.count() == (499, 499)
    queries = torch.arange(500).float()[:, None].expand(500, 8)
    assert [r.block for r in index.route(queries)] == [None if i == 3 else i for i in range(500)]
    index.close()


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    first = EdgeIndex(tmp_path, 4)
    with pytest.raises(IndexHomeError, match="in use"):
        EdgeIndex(tmp_path, 4)
    first.close()
    EdgeIndex(tmp_path, 4).close()


def test_an_index_of_another_width_is_refused_and_kept(tmp_path: Path, delta_of: Callable[..., Delta]) -> None:
    index = EdgeIndex(tmp_path, 4)
    index.apply(delta_of(4, {1: ([0.0] * 4, 1.0)}))
    index.close()
    with pytest.raises(IndexHomeError, match="another width"):
        EdgeIndex(tmp_path, 5)
    again = EdgeIndex(tmp_path, 4)
    assert again.count() == (1, 0)
    again.close()


def test_what_is_no_index_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(IndexHomeError, match="is no index"):
        EdgeIndex(tmp_path, 4)
    with pytest.raises(IndexHomeError, match="is no index"):
        EdgeIndex(tmp_path / "notes.txt", 4)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "edge_config.json").write_text("{broken")
    with pytest.raises(IndexHomeError, match="is no index"):
        EdgeIndex(tmp_path, 4)


def test_a_closed_index_says_so(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path, 4)
    index.close()
    with pytest.raises(IndexHomeError, match="was closed"):
        index.route(torch.zeros(1, 4))
    with pytest.raises(IndexHomeError, match="was closed"):
        index.count()
