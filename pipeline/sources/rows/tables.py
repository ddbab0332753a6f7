"""Parquet and Arrow IPC (file and stream): a row of the table a report.

Rows leave their batch one at a time, so that a value which a file repeats a million times in little space is never
spelled out a million times at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources.rows.row import CUT_SHORT, Refused, Row
from pipeline.sources.strict_json import ReportError, unique

BATCH_ROWS = 2_000
BATCH_BYTES = 16 << 20
"""What a batch of Parquet may take, as far as its footer tells; an IPC file's batches are as its writer made them."""
FOOTER_BYTES = 64 << 20
"""What one text, and the entries of one list, in a Parquet footer may take."""

_PARQUET = b"PAR1"
_PARQUET_BYTES = 12
"""Of the smallest file: the mark, the footer's length, and the mark."""
_IPC_FILE = b"ARROW1"
_IPC_MESSAGE = b"\xff\xff\xff\xff"
_IPC_STREAM_END = _IPC_MESSAGE + bytes(4)


def read_parquet(file: IO[bytes]) -> Iterator[Row | Refused]:
    """A row a row of the table. Without its footer, which comes last, nothing of a Parquet file can be read."""
    head, tail = _ends(file, _PARQUET_BYTES)
    if len(head) < _PARQUET_BYTES or not tail.endswith(_PARQUET):
        begun = _PARQUET.startswith(head[: len(_PARQUET)])
        yield Refused(0, f"{CUT_SHORT}: no Parquet footer at the end" if begun else "not a Parquet file", repr(head))
        return
    try:
        table = _open_parquet(file)
    except (pa.ArrowException, OSError) as error:
        yield Refused(0, f"not a Parquet file that can be read: {error}")
        return
    line = 1
    for group in range(table.num_row_groups):
        described = table.metadata.row_group(group)
        rows, size = described.num_rows, described.total_byte_size
        limit = max(1, min(BATCH_ROWS, BATCH_BYTES * rows // max(size, 1)))
        end = line + rows
        try:
            for batch in table.iter_batches(limit, row_groups=[group], use_threads=False):
                yield from _rows(batch, line)
                line += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            yield Refused(line, f"rows {line} to {end - 1} cannot be read: {error}")
        line = end


def _open_parquet(file: IO[bytes]) -> pq.ParquetFile:
    limits = {"thrift_string_size_limit": FOOTER_BYTES, "thrift_container_size_limit": FOOTER_BYTES}
    metadata = pq.ParquetFile(file, **limits).metadata
    columns = [metadata.schema.column(position) for position in range(metadata.num_columns)]
    texts = [column.path for column in columns if column.logical_type.type == "STRING"]
    return pq.ParquetFile(file, metadata=metadata, read_dictionary=texts, pre_buffer=False, **limits)


def read_ipc(file: IO[bytes]) -> Iterator[Row | Refused]:
    """A row a row of the table. Of a file or stream that was cut short, the batches that are whole.

    An IPC file is a stream between two marks, with a footer that says where its batches are: it is read as a stream,
    which a missing footer does not stop.
    """
    head, tail = _ends(file, len(_IPC_STREAM_END))
    if not any(mark.startswith(head[: len(mark)]) for mark in (_IPC_FILE, _IPC_MESSAGE)):
        yield Refused(0, "not an Arrow IPC file or stream", repr(head))
        return
    is_file = head.startswith(_IPC_FILE)
    whole = len(head) == len(_IPC_STREAM_END) and tail.endswith(_IPC_FILE if is_file else _IPC_STREAM_END)
    file.seek(len(head) if is_file else 0)
    line = 1
    try:
        for batch in pa.ipc.open_stream(file):
            yield from _rows(batch, line) if _is_sound(batch) else _sound_rows(batch, line)
            line += batch.num_rows
    except (pa.ArrowException, OSError, EOFError) as error:
        if whole:
            yield Refused(line, f"not Arrow IPC from row {line} on: {error}")
    if not whole:
        yield Refused(line, f"{CUT_SHORT}: no end of the Arrow {'file' if is_file else 'stream'} after row {line - 1}")


def _ends(file: IO[bytes], length: int) -> tuple[bytes, bytes]:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(length)
    file.seek(max(0, size - length))
    tail = file.read(length)
    file.seek(0)
    return head, tail


def _rows(batch: pa.RecordBatch, first: int) -> Iterator[Row | Refused]:
    names = batch.schema.names
    for position in range(batch.num_rows):
        line = first + position
        try:
            yield Row(line, unique((name, batch.column(i)[position].as_py()) for i, name in enumerate(names)))
        except UnicodeDecodeError as error:
            yield Refused(line, f"not UTF-8: {error.reason}", repr(error.object[:500]))
        except (ReportError, pa.ArrowException, ValueError, OverflowError) as error:
            yield Refused(line, str(error))


def _is_sound(batch: pa.RecordBatch) -> bool:
    """Whether its offsets stay within its buffers and its texts are UTF-8: the file may say anything."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _sound_rows(batch: pa.RecordBatch, first: int) -> Iterator[Row | Refused]:
    for position in range(batch.num_rows):
        row = batch.slice(position, 1)
        if _is_sound(row):
            yield from _rows(row, first + position)
        else:
            yield Refused(first + position, "not UTF-8, or values that lie outside the file")
