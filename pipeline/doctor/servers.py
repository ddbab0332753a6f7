"""Ray, MLflow, Qdrant and the server of answers: there, open to us and to nobody else, and with the same time."""

from __future__ import annotations

import os
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.credentials import is_loopback, shown
from pipeline.doctor.finding import Finding, ok, problem, warning
from pipeline.settings import Settings

SECONDS = 5.0
"""How long a server may take to answer."""
CLOCK_SECONDS, WRONG_SECONDS = 5.0, 60.0
"""How far another clock may be from ours: before it is worth a word, and before versions seem to be of tomorrow."""
SERVE = "http://127.0.0.1:8100"
OURS = {6333: "Qdrant", 6334: "Qdrant", 5000: "MLflow", 6379: "Ray", 8265: "Ray's dashboard", 8100: "melo serve"}
"""Ports that our servers listen at by default."""


def ray(settings: Settings) -> Iterator[Finding]:
    """Whether actors find what they need; what is missing pends for ever, without an error."""
    wanted = {
        "CPU": float(max(settings.trainers, settings.evaluators)),
        "GPU": max(settings.trainers * settings.trainer_gpus, settings.evaluators * settings.evaluator_gpus),
    }
    if settings.ray_address is None:
        import torch

        there = {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}
        where = "this machine"
    else:
        from workers.resources import resources

        there, where = resources(settings.ray_address), f"the cluster at {settings.ray_address}"
        yield ok("ray", f"{where} takes us: {there.get('CPU', 0):g} CPUs, {there.get('GPU', 0):g} GPUs")
        host = settings.ray_address.removeprefix("ray://").rpartition(":")[0]
        if host and not is_loopback(host) and not settings.plain_http and os.environ.get("RAY_USE_TLS") != "1":
            advice = (
                "set RAY_USE_TLS=1 and its certificates, or MELO_PLAIN_HTTP=true where nobody else is on that network"
            )
            yield warning("ray", f"token and work go to {host} unencrypted", advice)
    for kind, least in wanted.items():
        if least > there.get(kind, 0):
            told = f"trainers or evaluators want {least:g} {kind}s, and {where} has {there.get(kind, 0):g}"
            if settings.node_patience and settings.ray_address:
                yield warning("ray", told, f"the cluster has {settings.node_patience:.0f} s to add nodes; can it?")
            else:
                advice = "lower MELO_TRAINERS, MELO_EVALUATORS, MELO_TRAINER_GPUS or MELO_EVALUATOR_GPUS, or add nodes"
                yield problem("ray", told, advice)
    if settings.ray_address is None and wanted["CPU"] <= there["CPU"] and wanted["GPU"] <= there["GPU"]:
        yield ok("ray", f"embedded: {there['CPU']:g} CPUs, {there['GPU']:g} GPUs for {wanted['CPU']:g} actors at once")


def mlflow(settings: Settings) -> Iterator[Finding]:
    """Whether the store is there and takes us, what is in use, and whether its versions are whole."""
    from mlflow.exceptions import MlflowException

    from pipeline.registry.store import asking, connect
    from pipeline.registry.tracking import Registry

    uri, home = settings.tracking_uri, settings.home.absolute()
    if uri.startswith("sqlite:") and not Path(urlsplit(uri).path.removeprefix("/")).is_file():
        yield ok("mlflow", f"{shown(uri)} is made by the first run")
        return
    client = connect(uri)
    yield ok("mlflow", f"{shown(uri)} answers and takes us")
    if not uri.startswith("sqlite:"):
        yield from clock("mlflow", f"{uri.rstrip('/')}/health")
    try:
        with asking(uri, f"show {settings.name}"):
            client.get_registered_model(settings.name)
    except Exception as error:
        if not (
            isinstance(cause := error.__cause__, MlflowException) and cause.error_code == "RESOURCE_DOES_NOT_EXIST"
        ):
            raise
        yield ok("champion", f"none yet: there is no {settings.name} at {shown(uri)}")
        return
    registry = Registry(uri, settings.name, home / "artifacts")
    experiment = client.get_experiment_by_name(settings.name)
    if experiment is not None:
        yield from _artifacts(experiment.artifact_location, uri)
    for alias, find in (("champion", registry.champion), ("candidate", registry.candidate)):
        found = find()  # which verifies every digest
        if found is None:
            yield ok(alias, "none yet")
        else:
            yield ok(alias, f"version {found.number} ({found.digest[:12]}) is whole")


