"""What ``GET /metrics`` tells: counts and times of requests, and what is served, looked up when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from pipeline import metrics
from pipeline.metrics import Metric
from pipeline.serving.champion import Champion


class Measures:
    """The metrics of one server, in a registry of their own.

    Args:
        champion: is looked at when metrics are asked for.
    """

    def __init__(self, champion: Champion) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter(metrics.REQUESTS)
        self._prompts = self._counter(metrics.PROMPTS)
        self._by_edit, self._by_backbone = self._prompts.labels("edit"), self._prompts.labels("backbone")
        self._latency = self._histogram(metrics.LATENCY)
        self._batches = self._histogram(metrics.BATCH)
        self.streams = self._gauge(metrics.STREAMS_OPEN)

        def of_served(value: Callable[[Any], float]) -> Callable[[], float]:
            def look() -> float:
                served = champion.served
                return 0 if served is None else value(served)

            return look

        self.look(metrics.READY, of_served(lambda served: 1))
        self.look(metrics.VERSION, of_served(lambda served: served.number))
        self.look(metrics.EDITS_SERVED, of_served(lambda served: served.edits))
        self.look(metrics.CHAMPION_SEEN, lambda: champion.seen or 0)
        self._registry.register(_Counted(metrics.SWAPS, lambda: champion.swaps))
        self._registry.register(_Counted(metrics.TAKE_INS_FAILED, lambda: champion.failures))

    def look(self, metric: Metric, value: Callable[[], float]) -> None:
        """A gauge whose value is looked up when metrics are asked for."""
        self._gauge(metric).set_function(value)

    def request(self, status: int, form: str, seconds: float) -> None:
        """A request for answers has ended."""
        self._requests.labels(str(status)).inc()
        self._latency.labels(form).observe(seconds)

    def spoke(self, edits: int, backbone: int) -> None:
        """Prompts were answered, so many by an edit and so many by the backbone."""
        self._by_edit.inc(edits)
        self._by_backbone.inc(backbone)

    def batch(self, prompts: int) -> None:
        """Prompts are answered side by side."""
        self._batches.observe(prompts)

    def text(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self._registry)

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self._registry)

    def _gauge(self, metric: Metric) -> Gauge:
        return Gauge(metric.name, metric.help, metric.labels, registry=self._registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=self._registry)


class _Counted(Collector):
    """A counter that is kept elsewhere."""

    def __init__(self, metric: Metric, value: Callable[[], int]) -> None:
        self._metric = metric
        self._value = value

    def collect(self) -> list[CounterMetricFamily]:
        return [CounterMetricFamily(self._metric.name, self._metric.help, value=self._value())]
