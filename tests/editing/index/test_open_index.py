"""The factory: the right home, and no engine imported that was not asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.editing.index import open_index
from pipeline.editing.index.edge import EdgeIndex
from pipeline.editing.index.memory import MemoryIndex
from pipeline.editing.index.points import IndexHomeError


def test_memory_and_edge(tmp_path: Path) -> None:
    assert isinstance(open_index("memory", 4), MemoryIndex)
    for where in ("edge", None):
        index = open_index(where, 4, tmp_path / str(where))
        assert isinstance(index, EdgeIndex)
        index.close()


def test_a_url_asks_the_server_behind_it() -> None:
    with pytest.raises(IndexHomeError, match=r"http://127\.0\.0\.1:1 "):
        open_index("http://127.0.0.1:1", 4)


def test_what_cannot_be_opened_is_refused() -> None:
    with pytest.raises(ValueError, match="without a path"):
        open_index("edge", 4)
    with pytest.raises(ValueError, match="'redis://x'"):
        open_index("redis://x", 4)


def test_importing_the_package_imports_no_engine() -> None:
    code = (
        "import sys, pipeline.editing.index as i; i.open_index('memory', 4);"
        "assert not {'qdrant_edge', 'qdrant_client'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
