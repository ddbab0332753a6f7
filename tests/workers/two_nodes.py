"""A Ray of two nodes on this machine, reached by nobody else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.workers.forking import SOCKET, Forking
from workers.connect import connected

CPUS = (3, 4)
"""Of the head and of the other node: four actors of one CPU do not fit on the head."""
GPUS = (0, 1)
"""Likewise; there is none, but Ray gives it away as if there were."""


@dataclass(frozen=True, slots=True)
class TwoNodes:
    """The cluster that this process has joined.

    Attributes:
        address: for drivers in other processes (RAY_ADDRESS).
        forking: starts its workers.
    """

    address: str
    forking: Forking

    def actors(self) -> dict[int, str]:
        """Actors of this cluster that live: process ids and titles, ``ray::Class`` or ``ray::Class.method``."""
        return {
            pid: title
            for pid, title in self.forking.children().items()
            if title.startswith("ray::") and title != "ray::IDLE"
        }


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Starts the nodes and joins them; ends them and nobody else's."""
    folder = Path(tempfile.mkdtemp(prefix="melo-", dir="/tmp"))  # short: paths of sockets have at most 107 bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))  # Ray notes there which cluster is the machine's, too
        # Named after other systems, it makes Ray take 127.0.0.1 for what it is and not for the machine's address.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)  # it was read when Ray was imported
        forking = Forking(folder / "forking")
        cluster = Cluster()
        try:
            with pytest.MonkeyPatch.context() as starting:
                starting.setenv(SOCKET, forking.path)
                for cpus, gpus in zip(CPUS, GPUS, strict=True):
                    cluster.add_node(
                        num_cpus=cpus,
                        num_gpus=gpus,
                        node_ip_address="127.0.0.1",
                        include_dashboard=False,
                        include_log_monitor=False,
                        dashboard_agent_listen_port=0,
                        setup_worker_path=str(Path(__file__).with_name("forking.py")),
                    )
            forking.ready()
            with connected(cluster.address):
                yield TwoNodes(cluster.address, forking)
        finally:
            cluster.shutdown()
            forking.close()
            shutil.rmtree(folder, ignore_errors=True)  # the last ones to end may still write there
