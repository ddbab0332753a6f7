"""Where keys and centres are stored and searched: in memory, in an embedded shard, or on a Qdrant server."""

from __future__ import annotations

from pathlib import Path

from pipeline.editing.index.protocol import TOLERANCE, Delta, Index

__all__ = ["TOLERANCE", "Delta", "Index", "open_index"]


def open_index(where: str | None, width: int, path: str | Path | None = None, collection: str = "melo") -> Index:
    """Opens an index. The engine's library is imported only where it is used.

    Args:
        where: ``memory``; ``edge`` (also None) for an embedded shard; or the http(s) URL of a Qdrant server.
        width: d, the width of keys and centres.
        path: directory of the embedded shard.
        collection: name of the collection on a server.

    Raises:
        ValueError: ``where`` is none of the three, or ``edge`` came without a path.
        IndexHomeError: the home cannot be opened (``pipeline.editing.index.points``).
    """
    if where == "memory":
        from pipeline.editing.index.memory import MemoryIndex

        return MemoryIndex(width)
    if where in (None, "edge"):
        if path is None:
            raise ValueError("an embedded index came without a path; name the directory that shall hold it.")
        from pipeline.editing.index.edge import EdgeIndex

        return EdgeIndex(path, width)
    if where.startswith(("http://", "https://")):
        from pipeline.editing.index.server import ServerIndex

        return ServerIndex(where, collection, width)
    raise ValueError(f"an index was asked for at {where!r}, expected 'memory', 'edge' or the http(s) URL of a server.")
