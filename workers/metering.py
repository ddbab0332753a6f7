"""Metrics through Ray, which exports them on each node, at the port that its service discovery file names.

Counts reach the node's agent within seconds and stay there after the actor's end. An embedded Ray exports them, too,
but ends with the run: what lasts of a night is in the file that it leaves.
"""

from __future__ import annotations

from functools import cache

from ray.util import metrics

from pipeline.metrics import Metric


def count(metric: Metric, by: float = 1, **labels: str) -> None:
    """Adds to a counter; nothing to add is nothing to tell, as Ray sees it."""
    if by > 0:
        _counter(metric).inc(by, labels)


@cache  # one object a process: Ray warns of a second one of the same name
def _counter(metric: Metric) -> metrics.Counter:
    return metrics.Counter(metric.name, metric.help, metric.labels)
