"""Rows out of files, one reader a format; every row is told with its place, readable or not."""

from __future__ import annotations

from pipeline.sources.rows.delimited import read_delimited
from pipeline.sources.rows.documents import read_document
from pipeline.sources.rows.jsonl import read_jsonl
from pipeline.sources.rows.row import Reader
from pipeline.sources.rows.tables import read_ipc, read_parquet

READERS: dict[str, Reader] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_document,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".parquet": read_parquet,
    ".pq": read_parquet,
    ".arrow": read_ipc,
    ".arrows": read_ipc,
    ".feather": read_ipc,
    ".ipc": read_ipc,
}
"""A file's ending -> how it is read."""

__all__ = ["READERS"]
