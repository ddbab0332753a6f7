"""The embedded Ray, in a process that has not joined the tests' cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.workers.forking import ROOT
from tests.workers.two_nodes import TwoNodes

SCRIPT = """
import json, os, ray
from pathlib import Path
from workers.connect import connected

def listening():
    # Local addresses, in hexadecimal, of the sockets that this process and its descendants listen on.
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            pass  # it has ended
    own = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= more
    sockets = set()
    for link in (link for pid in own for link in Path(f"/proc/{pid}/fd").iterdir()):
        try:
            sockets.add(os.readlink(link))
        except OSError:
            pass
    rows = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").open()]
    return [row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]

with connected(None, cpus=1):
    found = {
        "address": ray.get_runtime_context().gcs_address,
        "nodes": [node["NodeManagerAddress"] for node in ray.nodes()],
        "answer": ray.get(ray.remote(lambda: 42).remote(), timeout=60),
        "listening": listening(),
    }
print(json.dumps(found | {"left": ray.is_initialized()}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for sockets in /proc")
def test_an_embedded_ray_is_on_loopback_and_joins_no_other(cluster: TwoNodes) -> None:
    own = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_TMPDIR")  # what the tests' cluster needs
    env = {name: value for name, value in os.environ.items() if name not in own}
    env |= {"RAY_ADDRESS": cluster.address, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["answer"] == 42
    assert not found["left"]
    assert found["address"] != cluster.address
    assert found["nodes"] == ["127.0.0.1"]
    assert len(found["listening"]) > 5
    assert set(found["listening"]) <= {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, as IPv6 too