def _artifacts(location: str, uri: str) -> Iterator[Finding]:
    """Writes a file where versions are written, and takes it back."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(location, tracking_uri=uri)
    with tempfile.TemporaryDirectory() as scratch:
        probe = Path(scratch) / f"melo-doctor-{uuid.uuid4().hex}"
        probe.write_text("melo doctor")
        try:
            repository.log_artifact(str(probe))
        except Exception as error:  # every store has errors of its own
            advice = "look at the rights and the room there, and at the server's --artifacts-destination"
            yield problem("artifacts", f"{shown(location)} cannot be written: {shown(str(error))}", advice)
            return
        with suppress(Exception):  # a store that nothing can be taken from keeps eleven bytes
            repository.delete_artifacts(probe.name)
    yield ok("artifacts", f"{shown(location)} is writable")


def qdrant(settings: Settings) -> Iterator[Finding]:
    """Whether the server is there and takes us, and whether the collection of our name is ours."""
    url = settings.qdrant_url
    if url is None:
        yield ok("qdrant", "embedded (Qdrant Edge), under home")
        return
    from pipeline.editing.index.server import width_of

    width = width_of(url, settings.name)  # raises where another program has the name
    held = "is not there yet" if width is None else f"holds keys of width {width}, and is rebuilt every night"
    yield ok("qdrant", f"{shown(url)} answers and takes us; collection {settings.name!r} {held}")
    yield from clock("qdrant", f"{url.rstrip('/')}/readyz")


def clock(part: str, url: str) -> Iterator[Finding]:
    """Whether a server's clock is ours, by the date of its answer."""
    import requests

    date = requests.get(url, timeout=SECONDS).headers.get("Date")
    if date is None:
        return
    apart = abs((datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds())
    if apart > CLOCK_SECONDS:
        told = f"the clock at {shown(url)} is {apart:.0f} s from ours"
        yield (problem if apart > WRONG_SECONDS else warning)(
            part, told, "let both follow a time server (chrony, ntpd)"
        )


def serving(settings: Settings, url: str = SERVE) -> Iterator[Finding]:
    """Whether what serves the champion serves it."""
    import requests

    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=SECONDS).close()
    except OSError:
        yield ok("serve", f"nobody serves at {shown(url)}")
        return
    answer = requests.get(f"{url.rstrip('/')}/ready", timeout=SECONDS)
    if answer.status_code == requests.codes.service_unavailable:
        yield warning(
            "serve", f"{shown(url)} has no champion to serve yet", "melo run makes one; melo history shows why"
        )
        return
    if answer.status_code != requests.codes.ok or "version" not in answer.json():
        advice = "name the URL of melo serve with --serve"
        yield problem("serve", f"{shown(url)}/ready answered {answer.status_code}: it is no melo serve", advice)
        return
    served, number = answer.json()["version"], _champion(settings)
    if served == number:
        yield ok("serve", f"{shown(url)} serves version {served}, the champion")
    else:
        told = f"{shown(url)} serves version {served}, and the champion is {number}"
        yield problem("serve", told, "its log says why it does not take it in; or it is of another registry")


def _champion(settings: Settings) -> int | None:
    from pipeline.registry.tracking import Registry

    return Registry(settings.tracking_uri, settings.name, settings.home.absolute() / "artifacts").champion_number()


def addresses(settings: Settings) -> Iterator[Finding]:
    """Whether a server of ours on this machine listens to others as well."""
    import psutil

    named = [settings.qdrant_url, settings.mlflow_uri]
    ports = OURS | {
        parts.port: "a server of the settings" for parts in map(urlsplit, filter(None, named)) if parts.port
    }
    try:
        listening = {c.laddr for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    except psutil.AccessDenied:
        yield ok("addresses", "this user may not see who listens at which address")
        return
    open_to_all = sorted((a.port, a.ip) for a in listening if a.port in ports and not is_loopback(a.ip))
    for port, ip in open_to_all:
        advice = "bind it to 127.0.0.1, or let a firewall or the container's network keep others out"
        yield warning("addresses", f"port {port} ({ports[port]}) listens at {ip}, not on loopback alone", advice)
    if not open_to_all:
        yield ok("addresses", "no server of ours listens to other machines")
