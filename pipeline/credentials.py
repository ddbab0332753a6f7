"""Passwords, keys and tokens on their way to servers: only from the environment, and never where others can read.

Each process reads them from its own environment: QDRANT_API_KEY here, MLFLOW_TRACKING_USERNAME and _PASSWORD (or
_TOKEN) by MLflow's client, RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) by Ray. None of them travels with work: the nodes of
a cluster have them in their own environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from pipeline.errors import MeloError

MLFLOW_CREDENTIALS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""Variables that make MLflow's client send something secret."""

_USER = re.compile(r"(?<=://)[^/@\s]+@")


class CredentialError(MeloError, ValueError):
    """A secret would be seen by others."""


def is_loopback(host: str) -> bool:
    """Whether what is sent there stays on this machine.

    Args:
        host: name or address.
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def check_way(url: str, what: str, plain_http: bool) -> None:
    """Refuses to send something secret to another machine over plain http.

    Args:
        url: where it would go.
        what: the variable that holds it.
        plain_http: the setting that allows it.

    Raises:
        CredentialError: anybody on the way could read it.
    """
    parts = urlsplit(url)
    if parts.scheme == "http" and not plain_http and not is_loopback(parts.hostname or ""):
        raise CredentialError(
            f"{what} would go to {shown(url)} unencrypted, where others on the way can read it: use https, or "
            "set MELO_PLAIN_HTTP=true where nobody else is on that network"
        )


def mlflow_credentials(environment: Mapping[str, str] = os.environ) -> str | None:
    """The variable that holds what MLflow's client would send; None: nothing."""
    return next((name for name in MLFLOW_CREDENTIALS if environment.get(name)), None)


def has_user(text: str) -> bool:
    """Whether a URL in the text holds a user name or a password."""
    return bool(_USER.search(text))


def shown(text: str) -> str:
    """The text without the user names and passwords in its URLs."""
    return _USER.sub("", text)
