"""The same rows in every format that is read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Rows = list[dict[str, Any]]


def jsonl(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def compact(rows: Rows) -> bytes:
    return json.dumps(rows).encode()


def pretty(rows: Rows) -> bytes:
    return json.dumps(rows, indent=2, ensure_ascii=False).encode()


def a_line_each(rows: Rows) -> bytes:
    return ("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n").encode()


def delimited(separator: str) -> Callable[[Rows], bytes]:
    def write(rows: Rows) -> bytes:
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(text, names, delimiter=separator, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {key: json.dumps(value) if isinstance(value, list) else value for key, value in row.items()}
            )
        return text.getvalue().encode()

    return write


def table(rows: Rows) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def parquet(rows: Rows) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table(rows), sink, row_group_size=2)
    return sink.getvalue()


def ipc_file(rows: Rows) -> bytes:
    sink = io.BytesIO()
    content = table(rows)
    with pa.ipc.new_file(sink, content.schema) as writer:
        writer.write_table(content, max_chunksize=1)
    return sink.getvalue()


def ipc_stream(rows: Rows) -> bytes:
    sink = io.BytesIO()
    content = table(rows)
    with pa.ipc.new_stream(sink, content.schema) as writer:
        writer.write_table(content, max_chunksize=1)
    return sink.getvalue()


FORMATS: dict[str, Callable[[Rows], bytes]] = {
    "a.jsonl": jsonl,
    "a.ndjson": jsonl,
    "compact.json": compact,
    "pretty.json": pretty,
    "lines.json": a_line_each,
    "really-jsonl.json": jsonl,
    "comma.csv": delimited(","),
    "semicolon.csv": delimited(";"),
    "tab.tsv": delimited("\t"),
    "a.parquet": parquet,
    "A.PQ": parquet,
    "a.arrow": ipc_file,
    "a.feather": ipc_file,
    "a.arrows": ipc_stream,
    "stream.ipc": ipc_stream,
}
"""File name -> what writes rows in its format."""
