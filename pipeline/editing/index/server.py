"""The index in one collection of a Qdrant server, shared by every process that can reach it."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from pipeline.credentials import check_way, shown
from pipeline.editing.index.points import (
    CLUSTER_FIELD,
    FILTERED,
    SUBJECT_FIELD,
    TIES,
    VECTOR_NAMES,
    Hit,
    IndexHomeError,
    PointIndex,
    Row,
    VectorName,
)
from pipeline.settings import Settings

T = TypeVar("T")

TIMEOUT = 10
"""Seconds for any one request, connecting included."""


class ServerIndex(PointIndex):
    """Implements ``pipeline.editing.index.protocol.Index`` on a Qdrant server.

    Args:
        url: the server's address, for instance ``http://localhost:6333``.
        collection: name of the collection; made when it does not exist, else its content is kept. None for a
            new one under a name of its own, which ``close`` deletes.
        width: d, the width of keys and centres.
        client: speaks to the server in the place of one made for ``url``; closed by ``close``.

    Raises:
        IndexHomeError: no server answers at the URL, it refuses, or the collection holds other vectors.
    """

    def __init__(self, url: str, collection: str | None, width: int, client: QdrantClient | None = None) -> None:
        super().__init__(width)
        self.url, self.collection = url, collection or f"melo-{uuid.uuid4().hex}"
        self._passing = False
        self._client = client or _client(url)
        try:
            self._ask(self._prepare)
        except IndexHomeError:
            self.close()
            raise
        self._passing = collection is None

    def close(self) -> None:
        """Closes the connections; calling it twice is allowed."""
        if self._passing:
            self._passing = False
            with suppress(IndexHomeError):  # a server that is gone took its collections along
                self._ask(lambda: self._client.delete_collection(self.collection))
        self._client.close()

    @classmethod
    def drop(cls, url: str, collection: str, client: QdrantClient | None = None) -> None:
        """Deletes a collection, if there is one and it holds an index.

        Raises:
            IndexHomeError: no server answers, it refuses, or the collection holds something else.
        """
        opened = client or _client(url)
        try:
            if not _asked(url, collection, lambda: opened.collection_exists(collection)):
                return
            _width(opened, url, collection)
            _asked(url, collection, lambda: opened.delete_collection(collection))
        finally:
            opened.close()

    def _ask(self, request: Callable[[], T]) -> T:
        return _asked(self.url, self.collection, request)

    def _prepare(self) -> None:
        vector = models.VectorParams(size=self.width, distance=models.Distance.EUCLID)
        if not self._client.collection_exists(self.collection):
            self._client.create_collection(self.collection, vectors_config=dict.fromkeys(VECTOR_NAMES, vector))
        info = self._client.get_collection(self.collection)
        vectors = info.config.params.vectors
        named = vectors if isinstance(vectors, dict) else {"": vectors}
        found = {name: (v.size, v.distance.value) if v else None for name, v in named.items()}
        expected = {name: (self.width, models.Distance.EUCLID.value) for name in VECTOR_NAMES}
        if found != expected:
            raise IndexHomeError(
                f"collection {self.collection!r} at {self.url} holds vectors {found}, expected {expected}: it is an "
                "index of another width or something else. Name another collection, or rebuild this one."
            )
        kinds = {CLUSTER_FIELD: models.PayloadSchemaType.INTEGER, SUBJECT_FIELD: models.PayloadSchemaType.KEYWORD}
        for field in kinds.keys() - info.payload_schema.keys():
            self._client.create_payload_index(self.collection, field, kinds[field], wait=True)

    def _search(
        self, name: VectorName, vectors: Sequence[list[float]], among: Sequence[list[int]] | Sequence[list[str]] | None
    ) -> list[list[Hit]]:
        requests = [
            models.QueryRequest(
                query=vector,
                using=name,
                filter=None if among is None else _among(FILTERED[name], among[i]),
                params=models.SearchParams(exact=True),  # HNSW loses near-duplicates, and the nearest key is one
                limit=TIES,
                with_payload=True,
            )
            for i, vector in enumerate(vectors)
        ]
        if not requests:
            return []
        found = self._ask(lambda: self._client.query_batch_points(self.collection, requests))
        return [[Hit(point.score, point.payload or {}) for point in answer.points] for answer in found]

    def _upsert(self, rows: Sequence[Row]) -> None:
        points = [models.PointStruct(id=r.point_id, vector={r.name: r.vector}, payload=r.payload) for r in rows]
        self._ask(lambda: self._client.upsert(self.collection, points, wait=True))

    def _delete(self, point_ids: Sequence[str]) -> None:
        selector = models.PointIdsList(points=list(point_ids))
        self._ask(lambda: self._client.delete(self.collection, selector, wait=True))

    def _settle(self) -> None:
        """Nothing to do: with ``wait`` a request is answered after it entered the server's write-ahead log."""

    def _count(self, name: VectorName) -> int:
        having = models.Filter(must=[models.HasVectorCondition(has_vector=name)])
        return self._ask(lambda: self._client.count(self.collection, count_filter=having, exact=True)).count


