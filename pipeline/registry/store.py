"""The MLflow store: whether it can be reached, and what goes wrong with it, by its name."""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from pipeline.credentials import check_way, has_user, mlflow_credentials, shown
from pipeline.errors import MeloError
from pipeline.settings import Settings

SECONDS = 5.0
"""How long a store may take to show that it is there."""

TURN_SECONDS = 60.0
"""How long another process may take to make the tables."""

REFUSALS = (401, 403)
"""Statuses of a server that does not know who asks, or does not let them."""

NOT_FINITE = "melo.not_finite."
"""Begins the tags of scores that are NaN or infinite: as metrics SQLite would hold them as huge numbers."""


class RegistryError(MeloError, RuntimeError):
    """The registry cannot be reached, or cannot do what was asked; says which, and what to do."""


def connect(uri: str) -> MlflowClient:
    """A client of a store that answers.

    Args:
        uri: ``sqlite:////absolute/path/mlflow.db``, whose tables are made at the first call (about 7 seconds), or
            the http(s) URL of a server.

    Raises:
        RegistryError: it can't be reached, written, or read by this release of MLflow, or it refuses us; within
            seconds.
        CredentialError: a password would go to another machine unencrypted.
    """
    if uri.startswith("sqlite:"):
        opened = _opened_database(uri)
    elif uri.startswith(("http://", "https://")):
        opened = _answering_server(uri)
    else:
        raise RegistryError(
            f"no MLflow store at {uri!r}: expected sqlite:////absolute/path/mlflow.db or an http(s) URL"
        )
    with opened, asking(uri, "be read"):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_registered_models(max_results=1)  # shows, too, whether a server takes our credentials
    return client


@contextmanager
def asking(uri: str, what: str) -> Iterator[None]:
    """Within it every failure of the store is a RegistryError that names the store and what was asked of it."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        if isinstance(error, MlflowException) and error.get_http_status_code() in REFUSALS:
            raise RegistryError(f"MLflow at {shown(uri)} did not {what}: {_refusal(error)}") from error
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RegistryError(f"MLflow at {shown(uri)} could not {what}: {shown(cause)}") from error


def _refusal(error: MlflowException) -> str:
    """Why a server does not know us, or does not let us, and what to set."""
    if error.get_http_status_code() == requests.codes.forbidden:
        who = os.environ.get("MLFLOW_TRACKING_USERNAME", "this token")
        return f"{who} may not do that (403); let its administrator give it the permission, or be another user"
    sent = mlflow_credentials()
    came = "no password or token is set" if sent is None else f"what {sent} holds is not accepted"
    return (
        f"{came} (401). Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the "
        "environment of this process"
    )


def open_experiment(client: MlflowClient, uri: str, name: str, artifacts: Path) -> str:
    """Id of an experiment, which is made if it is not there.

    Args:
        client: from ``connect``.
        uri: of the store.
        name: of the experiment.
        artifacts: folder for what is logged to a store on SQLite; a server has its own place.

    Raises:
        RegistryError: somebody deleted it.
    """
    location = (artifacts / name).as_uri() if uri.startswith("sqlite:") else None
    unless_there(lambda: client.create_experiment(name, artifact_location=location))
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        raise RegistryError(f"experiment {name} is gone from {shown(uri)} as soon as it was made: try again")
    if experiment.lifecycle_stage != "active":
        raise RegistryError(
            f"experiment {name} was deleted at {shown(uri)}: bring it back with "
            f"`mlflow experiments restore -x {experiment.experiment_id}`"
        )
    return str(experiment.experiment_id)


def unless_there(make: Callable[[], Any]) -> None:
    """Makes something that may be there already."""
    try:
        make()
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def log_scores(client: MlflowClient, run_id: str, scores: Mapping[str, float], step: int = 0) -> None:
    """Logs scores as metrics at ``step``; those that are not finite as tags."""
    now = int(time.time() * 1000)
    finite = {name: value for name, value in scores.items() if math.isfinite(value)}
    metrics = [Metric(name, value, now, step) for name, value in finite.items()]
    tags = [RunTag(NOT_FINITE + name, str(scores[name])) for name in scores.keys() - finite.keys()]
    client.log_batch(run_id, metrics=metrics, tags=tags)


@contextmanager
def _opened_database(uri: str) -> Iterator[None]:
    """Within it a database that opens, and nobody else's turn: making its tables twice at once fails.

    MLflow itself would try a broken file for more than a minute.
    """
    path = Path(make_url(uri).database or "")
    if not path.is_absolute():
        raise RegistryError(f"the path in {uri!r} is not absolute: expected sqlite:////absolute/path/mlflow.db")
    with ExitStack() as turn:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            turn.enter_context(FileLock(f"{path}.lock", timeout=TURN_SECONDS))
            with closing(sqlite3.connect(path, timeout=SECONDS)) as database:
                database.execute("BEGIN IMMEDIATE")
        except (OSError, sqlite3.Error) as error:
            raise RegistryError(f"MLflow's database {path} cannot be opened for writing: {error}") from error
        yield


@contextmanager
def _answering_server(uri: str) -> Iterator[None]:
    if (sent := "its password" if has_user(uri) else mlflow_credentials()) is not None:
        check_way(uri, sent, Settings().plain_http)
    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=SECONDS)
    except requests.RequestException as error:
        raise RegistryError(
            f"no MLflow server answers at {shown(uri)} within {SECONDS:.0f} s ({type(error).__name__}): start it, or "
            "correct MLFLOW_TRACKING_URI"
        ) from error
    if answer.status_code != requests.codes.ok:
        raise RegistryError(f"{shown(uri)}/health answered {answer.status_code}, expected 200: is that MLflow?")
    yield
