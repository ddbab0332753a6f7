"""Ray's token: sent to no stranger, and what is wrong with it said at once.

With RAY_AUTH_MODE=token Ray reads it itself, from RAY_AUTH_TOKEN, from the file that RAY_AUTH_TOKEN_PATH names, or
from ``~/.ray/auth_token``. A cluster that refuses it is asked again for 20 seconds, and then counts as not there; so
its head is asked first.
"""

from __future__ import annotations

from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled
from ray.exceptions import AuthenticationError

from pipeline.credentials import check_way, shown
from pipeline.settings import Settings
from workers.spread import SpreadError

REACHABLE_SECONDS = 5.0
"""How long the head of a cluster may take to accept a connection, and to answer."""
_CLUSTER_ID = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""What a process that joins asks the head first; the request is an empty message."""


def headers() -> dict[str, str]:
    """What Ray sends to show that it may; empty without a token.

    Raises:
        AuthenticationError: a token is wanted by RAY_AUTH_MODE, and there is none.
    """
    return get_auth_headers_if_auth_enabled({})


def check_dashboard(address: str) -> None:
    """Refuses to send the token to another machine over plain http.

    Args:
        address: http(s) URL of a dashboard.

    Raises:
        CredentialError: anybody on the way could read it.
        SpreadError: a token is wanted by RAY_AUTH_MODE, and there is none.
    """
    if _sent(address):
        check_way(address, "Ray's token", Settings().plain_http)


def check_head(address: str) -> None:
    """Asks the head of a cluster whether it takes the token.

    Args:
        address: ``host:port`` of a head that accepts connections.

    Raises:
        SpreadError: it does not, or what answers is not a head.
    """
    import grpc  # a tenth of a second, and only a cluster needs it

    sent = _sent(address)
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(_CLUSTER_ID)(b"", timeout=REACHABLE_SECONDS, metadata=tuple(sent.items()))
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise refused(address) from error
            raise SpreadError(
                f"what listens at {address} (RAY_ADDRESS) did not answer as the head of a Ray cluster "
                f"({error.code().name}): expected the port that `ray start --head --port` was given"
            ) from error


def refused(address: str) -> SpreadError:
    """Why a cluster lets nobody in, and what to set."""
    try:
        came = "the one that came is not the cluster's" if headers() else "none came"
    except AuthenticationError:
        came = "none is there, though RAY_AUTH_MODE=token"
    return SpreadError(
        f"the Ray cluster at {shown(address)} wants a token, and {came}: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN "
        "or RAY_AUTH_TOKEN_PATH, in the environment of this process"
    )


def _sent(address: str) -> dict[str, str]:
    try:
        return headers()
    except AuthenticationError as error:
        raise refused(address) from error
