"""Homes of the index, and a way to write deltas by hand."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from qdrant_client import QdrantClient

from pipeline.editing.index import Delta, Index
from pipeline.editing.index.edge import EdgeIndex
from pipeline.editing.index.memory import MemoryIndex
from pipeline.editing.index.server import ServerIndex

Opener = Callable[[int], Index]
Rows = dict[int, tuple[list[float] | torch.Tensor, float]]
Keys = dict[str, tuple[list[float] | torch.Tensor, int, int]]


@pytest.fixture
def delta_of() -> Callable[..., Delta]:
    """clusters: id -> (centre, radius); keys: edit id -> (key, cluster, block)."""

    def make(
        width: int,
        clusters: Rows | None = None,
        keys: Keys | None = None,
        gone_clusters: list[int] | None = None,
        gone_keys: list[str] | None = None,
        version: int = 1,
        subjects: list[str] | None = None,
    ) -> Delta:
        clusters, keys = clusters or {}, keys or {}
        return Delta(
            cluster_ids=torch.tensor(list(clusters), dtype=torch.int64),
            centres=_stack([centre for centre, _ in clusters.values()], width),
            radii=torch.tensor([radius for _, radius in clusters.values()]),
            gone_clusters=gone_clusters or [],
            edit_ids=list(keys),
            keys=_stack([key for key, _, _ in keys.values()], width),
            key_clusters=torch.tensor([cluster for _, cluster, _ in keys.values()], dtype=torch.int64),
            key_blocks=torch.tensor([block for _, _, block in keys.values()], dtype=torch.int64),
            gone_keys=gone_keys or [],
            version=version,
            subjects=subjects or [],
        )

    return make


def _stack(vectors: list[list[float] | torch.Tensor], width: int) -> torch.Tensor:
    return torch.stack([torch.as_tensor(v) for v in vectors]).float() if vectors else torch.empty(0, width)


@pytest.fixture(params=["memory", "edge", "client", "server"])
def open_home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens empty indexes, all in one home.

    ``client`` drives ServerIndex with qdrant-client's own in-process store: it proves our side of the
    conversation (layout, filters, batches) where no server can be had. ``server`` proves the rest.
    """
    home = request.param
    opened: list[Index] = []
    collections: list[str] = []
    url = os.environ.get("QDRANT_URL")
    if home == "server" and not url:
        pytest.skip("QDRANT_URL is not set: no Qdrant server to test against")

    def open_one(width: int) -> Index:
        index: Index
        if home == "memory":
            index = MemoryIndex(width)
        elif home == "edge":
            index = EdgeIndex(tmp_path / f"edge-{len(opened)}", width)
        elif home == "client":
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Payload indexes have no effect")
                index = ServerIndex("http://in-process", "melo", width, client=QdrantClient(":memory:"))
        else:
            collections.append(f"melo-test-{uuid.uuid4().hex}")
            index = ServerIndex(str(url), collections[-1], width)
        opened.append(index)
        return index

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Local mode performs exact")
        yield open_one
    for index in opened:
        index.close()
    if collections:
        client = QdrantClient(url=url)
        for name in collections:
            client.delete_collection(name)
        client.close()
