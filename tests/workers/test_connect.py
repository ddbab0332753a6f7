"""The embedded Ray, in a process that has not joined the tests' cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.workers.forking import ROOT
from tests.workers.two_nodes import TwoNodes

SCRIPT = """
import json, ray
from workers.connect import connected
with connected(None, cpus=1):
    found = {
        "address": ray.get_runtime_context().gcs_address,
        "nodes": [node["NodeManagerAddress"] for node in ray.nodes()],
        "answer": ray.get(ray.remote(lambda: 42).remote(), timeout=60),
    }
print(json.dumps(found | {"left": ray.is_initialized()}))
"""


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
