"""Where keys and centres are stored and searched: in memory, in an embedded shard, or on a Qdrant server."""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path

from pipeline.editing.index.protocol import TOLERANCE, Delta, Index

__all__ = ["TOLERANCE", "Delta", "Index", "open_index"]


def open_index(where: str | Path | None, width: int, collection: str | None = None) -> Index:
    """Opens an index. The engine's library is imported only where it is used.

    Args:
        where: ``memory``; the http(s) URL of a Qdrant server; the directory of an embedded shard; None for a
            shard in a temporary directory, which goes when the index does.
        width: d, the width of keys and centres.
        collection: name of the collection on a server; None for a new one, which goes when the index is closed.

    Raises:
        ValueError: ``where`` is the URL of something else.
        IndexHomeError: the home cannot be opened (``pipeline.editing.index.points``).
    """
    if where == "memory":
        from pipeline.editing.index.memory import MemoryIndex

        return MemoryIndex(width)
    if str(where).startswith(("http://", "https://")):
        from pipeline.editing.index.server import ServerIndex

        return ServerIndex(str(where), collection, width)
    if "://" in str(where):
        raise ValueError(f"an index was asked for at {str(where)!r}, expected 'memory', a directory or an http(s) URL")
    from pipeline.editing.index.edge import EdgeIndex

    if where is not None:
        return EdgeIndex(where, width)
    folder = tempfile.TemporaryDirectory(prefix="melo-index-", ignore_cleanup_errors=True)
    index = EdgeIndex(folder.name, width)
    weakref.finalize(index, folder.cleanup)
    return index
