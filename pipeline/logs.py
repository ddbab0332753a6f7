"""Structured logs: one event a line, with the run and the edit that it is about.

An event has a time (UTC), a level, a name, and whatever it is about: ``night``, ``step``, ``actor``, ``edit_id``. It
goes where standard logging leads it: to the folder of the night that it happened in, as JSON, and to stderr, as JSON
or as text. What strangers sent is a value, escaped, and never a line or a name.

``LOG`` tells; everything else that is logged, by whatever package, comes out in the same form as an event ``log``.
"""

from __future__ import annotations

import atexit
import json
import logging
import math
import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.processors import ExceptionRenderer, JSONRenderer, KeyValueRenderer, TimeStamper
from structlog.stdlib import ProcessorFormatter, add_log_level
from structlog.tracebacks import ExceptionDictTransformer

Event = MutableMapping[str, Any]
Form = Literal["text", "json"]

NIGHT_LOG = "log.jsonl"
"""In a night's folder: its events, those of every attempt after a crash one after the other. Actors have their own."""

NAME = "melo"
OURS = (NAME, "pipeline", "workers", "uvicorn")
"""Loggers that tell what is going on, not only what is wrong."""

_folder: ContextVar[Path | None] = ContextVar("night_folder", default=None)

about = bound_contextvars
"""Within it every event has these fields."""


def _ordered(_: Any, __: str, event: Event) -> Event:
    """When, how bad, what, and in which run first."""
    first = {name: event.pop(name) for name in ("time", "level", "event", "night", "step", "actor") if name in event}
    return {**first, **event}


def _foreign(_: Any, __: str, event: Event) -> Event:
    """A line of a package that knows no events."""
    record: logging.LogRecord = event["_record"]
    event["message"], event["event"], event["logger"] = event["event"], "log", record.name
    return event


def _json(value: Any, **options: Any) -> str:
    """On one line whatever it holds; JSON knows no numbers that are not finite, so these are null."""
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


_STAMP = (merge_contextvars, add_log_level, TimeStamper("iso", utc=True, key="time"))
_STRUCTURED = ExceptionRenderer(ExceptionDictTransformer(show_locals=False, use_rich=False))  # locals hold prompts

LOG: structlog.stdlib.BoundLogger = structlog.wrap_logger(
    logging.getLogger(NAME),
    processors=[structlog.stdlib.filter_by_level, *_STAMP, ProcessorFormatter.wrap_for_formatter],
    wrapper_class=structlog.stdlib.BoundLogger,
)
"""Tells events: ``LOG.info("admitted", edit_id=...)``."""
logging.getLogger(NAME).setLevel(logging.INFO)


def _formatter(form: Form) -> ProcessorFormatter:
    render = JSONRenderer(_json) if form == "json" else KeyValueRenderer()
    return ProcessorFormatter(
        foreign_pre_chain=[*_STAMP, _foreign],
        processors=[ProcessorFormatter.remove_processors_meta, _STRUCTURED, _ordered, render],
    )


def configure(form: Form, told: bool = False, stream: TextIO | None = None) -> None:
    """Sends what is logged in this process to stderr.

    Args:
        form: of the lines.
        told: whether text has the events too. Where a ``Teller`` tells a person, it has not.
        stream: in place of stderr.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(form))
    handler.name = NAME
    if form == "text" and not told:
        handler.addFilter(lambda record: record.levelno >= logging.WARNING)
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.name == NAME]:
        root.removeHandler(old)
    root.addHandler(handler)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    if form == "json":
        sys.excepthook = _uncaught
        logging.captureWarnings(True)


def all_of_stderr() -> TextIO:
    """Makes every line that anything in this process writes to stderr, libraries in C++ too, an event ``printed``.

    Returns:
        What writes to the stderr that was there before: for ``configure``.
    """
    real = os.fdopen(os.dup(2), "w", encoding="utf-8")
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)

    def pass_on() -> None:
        with os.fdopen(reading, encoding="utf-8", errors="backslashreplace") as lines:
            for line in lines:
                if line.strip():
                    LOG.info("printed", message=line.rstrip())

    reader = Thread(target=pass_on, name="stderr", daemon=True)
    reader.start()

    def end() -> None:
        sys.stderr.flush()
        os.dup2(real.fileno(), 2)  # the last end that writes to the pipe, unless a child has one
        reader.join(timeout=1)

    atexit.register(end)
    return real


@contextmanager
def night_log(folder: Path) -> Iterator[None]:
    """Within it, what is logged in this process goes to a night's folder, too."""
    handler = log_to(folder / NIGHT_LOG)
    before = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(before)
        logging.getLogger().removeHandler(handler)
        handler.close()


def night_folder() -> Path | None:
    """The folder that ``night_log`` leads to, within it."""
    return _folder.get()


def log_to(path: Path) -> logging.Handler:
    """What is logged in this process goes to a file as well, as JSON, after what is there."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_formatter("json"))
    logging.getLogger().addHandler(handler)
    return handler


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    LOG.critical("failed", exc_info=(kind, error, trace))
