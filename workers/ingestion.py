"""The ingestion actor: reads reports and admits or refuses each."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import metrics
from pipeline.journal import SCRATCH, move_whole
from pipeline.logs import LOG
from pipeline.sources import CONFIRMED, Aside, Batch, admit, read
from pipeline.sources.reasons import CAME_BEFORE, by_class
from schemas.reports import QUARANTINE, REVIEW
from workers.actor import Actor
from workers.metering import count


class IngestionWorker(Actor):
    """Turns a source into tables in a night's folder."""

    def ingest(
        self,
        source: str,
        known: Mapping[str, Aside | None],
        queued: Set[str],
        answered: pa.RecordBatch,
        folder: Path,
    ) -> dict[str, int]:
        """Reads a source to its end.

        Args:
            source: file, folder or URL.
            known: edits that were admitted before; see ``admit``.
            queued: ids of complaints that came before, whatever became of them.
            answered: of schema ``REPORTS``: what reviewers answered since the last time, read after the source.
            folder: gets edits, duplicates, contradictions, quarantine and review, Parquet each.

        Returns:
            How many rows each has; ``reports``: how many were read; ``confirmed``: how many of those in quarantine
            say that an answer was right.
        """
        start = time.monotonic()
        counts = {"reports": answered.num_rows, "quarantine": 0, "review": 0, "confirmed": 0}
        waiting = _Waiting(queued)
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as name:
            scratch = Path(name)
            with (
                pq.ParquetWriter(scratch / "quarantine.parquet", QUARANTINE) as quarantine,
                pq.ParquetWriter(scratch / "review.parquet", REVIEW) as review,
            ):

                def reports(batches: Iterator[Batch]) -> Iterator[pa.RecordBatch]:
                    for batch in batches:
                        fresh, again = waiting.sort(batch.review)
                        review.write_batch(fresh)
                        quarantine.write_batch(batch.quarantine)
                        quarantine.write_batch(again)
                        counts["review"] += fresh.num_rows
                        counts["quarantine"] += batch.quarantine.num_rows + again.num_rows
                        right = pc.starts_with(batch.quarantine["reason"], CONFIRMED)
                        counts["confirmed"] += pc.sum(right).as_py() or 0
                        counts["reports"] += batch.rows
                        yield batch.reports
                    yield answered

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
        _measure(counts, folder / "quarantine.parquet", time.monotonic() - start)
        return counts


def _measure(counts: Mapping[str, int], quarantine: Path, seconds: float) -> None:
    count(metrics.READ, counts["reports"])
    count(metrics.INGESTING, seconds)
    for became in counts.keys() - {"reports"}:
        count(metrics.SORTED, counts[became], became=became)
    table = pq.read_table(quarantine, columns=["reason", "line"])
    for reason, rows in by_class(table["reason"].to_pylist(), table["line"].to_pylist()).items():
        count(metrics.REJECTED, rows, reason=reason)
    LOG.info("read", **counts, seconds=round(seconds, 3))


class _Waiting:
    """Tells complaints that are new from those that came before.

    Args:
        queued: ids of those that came on other nights.
    """

    def __init__(self, queued: Set[str]) -> None:
        self._came = set(queued)
        self._now = datetime.now(UTC)

    def sort(self, review: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Complaints that are new, of schema ``REVIEW``, and the others as rows of ``QUARANTINE``."""
        fresh: list[dict[str, Any]] = []
        again: list[dict[str, Any]] = []
        for row in review.to_pylist():
            if row["complaint_id"] in self._came:
                reason = f"{CAME_BEFORE}: complaint {row['complaint_id']} waits for a review or was settled"
                detail = f"{row['prompt']}: {row['rating']}"[:500]
                again.append({"source": row["source"], "line": row["line"], "reason": reason, "detail": detail})
            else:
                fresh.append(row)
            self._came.add(row["complaint_id"])
        return (
            pa.RecordBatch.from_pylist(fresh, schema=REVIEW),
            pa.RecordBatch.from_pylist([row | {"time": self._now} for row in again], schema=QUARANTINE),
        )
