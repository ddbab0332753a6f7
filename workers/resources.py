"""What a cluster has."""

from __future__ import annotations

import ray

from workers.connect import connected


def resources(address: str) -> dict[str, float]:
    """CPUs, GPUs and the like of all nodes of a cluster, which is joined for that and left again.

    Raises:
        SpreadError: it cannot be reached, or does not take our token.
    """
    with connected(address):
        return dict(ray.cluster_resources())
