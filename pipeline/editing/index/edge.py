"""The index in an embedded Qdrant Edge shard: a directory, one owner, no server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import qdrant_edge as qdrant

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

CONFIG_FILE = "edge_config.json"


class EdgeIndex(PointIndex):
    """Implements ``pipeline.editing.index.protocol.Index`` on disk.

    Every update enters the shard's write-ahead log before it is acknowledged, so a killed process loses
    nothing; ``apply`` also flushes, so that what it wrote survives a power cut.

    Args:
        path: directory of the shard; made when it does not exist or is empty, else its content is kept.
        width: d, the width of keys and centres.

    Raises:
        IndexHomeError: the directory is in use, is no index, or holds an index of another width.
    """

    def __init__(self, path: str | Path, width: int) -> None:
        super().__init__(width)
        self.path = Path(path)
        self._open_shard: qdrant.EdgeShard | None = _open(self.path, width)

    def close(self) -> None:
        """Flushes, and releases the directory to other owners; calling it twice is allowed."""
        if self._open_shard is not None:
            self._open_shard.flush()
            self._open_shard.close()
            self._open_shard = None

    @property
    def _shard(self) -> qdrant.EdgeShard:
        if self._open_shard is None:
            raise IndexHomeError(f"the index at {self.path} was closed; open a new EdgeIndex on this directory.")
        return self._open_shard

    def _search(
        self, name: VectorName, vectors: Sequence[list[float]], among: Sequence[list[int]] | Sequence[list[str]] | None
    ) -> list[list[Hit]]:
        requests = [
            qdrant.QueryRequest(
                limit=TIES,
                query=qdrant.Query.Nearest(vector, using=name),
                filter=None if among is None else _among(FILTERED[name], among[i]),
                with_payload=True,
                params=qdrant.SearchParams(exact=True),  # HNSW loses near-duplicates, and the nearest key is one
            )
            for i, vector in enumerate(vectors)
        ]
        found = self._shard.query_batch(qdrant.QueryBatchRequest(requests))
        return [[Hit(hit.score, hit.payload or {}) for hit in hits] for hits in found]

    def _upsert(self, rows: Sequence[Row]) -> None:
        points = [qdrant.Point(row.point_id, {row.name: row.vector}, row.payload) for row in rows]
        self._shard.update(qdrant.UpdateOperation.upsert_points(points))

    def _delete(self, point_ids: Sequence[str]) -> None:
        self._shard.update(qdrant.UpdateOperation.delete_points(list(point_ids)))

    def _settle(self) -> None:
        self._shard.flush()

    def _count(self, name: VectorName) -> int:
        having = qdrant.Filter(must=[qdrant.HasVectorCondition(name)])
        return self._shard.count(qdrant.CountRequest(exact=True, filter=having))


def _among(field: str, values: list[int] | list[str]) -> qdrant.Filter:
    return qdrant.Filter(must=[qdrant.FieldCondition(field, match=qdrant.MatchAny(values))])


def _open(path: Path, width: int) -> qdrant.EdgeShard:
    found = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if found:
        _check(path, width)
    try:
        if found:
            shard = qdrant.EdgeShard.load(str(path))
        else:
            path.mkdir(parents=True, exist_ok=True)
            vector = qdrant.EdgeVectorParams(size=width, distance=qdrant.Distance.Euclid)
            shard = qdrant.EdgeShard.create(str(path), qdrant.EdgeConfig(vectors=dict.fromkeys(VECTOR_NAMES, vector)))
    except Exception as error:  # the engine raises nothing narrower
        if "WouldBlock" in str(error):
            raise IndexHomeError(
                f"the index at {path} is in use by another owner, here or in another process; a shard has one. "
                "Close that one first, or keep the index on a Qdrant server to share it."
            ) from error
        raise IndexHomeError(
            f"the index at {path} cannot be opened: {error}. It holds no truth of its own: move the directory "
            "away and rebuild it from the edits."
        ) from error
    kinds = {CLUSTER_FIELD: qdrant.PayloadSchemaType.Integer, SUBJECT_FIELD: qdrant.PayloadSchemaType.Keyword}
    for field in kinds.keys() - shard.info().payload_schema.keys():  # also after a crash between creation and here
        shard.update(qdrant.UpdateOperation.create_field_index(field, kinds[field]))
    return shard


def _check(path: Path, width: int) -> None:
    """Refuses a path that is no index of this width, before the engine writes into it."""
    try:
        config = json.loads((path / CONFIG_FILE).read_text())
        vectors = {name: (vector["size"], vector["distance"]) for name, vector in config["vectors"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IndexHomeError(
            f"{path} is no index: it has no readable {CONFIG_FILE}. Expected an index, an empty directory or none; "
            "choose another path."
        ) from error
    expected = dict.fromkeys(VECTOR_NAMES, (width, "Euclid"))
    if vectors != expected:
        raise IndexHomeError(
            f"{path} holds vectors {vectors}, expected {expected}: it is an index of another width or of something "
            "else. Choose another path, or rebuild the index from the edits of this backbone."
        )