def _among(field: str, values: list[int] | list[str]) -> models.Filter:
    match = models.FieldCondition(key=field, match=models.MatchAny(any=values))
    return models.Filter(must=[match])


def _client(url: str) -> QdrantClient:
    """A client with the key of this process's environment.

    Raises:
        CredentialError: the key would go to another machine unencrypted.
    """
    settings = Settings()
    key = settings.qdrant_api_key
    if key is not None:
        check_way(url, "QDRANT_API_KEY", settings.plain_http)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Api key is used with an insecure connection")  # checked above
        # The check of versions asks the server before the first request, and only warns where none answers.
        secret = None if key is None else key.get_secret_value()
        return QdrantClient(url=url, api_key=secret, timeout=TIMEOUT, check_compatibility=False)


def check_server(url: str) -> None:
    """Asks a server whether it is there.

    Raises:
        IndexHomeError: no Qdrant server answers at the URL.
    """
    client = _client(url)
    try:
        _asked(url, "-", client.get_collections)
    finally:
        client.close()


def width_of(url: str, collection: str, client: QdrantClient | None = None) -> int | None:
    """The width of the keys that a collection holds; None where there is none.

    Raises:
        IndexHomeError: no server answers, it refuses, or the collection holds something else than an index.
    """
    opened = client or _client(url)
    try:
        there = _asked(url, collection, lambda: opened.collection_exists(collection))
        return _width(opened, url, collection) if there else None
    finally:
        opened.close()


def _width(client: QdrantClient, url: str, collection: str) -> int:
    vectors = _asked(url, collection, lambda: client.get_collection(collection)).config.params.vectors
    if not isinstance(vectors, dict) or set(vectors) != set(VECTOR_NAMES):
        raise IndexHomeError(
            f"collection {collection!r} at {shown(url)} holds something else than an index, so it is left alone: "
            "choose another name (MELO_NAME), or remove it yourself"
        )
    return vectors[VECTOR_NAMES[0]].size


def _asked(url: str, collection: str, request: Callable[[], T]) -> T:
    """Sends one request.

    Raises:
        IndexHomeError: there is no answer, or it is a refusal; names the URL.
    """
    try:
        return request()
    except UnexpectedResponse as error:
        if error.status_code not in (401, 403):
            raise _failed(url, collection, error) from error
        key = "that of QDRANT_API_KEY is not the one" if Settings().qdrant_api_key else "QDRANT_API_KEY is not set"
        raise IndexHomeError(
            f"the Qdrant server at {shown(url)} answered {error.status_code}: it wants a key, and {key}. Set it in the "
            "environment of this process, and on a cluster in that of its nodes, too"
        ) from error
    except (ApiException, OSError) as error:
        raise _failed(url, collection, error) from error


def _failed(url: str, collection: str, error: Exception) -> IndexHomeError:
    return IndexHomeError(
        f"the Qdrant server at {shown(url)} did not do its part for collection {collection!r}: {error}. "
        "Check that it runs and that the URL (QDRANT_URL) is right, then repeat the call: it is idempotent."
    )
