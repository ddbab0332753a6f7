"""Secrets come from the environment alone: files of settings are copied, committed and shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pipeline.errors import MeloError

_SECRET = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|secret|token|credentials?|api_?key|access_?key(?:_id)?|private_?key)(?:$|_)"
)
_WITH_PASSWORD = re.compile(
    r"://[^/\s@]*:[^/\s@]+@|://\S*[?&](?:[a-z-]*(?:api_?key|token|signature|secret|password)|sig)=[^&\s]", re.IGNORECASE
)
NAMES = {
    "mlflow_uri": "MLFLOW_TRACKING_URI",
    "ray_address": "RAY_ADDRESS",
    "qdrant_url": "QDRANT_URL",
    "qdrant_api_key": "QDRANT_API_KEY",
}
"""Settings -> environment variables, where those are named by others."""
OTHERS = {
    "mlflow_password": "MLFLOW_TRACKING_PASSWORD",
    "mlflow_token": "MLFLOW_TRACKING_TOKEN",
    "ray_token": "RAY_AUTH_TOKEN",
}
"""The same for what is no setting of ours."""


class SecretError(MeloError, ValueError):
    """A file of settings holds a secret."""


def check_no_secrets(content: Any, file: str) -> None:
    """Makes sure that a file of settings holds no secret.

    Raises:
        SecretError: it does; names the field, and where the secret belongs, and not the secret.
    """
    for path, why in _found(content, ()):
        raise SecretError(
            f"{file}: {'.'.join(path)} {why}, and a file of settings is no place for one: take it out, and set "
            f"{_variable(path)} in the environment instead. If the file was shared, change the secret"
        )


def _found(value: Any, path: tuple[str, ...], seen: set[int] | None = None) -> Iterator[tuple[tuple[str, ...], str]]:
    seen = set() if seen is None else seen
    if isinstance(value, str) and _WITH_PASSWORD.search(value):
        yield path, "is a URL with a password in it"
    elif path and value not in (None, "") and not isinstance(value, dict) and _SECRET.search(path[-1].casefold()):
        yield path, "holds a secret"
    elif isinstance(value, dict | list) and id(value) not in seen:  # YAML may hold itself, or one part many times
        seen.add(id(value))
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _found(part, (*path, str(name)), seen)


def _variable(path: tuple[str, ...]) -> str:
    name = path[-1].casefold().replace("apikey", "api_key")
    if len(path) == 1 and (given := (NAMES | OTHERS).get(name)):
        return given
    return "MELO_" + "__".join(part.upper() for part in path)
