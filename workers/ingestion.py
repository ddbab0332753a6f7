"""The ingestion actor: reads reports and admits or refuses each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.journal import SCRATCH, move_whole
from pipeline.sources import Aside, Batch, admit, read
from schemas.reports import QUARANTINE


class IngestionWorker:
    """Turns a source into tables in a night's folder."""

    def ingest(self, source: str, known: Mapping[str, Aside | None], folder: Path) -> dict[str, int]:
        """Reads a source to its end.

        Args:
            source: file, folder or URL.
            known: edits that were admitted before; see ``admit``.
            folder: gets edits, duplicates, contradictions and quarantine, Parquet each.

        Returns:
            How many rows each has, and ``reports``: how many were read.
        """
        counts = {"reports": 0, "quarantine": 0}
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as name:
            scratch = Path(name)
            with pq.ParquetWriter(scratch / "quarantine.parquet", QUARANTINE) as quarantine:

                def reports(batches: Iterator[Batch]) -> Iterator[pa.RecordBatch]:
                    for batch in batches:
                        quarantine.write_batch(batch.quarantine)
                        counts["quarantine"] += batch.quarantine.num_rows
                        counts["reports"] += batch.reports.num_rows + batch.quarantine.num_rows
                        yield batch.reports

                admission = admit(reports(read(source)), known)
            tables = {
                "edits": admission.edits,
                "duplicates": admission.duplicates,
                "contradictions": admission.contradictions,
            }
            for table_name, table in tables.items():
                pq.write_table(table, scratch / f"{table_name}.parquet")
                counts[table_name] = table.num_rows
            for file in sorted(scratch.iterdir()):
                move_whole(file, folder / file.name)
        return counts
