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
from pipeline.settings import TrustSettings
from pipeline.sources import CONFIRMED, Aside, Batch, admit, read
from pipeline.sources.policy import Earlier, Policy
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
        trust: TrustSettings = TrustSettings(),  # noqa: B008 (frozen)
        earlier: Earlier = Earlier(),  # noqa: B008 (likewise)
    ) -> dict[str, int]:
        """Reads a source to its end.

        Args:
            source: file, folder or URL.
            known: edits that were admitted before; see ``admit``.
            queued: ids of complaints that came before, whatever became of them.
            answered: of schema ``REPORTS``: what reviewers answered since the last time, read after the source.
            folder: gets edits, duplicates, contradictions, quarantine, review and waiting, Parquet each.
            trust: which of the reports are let through.
            earlier: what counts for that of the nights before.

        Returns:
            How many rows each has; ``reports``: how many were read; ``confirmed``: how many of those in quarantine
            say that an answer was right.
        """
        start = time.monotonic()
        counts = {"reports": answered.num_rows, "quarantine": 0, "review": 0, "confirmed": 0}
        waiting, policy = _Waiting(queued), Policy(trust, known, earlier, datetime.now(UTC))
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as name:
            scratch = Path(name)
            with (
                pq.ParquetWriter(scratch / "quarantine.parquet", QUARANTINE) as quarantine,
                pq.ParquetWriter(scratch / "review.parquet", REVIEW) as review,
            ):

                def refuse(rows: pa.RecordBatch) -> None:
                    quarantine.write_batch(rows)
                    counts["quarantine"] += rows.num_rows

                def reports(batches: Iterator[Batch]) -> Iterator[pa.RecordBatch]:
                    for batch in batches:
                        complaints, personal = waiting.without(batch.review, policy)
                        fresh, again = waiting.sort(complaints)
                        review.write_batch(fresh)
                        counts["review"] += fresh.num_rows
                        passed, refused = policy.sort(batch.reports)
                        for rows in (batch.quarantine, personal, again, refused):
                            refuse(rows)
                        right = pc.starts_with(batch.quarantine["reason"], CONFIRMED)
                        counts["confirmed"] += pc.sum(right).as_py() or 0
                        counts["reports"] += batch.rows
                        yield passed
                    passed, refused = policy.sort(answered)
                    refuse(refused)
                    yield passed
                    passed, refused, came_earlier = policy.decide()
                    refuse(refused)
                    counts["reports"] += came_earlier
                    yield passed

                admission = admit(reports(read(source, mask=policy.masked, allowed=trust.sources)), known)
            pq.write_table(policy.waiting, scratch / "waiting.parquet")
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

    def without(self, review: pa.RecordBatch, policy: Policy) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Complaints without personal data, of schema ``REVIEW``, and the others as rows of ``QUARANTINE``."""
        kept: list[dict[str, Any]] = []
        refused: list[dict[str, Any]] = []
        for row in review.to_pylist():
            if reason := policy.personal((name, row[name]) for name in ("prompt", "said")):
                detail = policy.masked(f"{row['prompt']}: {row['rating']}")[:500]
                refused.append({"source": row["source"], "line": row["line"], "reason": reason, "detail": detail})
            else:
                kept.append(row)
        return pa.RecordBatch.from_pylist(kept, schema=REVIEW), self._quarantined(refused)

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
        return pa.RecordBatch.from_pylist(fresh, schema=REVIEW), self._quarantined(again)

    def _quarantined(self, rows: list[dict[str, Any]]) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([row | {"time": self._now} for row in rows], schema=QUARANTINE)
