"""One look at everything, each with a bound on its time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread

from pipeline.doctor import home, material, servers
from pipeline.doctor.configuration import read_settings
from pipeline.doctor.finding import Finding, Look, problem
from pipeline.errors import MeloError
from pipeline.settings import Settings

LOOKS: tuple[tuple[str, Look, float], ...] = (
    ("packages", material.packages, 10),
    ("home", home.writable, 10),
    ("journal", home.journal, 30),
    ("backbone", material.backbone, 60),
    ("encoder", material.encoder, 60),
    ("reports", material.reports, 30),
    ("ray", servers.ray, 60),
    ("mlflow", servers.mlflow, 120),
    ("qdrant", servers.qdrant, 30),
    ("addresses", servers.addresses, 10),
)
"""What is looked at, in the order in which it is shown, and the seconds that each may take."""


def examine(serve: str) -> Iterator[Finding]:
    """All findings, as they come.

    Args:
        serve: URL at which ``melo serve`` would be.
    """
    settings, found = read_settings()
    yield from found
    if settings is None:
        return
    last: tuple[str, Look, float] = ("serve", partial(servers.serving, url=serve), 60)
    for part, look, seconds in (*LOOKS, last):
        yield from within(part, look, settings, seconds)


def within(part: str, look: Look, settings: Settings, seconds: float) -> Iterator[Finding]:
    """What a look finds in its time; what it raises, and that it took too long, are problems."""
    found: SimpleQueue[Finding | None] = SimpleQueue()

    def work() -> None:
        try:
            for finding in look(settings):
                found.put(finding)
        except MeloError as error:  # says itself what to do
            found.put(problem(part, str(error), ""))
        except Exception as error:  # whatever is wrong, the other looks go on
            cause = " ".join(str(error).split())
            found.put(problem(part, f"{type(error).__name__}: {cause}", "remove the cause, and look again"))
        found.put(None)

    Thread(target=work, name=f"doctor-{part}", daemon=True).start()
    while True:
        try:
            finding = found.get(timeout=seconds)
        except Empty:
            yield problem(
                part, f"no answer in {seconds:.0f} s", "is what it waits for overloaded, or behind a firewall?"
            )
            return
        if finding is None:
            return
        yield finding
