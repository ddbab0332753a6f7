"""Parquet tables of versions, which may come from strangers, read within bounds."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.editing.folder import CheckpointError

UNPACKED_BYTES, UNPACKED_TIMES = 64 << 20, 200
"""What a table may take in memory: so many bytes, and so many times its file's."""
PIECE_ROWS = 128


def unpacked(content: bytes, path: Path) -> pa.Table:
    """A Parquet file's table, read in pieces: a value that it repeats in little space is spelled out in each row.

    Raises:
        CheckpointError: it takes far more memory than its file is large.
        pyarrow.ArrowException, OSError: it is no Parquet.
    """
    most = UNPACKED_BYTES + UNPACKED_TIMES * len(content)
    file = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False)
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    values = sum(group.column(number).num_values for group in groups for number in range(group.num_columns))
    batches, size = [], values  # a value takes a byte at least
    for batch in file.iter_batches(PIECE_ROWS, use_threads=False) if size <= most else ():
        batches.append(batch)
        size += batch.nbytes
        if size > most:
            break
    if size > most:
        raise CheckpointError(
            f"{path} has {len(content)} bytes and more than {most} when it is read: none of ours does"
        )
    return pa.Table.from_batches(batches, file.schema_arrow).combine_chunks()
