"""Clients of a server of answers, in a process of their own: how many are answered, and how long each waits.

    python load.py URL CLIENTS < requests.json

Reads a list of JSON bodies, sends them over keep-alive connections, every client the next one as soon as its last is
answered, and prints JSON: the seconds of all and of each.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx


def load(url: str, clients: int, bodies: list[dict[str, Any]]) -> dict[str, Any]:
    """Sends all bodies.

    Returns:
        ``seconds``, of all, and ``waits``, of each, in their order.

    Raises:
        httpx.HTTPStatusError: one was not answered.
    """
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    with httpx.Client(timeout=60, limits=limits) as client, ThreadPoolExecutor(clients) as pool:

        def send(body: dict[str, Any]) -> float:
            start = time.perf_counter()
            client.post(url, json=body).raise_for_status()
            return time.perf_counter() - start

        list(pool.map(send, bodies[:clients]))  # connections are opened
        start = time.perf_counter()
        waits = list(pool.map(send, bodies))
        return {"seconds": time.perf_counter() - start, "waits": waits}


if __name__ == "__main__":
    print(json.dumps(load(sys.argv[1], int(sys.argv[2]), json.load(sys.stdin))))
