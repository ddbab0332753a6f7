"""What happens in a night, as events of its log: what became of each report and each edit, step by step.

The events of a step are told before the journal has it, so none is lost in a crash; a step that is repeated tells
them again. They hold ids and places, not what strangers wrote: that is in the night's tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.editlog import states_of, taken_back
from pipeline.journal import Journal, Night
from pipeline.logs import LOG, about, night_log
from pipeline.night_metrics import leave_metrics
from pipeline.registry.tracking import Registry
from pipeline.settings import Settings
from pipeline.sources.files import shown
from pipeline.sources.reasons import reason_class

Result = dict[str, Any]

_BECAME: dict[str, str] = {
    "live": "learned",
    "failed": "not learned",
    "evicted": "evicted",
    "replaced": "replaced",
    "undone": "undone",
    "expired": "expired",
}
"""State of a record that is new -> what happened to its edit."""


@contextmanager
def watched(settings: Settings, journal: Journal, registry: Registry, night: Night) -> Iterator[None]:
    """Within it a night is told in its log; at its end, whatever that is, its figures are left for Prometheus."""
    with about(night=night.number), night_log(night.folder):
        source = night.source if taken_back(night.source) else shown(night.source)
        LOG.info("begun", source=source, base=night.base, since=night.begun)
        try:
            yield
        except BaseException as error:
            LOG.error("stopped" if journal.outcome(night) is None else "failed", exc_info=error)
            raise
        else:
            LOG.info("ended", outcome=journal.outcome(night))
        finally:
            leave_metrics(settings, journal, registry)


def step(name: str, night: Night, versions: Path, work: Callable[[Night], Result]) -> Result:
    """Does a step and tells what happened in it."""
    with about(step=name):
        start = time.monotonic()
        LOG.info("step begun")
        result = work(night)
        if name == "reports":
            _reports(night.folder)
        elif name == "version":
            _version(night, versions, result)
        elif name == "gate":
            reasons = [check["why"] for check in result["checks"] if not check["passed"]]
            LOG.info("passed" if result["passed"] else "not passed", reasons=reasons)
        elif name == "promoted":
            LOG.info("promoted" if result["promoted"] else "kept back")
        LOG.info("step ended", seconds=round(time.monotonic() - start, 3))
        return result


def _reports(folder: Path) -> None:
    """Where each report ended."""
    for row in _rows(folder / "edits.parquet", "edit_id", "source", "line"):
        LOG.info("admitted", **row)
    for row in _rows(folder / "duplicates.parquet", "edit_id", "source", "line", "of"):
        LOG.info("duplicate", **row)
    for row in _rows(folder / "contradictions.parquet", "dropped_edit_id", "kept_edit_id"):
        LOG.info("contradicted", edit_id=row["dropped_edit_id"], by=row["kept_edit_id"])
    for row in _rows(folder / "quarantine.parquet", "source", "line", "reason"):
        LOG.info("quarantined", reason=reason_class(row["reason"], row["line"]), source=row["source"], line=row["line"])
    for row in _rows(folder / "review.parquet", "complaint_id", "source", "line"):
        LOG.info("to be reviewed", **row)


def _version(night: Night, versions: Path, result: Result) -> None:
    """How the new version's records differ from those of its base."""
    before = {} if night.base is None else states_of(versions / night.base)
    for edit_id, state in states_of(versions / result["digest"]).items():
        if before.get(edit_id) != state:
            LOG.info(_BECAME[state], edit_id=edit_id)
    for edit_id, reason in result["refused"].items():
        LOG.warning("refused", edit_id=edit_id, reason=reason)


def _rows(file: Path, *columns: str) -> Iterator[Mapping[str, Any]]:
    for batch in pq.ParquetFile(file).iter_batches(columns=list(columns)):
        yield from batch.to_pylist()
