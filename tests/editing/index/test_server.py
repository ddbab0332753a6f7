"""What only a server can do wrong: be away, refuse, or hold something else under our name."""

from __future__ import annotations

import socket
import time
import warnings

import pytest
from qdrant_client import QdrantClient, models

from pipeline.editing.index.points import IndexHomeError
from pipeline.editing.index.server import ServerIndex, check_server


def test_a_server_that_is_away_is_named_within_seconds() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(IndexHomeError, match=url):
            ServerIndex(url, "melo", 4)
        with pytest.raises(IndexHomeError, match=url):
            check_server(url)
        assert time.monotonic() - start < 16


# No server is needed to see how a collection is read: qdrant-client's in-process store describes it alike.
@pytest.fixture
def client() -> QdrantClient:
    return QdrantClient(":memory:")


def test_a_collection_of_another_width_is_refused(client: QdrantClient) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Payload indexes have no effect")
        ServerIndex("http://in-process", "melo", 4, client=client)
        with pytest.raises(IndexHomeError, match=r"'melo' at http://in-process.*another width"):
            ServerIndex("http://in-process", "melo", 5, client=client)


def test_a_foreign_collection_is_refused(client: QdrantClient) -> None:
    client.create_collection("melo", models.VectorParams(size=4, distance=models.Distance.EUCLID))
    with pytest.raises(IndexHomeError, match="something else"):
        ServerIndex("http://in-process", "melo", 4, client=client)


def test_a_collection_of_its_own_goes_when_the_index_is_closed(
    client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "close", lambda: None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Payload indexes have no effect")
        kept = ServerIndex("http://in-process", "melo", 4, client=client)
        one, other = (ServerIndex("http://in-process", None, 4, client=client) for _ in range(2))
    assert len({one.collection, other.collection, kept.collection}) == 3
    for index in (one, one, kept):
        index.close()
    assert {found.name for found in client.get_collections().collections} == {other.collection, "melo"}


def test_an_index_is_dropped_and_nothing_else_is(client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "close", lambda: None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Payload indexes have no effect")
        ServerIndex("http://in-process", "ours", 4, client=client)
    client.create_collection("theirs", models.VectorParams(size=4, distance=models.Distance.EUCLID))
    ServerIndex.drop("http://in-process", "ours", client=client)
    ServerIndex.drop("http://in-process", "ours", client=client)
    with pytest.raises(IndexHomeError, match="'theirs' at http://in-process holds something else"):
        ServerIndex.drop("http://in-process", "theirs", client=client)
    assert [found.name for found in client.get_collections().collections] == ["theirs"]
