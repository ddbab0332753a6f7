"""The factory: the right home, and no engine imported that was not asked for."""

from __future__ import annotations

import gc
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
    for where in (tmp_path / "a", str(tmp_path / "b")):
        index = open_index(where, 4)
        assert isinstance(index, EdgeIndex)
        assert index.path == Path(where)
        index.close()


def test_an_index_without_a_place_goes_with_its_folder() -> None:
    index = open_index(None, 4)
    assert isinstance(index, EdgeIndex)
    folder = index.path
    assert any(folder.iterdir())
    index.close()
    del index
    gc.collect()
    assert not folder.exists()


def test_a_url_asks_the_server_behind_it() -> None:
    with pytest.raises(IndexHomeError, match=r"http://127\.0\.0\.1:1 "):
        open_index("http://127.0.0.1:1", 4)


def test_what_cannot_be_opened_is_refused() -> None:
    with pytest.raises(ValueError, match="'redis://x'"):
        open_index("redis://x", 4)


def test_importing_the_package_imports_no_engine() -> None:
    code = (
        "import sys, pipeline.editing.index as i; i.open_index('memory', 4);"
        "assert not {'qdrant_edge', 'qdrant_client'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
