"""The figures of a night in a file, for node_exporter's textfile collector: a job that ends cannot be scraped.

The file is made anew after every night, all of it out of the journal; it appears at once or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from pipeline import metrics
from pipeline.editlog import KNOWN, states_of
from pipeline.evaluation.gate import Verdict
from pipeline.evaluation.scores import Scores
from pipeline.journal import Journal, Night
from pipeline.logs import LOG
from pipeline.metrics import Metric
from pipeline.registry.store import RegistryError
from pipeline.registry.tracking import Registry
from pipeline.review import ReviewQueue
from pipeline.settings import Settings
from pipeline.sources.reasons import by_class

FILE = "metrics.prom"
WORKED = ("promoted", "kept back", "nothing new")
"""Outcomes of nights that did their work."""


def leave_metrics(settings: Settings, journal: Journal, registry: Registry) -> None:
    """Writes the file. Where that fails, the log tells so, and the night is what it is."""
    path = settings.metrics_file or journal.home / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_to_textfile(str(path), _Figures(journal, registry).registry)
    except OSError as error:
        LOG.warning("the figures of the night could not be written", file=str(path), error=str(error))


class _Figures:
    """All of them."""

    def __init__(self, journal: Journal, registry: Registry) -> None:
        self.registry = CollectorRegistry()
        nights = journal.nights()
        results = {night.number: journal.results(night) for night in nights}
        self._last_night(journal, nights, results[nights[-1].number])
        self._versions(nights, results)
        self._champion(journal, registry)
        waiting = ReviewQueue(journal).waiting()
        self._set(metrics.REVIEW, len(waiting))
        if waiting:
            self._set(metrics.REVIEW_OLDEST, min(row["time"] for row in waiting).timestamp())

    def _last_night(self, journal: Journal, nights: list[Night], results: Mapping[str, Any]) -> None:
        night = nights[-1]
        self._set(metrics.NIGHT, night.number)
        self._set_all(metrics.OUTCOME, {outcome: outcome == _how(night) for outcome in metrics.OUTCOMES})
        self._set(metrics.BEGUN, _unix(night.begun))
        self._set(metrics.ENDED, _unix(night.ended or datetime.now(UTC).isoformat()))
        worked = [_unix(other.ended) for other in nights if other.ended and _how(other) in WORKED]
        if worked:
            self._set(metrics.LAST_SUCCESS, worked[-1])
        self._set_all(metrics.STEP, journal.times(night))
        counts = dict(results.get("reports", {}))
        self._set(metrics.REPORTS_READ, counts.pop("reports", 0))
        self._set_all(metrics.BECAME, counts)
        self._set_all(metrics.QUARANTINED, _quarantined(night.folder / "quarantine.parquet"))
        made = results.get("version", {})
        self._set(metrics.TAUGHT, made.get("taught", 0))
        self._set(metrics.REFUSED, len(made.get("refused", {})))
        self._set(metrics.TEACHING, made.get("seconds", 0))

    def _versions(self, nights: list[Night], results: Mapping[int, Mapping[str, Any]]) -> None:
        judged = [results[night.number] for night in nights if "gate" in results[night.number]]
        used = [found for found in judged if found.get("promoted", {}).get("promoted")]
        latest = {"candidate": judged[-1:], "champion": used[-1:]}
        scores = self._gauge(metrics.SCORE)
        for of, (found,) in ((of, found) for of, found in latest.items() if found):
            for name, value in Scores.model_validate(found["scores"]).flat().items():
                scores.labels(of, name).set(value)
        since = len(judged) if not used else len(judged) - 1 - judged.index(used[-1])
        self._set(metrics.KEPT_BACK, since)
        if judged:
            verdict = Verdict.model_validate(judged[-1]["gate"])
            self._set(metrics.GATE_PASSED, verdict.passed)
            self._set_all(metrics.CHECK, {check.name: check.value for check in verdict.checks})
            self._set_all(metrics.THRESHOLD, {check.name: check.threshold for check in verdict.checks})

    def _champion(self, journal: Journal, registry: Registry) -> None:
        try:
            champion = registry.champion()
        except RegistryError as error:
            LOG.warning("the registry did not tell which version is in use", error=str(error))
            return
        if champion is not None:
            self._set(metrics.CHAMPION, champion.number)
            states = states_of(champion.folder)
            self._set(metrics.KNOWN, sum(state in KNOWN for state in states.values()))

    def _gauge(self, metric: Metric) -> Gauge:
        return Gauge(metric.name, metric.help, metric.labels, registry=self.registry)

    def _set(self, metric: Metric, value: float) -> None:
        self._gauge(metric).set(value)

    def _set_all(self, metric: Metric, values: Mapping[str, float | None]) -> None:
        gauge = self._gauge(metric)
        for name, value in values.items():
            if value is not None:
                gauge.labels(name).set(value)


def _how(night: Night) -> str:
    """One of ``metrics.OUTCOMES``."""
    return "stopped" if night.outcome is None else night.outcome.partition(":")[0]


def _quarantined(file: Path) -> Mapping[str, float]:
    if not file.is_file():
        return {}
    table = pq.read_table(file, columns=["reason", "line"])
    return by_class(table["reason"].to_pylist(), table["line"].to_pylist())


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
