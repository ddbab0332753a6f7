"""Ray, embedded or a cluster's: reached before any work starts, or named in the error."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._private import ray_constants
from ray.exceptions import AuthenticationError

from workers.authentication import REACHABLE_SECONDS, check_head, refused
from workers.spread import SpreadError


@contextmanager
def connected(address: str | None, cpus: int | None = None) -> Iterator[None]:
    """Within it there is a Ray to start actors on; one that this process has joined already is used and left alone.

    Args:
        address: of a running cluster (RAY_ADDRESS); None for an embedded one, which ends with the context.
        cpus: of the embedded one; None: all.

    Raises:
        SpreadError: the cluster cannot be reached, or does not take our token; names it.
    """
    if ray.is_initialized():
        yield
        return
    # Says at every start that it guards its ports by a token, which is as it should be.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    if address is None:
        with _on_loopback():
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
        except AuthenticationError as error:
            raise refused(address) from error
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise SpreadError(f"no Ray cluster could be joined at {address} (RAY_ADDRESS): {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Within it a Ray that is started listens on 127.0.0.1 alone.

    Ray takes that address for a request to find the machine's own, and then listens everywhere, but on systems where it
    expects no clusters. So it is told that this is one: its processes by their environment, this one, which has read
    that already, by the constant.
    """
    flag, expected = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    before = os.environ.get(flag)
    os.environ[flag], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = expected
        del os.environ[flag]
        if before is not None:
            os.environ[flag] = before


def _knock(address: str) -> None:
    """Ray retries for a minute before it gives up on a head that is not there, or that refuses."""
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
    if not address.startswith("ray://"):
        check_head(address)
