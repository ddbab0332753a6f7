"""The index at rest: one table of clusters and one of keys.

The two tables are the whole state of the fold (``pipeline.editing.clusters``). The clusters table carries one
JSON document in its schema metadata under ``melo.fold`` with what is not a row: format, width, both radii,
conflicts, the next cluster id, the next position, and the ids of edits that no longer have a key.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.columns import column

FORMAT = 3
"""Version of both tables. Raised when a column changes its meaning."""

STATE = b"melo.fold"
"""Key of the JSON document in the schema metadata of the clusters table."""


def _vector(width: int) -> pa.DataType:
    return pa.list_(pa.field("item", pa.float32(), nullable=False), width)


def clusters(width: int) -> pa.Schema:
    """Schema of the clusters table for keys of ``width`` numbers; rows ascend by ``cluster``."""
    return pa.schema(
        [
            column("cluster", pa.int64(), "id of the cluster; ids grow and are never used twice"),
            column("label", pa.string(), "normalised target that all edits of the cluster share"),
            column("subject", pa.string(), "what a prompt must name for the cluster to apply; empty: nothing"),
            column("centre", _vector(width), "where a query's distance is measured from, in units of the key"),
            column("radius", pa.float32(), "scope around the centre, Euclidean, in units of the key"),
        ]
    )


def keys(width: int) -> pa.Schema:
    """Schema of the keys table for keys of ``width`` numbers; rows ascend by ``position``."""
    return pa.schema(
        [
            column("edit_id", pa.string(), "the edit that the key belongs to; an edit has one key at most"),
            column("cluster", pa.int64(), "cluster that holds the key"),
            column("block", pa.int64(), "block that answers; -1 marks a withdrawn key, answered by the backbone"),
            column("radius", pa.float32(), "of a cluster that is founded at the key, where nothing is in the way"),
            column("position", pa.int64(), "order of arrival; unique, with gaps where keys have gone"),
            column("key", _vector(width), "hidden state of the prompt's last token at the key layer"),
        ]
    )
