"""Requests end somewhere: a body that is larger than any question is refused before it is held in memory."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Answers 413 to requests with too large a body, by its announced length or as soon as more has come.

    Args:
        app: gets the others.
        most: bytes.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        came, begun = 0, False
        if announced.isdigit() and int(announced) > self._most:
            await self._refuse(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._most:
                raise _TooLargeError
            return message

        async def told(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, counted, told)
        except _TooLargeError:
            if not begun:
                await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        told = JSONResponse({"detail": f"a body of more than {self._most} bytes came"}, 413, {"connection": "close"})
        await told(scope, receive, send)


class _TooLargeError(Exception):
    pass
