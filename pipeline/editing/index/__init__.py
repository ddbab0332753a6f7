"""Where keys and centres are stored and searched: in memory, in an embedded shard, or on a Qdrant server."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.editing.index.protocol import TOLERANCE, Delta, Index

if TYPE_CHECKING:
    from pipeline.editing.index.server import ServerIndex

__all__ = ["TOLERANCE", "Collection", "Delta", "Index", "Place", "clear", "open_index"]


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection of a Qdrant server that stays.

    Attributes:
        url: of the server.
        name: of the collection.
    """

    url: str
    name: str


Place = str | Path | Collection
"""``memory``; the http(s) URL of a Qdrant server, for a collection that goes when the index is closed; one that stays;
or the directory of an embedded shard."""


def open_index(where: Place | None, width: int) -> Index:
    """Opens an index. The engine's library is imported only where it is used.

    Args:
        where: the place; None for a shard in a temporary directory, which goes when the index does.
        width: d, the width of keys and centres.

    Raises:
        ValueError: ``where`` is the URL of something else.
        IndexHomeError: the home cannot be opened (``pipeline.editing.index.points``).
    """
    if where == "memory":
        from pipeline.editing.index.memory import MemoryIndex

        return MemoryIndex(width)
    if isinstance(where, Collection):
        return _server_index()(where.url, where.name, width)
    if str(where).startswith(("http://", "https://")):
        return _server_index()(str(where), None, width)
    if "://" in str(where):
        raise ValueError(f"an index was asked for at {str(where)!r}, expected 'memory', a directory or an http(s) URL")
    from pipeline.editing.index.edge import EdgeIndex

    if where is not None:
        return EdgeIndex(where, width)
    folder = tempfile.TemporaryDirectory(prefix="melo-index-", ignore_cleanup_errors=True)
    index = EdgeIndex(folder.name, width)
    weakref.finalize(index, folder.cleanup)
    return index


def clear(where: Path | Collection) -> None:
    """Removes an index, if there is one: a version's tables hold the truth, and it is rebuilt from them.

    Raises:
        IndexHomeError: no server answers, or it refuses.
    """
    if isinstance(where, Path):
        shutil.rmtree(where, ignore_errors=True)
    else:
        _server_index().drop(where.url, where.name)


def _server_index() -> type[ServerIndex]:
    from pipeline.editing.index.server import ServerIndex

    return ServerIndex
