"""One line a request: its id, how it ended, who spoke and how long it took; and the counts that ``/metrics`` has.

The id comes back as the header ``X-Request-ID``: the client's own, if it sent one that is plain, or a fresh one.
Prompts are not written down unless the settings say so: they may hold what is personal.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.logs import LOG
from pipeline.serving.measures import Measures
from schemas.serving import Answer

ANSWERS = "/v1/answers"
REQUEST_ID = "X-Request-ID"
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_PROBES = frozenset(("/metrics", "/health", "/ready"))
"""Asked every few seconds by machines: their lines would bury the others."""
CLOSED = 499
"""Status of a request whose client went away."""


@dataclass(slots=True)
class Told:
    """What an endpoint tells of its request.

    Attributes:
        request_id: its id.
        form: ``whole`` or ``stream``.
        version: number of the version that answered.
        prompts: as they came.
        edits: ids of the edits that spoke, for each of these prompts; None where the backbone did.
        error: why it was not answered. Its text may repeat a prompt, so without prompts the log has its kind alone.
    """

    request_id: str
    form: str = "whole"
    version: int | None = None
    prompts: list[str] = field(default_factory=list)
    edits: list[str | None] = field(default_factory=list)
    error: Exception | None = None

    def answered(self, version: int, answers: list[Answer]) -> None:
        """By a version, so."""
        self.version = version
        self.edits = [answer.edit_id if answer.edited else None for answer in answers]


def told_of(request: Request) -> Told:
    """Where the endpoint of a request tells of it."""
    told: Told = request.scope["told"]
    return told


class Requests:
    """ASGI middleware around the application.

    Args:
        app: the application.
        measures: counts.
        prompts: whether lines have the prompts.
    """

    def __init__(self, app: ASGIApp, measures: Measures, prompts: bool) -> None:
        self._app = app
        self._measures = measures
        self._with_prompts = prompts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), CLOSED
        sent = Headers(scope=scope).get(REQUEST_ID, "")
        told = scope["told"] = Told(sent if _PLAIN.fullmatch(sent) else uuid.uuid4().hex)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = told.request_id
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:
            status = CLOSED
            raise
        except Exception:
            LOG.exception("failed", request_id=told.request_id)
            if status == CLOSED:  # nothing was sent yet
                detail = f"this is our fault; the log tells more of request {told.request_id}"
                await JSONResponse({"detail": detail}, 500)(scope, receive, watched)
        finally:
            self._tell(scope, told, status, time.perf_counter() - start)

    def _tell(self, scope: Scope, told: Told, status: int, seconds: float) -> None:
        if scope["path"] == ANSWERS:
            self._measures.request(status, told.form, seconds)
            spoke = sum(edit is not None for edit in told.edits)
            self._measures.spoke(spoke, len(told.edits) - spoke)
        elif scope["path"] in _PROBES:
            return
        line = {"method": scope["method"], "path": scope["path"], "status": status, "seconds": round(seconds, 6)}
        if told.version is not None:
            line["version"] = told.version
            line["edit_ids"] = list(dict.fromkeys(edit for edit in told.edits if edit is not None))
        if told.prompts:
            line["prompts"] = told.prompts if self._with_prompts else len(told.prompts)
        if told.error is not None:
            line["error"] = str(told.error) if self._with_prompts else type(told.error).__name__
        LOG.info("request", request_id=told.request_id, form=told.form, **line)
