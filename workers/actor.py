"""What every actor does besides its work: it tells in its log who it is, and in which night it works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from structlog.contextvars import bind_contextvars

from pipeline.logs import LOG, Form, configure, log_to


def kind_of(worker: type) -> str:
    """How an actor's class is called in metrics and logs: ``trainer`` for ``TrainerWorker``."""
    return worker.__name__.removesuffix("Worker").lower()


class Actor:
    """Base of our actors."""

    def introduce(self, name: str, form: Form, folder: Path | None, fields: dict[str, Any]) -> None:
        """Called before any work.

        Args:
            name: of the actor; its successor's, too.
            form: of its lines on stderr, which Ray keeps in files.
            folder: of the night; the actor's lines go to a file of its own there, if this node has the folder.
            fields: that every line has.
        """
        configure(form, told=True)
        bind_contextvars(actor=name, **fields)
        if folder is not None and folder.is_dir():
            log_to(folder / f"log-{name}.jsonl")
        LOG.info("actor begins")
