"""A Ray head of its own with a dashboard, on loopback alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Named after other systems, it makes Ray take 127.0.0.1 for what it is; for the head and for who joins it."""


class Head(NamedTuple):
    """Where it is: ``host:port`` of the head, URL of the dashboard."""

    address: str
    dashboard: str


@contextmanager
def head(authentication: Mapping[str, str]) -> Iterator[Head]:
    """Starts one, and stops it by its process group.

    Args:
        authentication: RAY_AUTH_MODE and RAY_AUTH_TOKEN of the head.
    """
    port, dashboard = free_port(), free_port()
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2"]
    command += ["--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=true"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--disable-usage-stats"]
    command += [f"--dashboard-agent-listen-port={free_port()}"]  # the usual one is taken by the other tests' Ray
    environment = os.environ | ON_LOOPBACK | dict(authentication)
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=environment
    )
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", dashboard)) == 0:
                    break
            time.sleep(0.1)
        yield Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
