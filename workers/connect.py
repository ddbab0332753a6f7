"""Ray, embedded or a cluster's: reached before any work starts, or named in the error."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from workers.spread import SpreadError

REACHABLE_SECONDS = 5.0
"""How long the head of a cluster may take to accept a connection."""


@contextmanager
def connected(address: str | None, cpus: int | None = None) -> Iterator[None]:
    """Within it there is a Ray to start actors on; one that this process has joined already is used and left alone.

    Args:
        address: of a running cluster (RAY_ADDRESS); None for an embedded one, which ends with the context.
        cpus: of the embedded one; None: all.

    Raises:
        SpreadError: the cluster cannot be reached; names it.
    """
    if ray.is_initialized():
        yield
        return
    # Says at every start that it guards its ports by a token, which is as it should be.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    if address is None:
        ray.init(
            "local",  # never whatever cluster happens to run on this machine
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            _node_ip_address="127.0.0.1",
        )
    else:
        _knock(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise SpreadError(f"no Ray cluster could be joined at {address} (RAY_ADDRESS): {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Ray retries for a minute before it gives up on a head that is not there."""
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=REACHABLE_SECONDS).close()
    except (OSError, ValueError) as error:
        raise SpreadError(
            f"no Ray cluster answers at {address} (RAY_ADDRESS): {error}. Start it, correct the address, or unset it "
            "to run on this machine alone."
        ) from error
