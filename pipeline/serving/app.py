"""The HTTP server: prompts in, answers and who spoke out.

POST /v1/answers   ``schemas.serving.Question`` -> ``Response``; with ``stream`` server-sent events
GET  /v1/version   what is served
GET  /health       200 while the process lives
GET  /ready        200 once a champion is loaded, 503 before and while the server ends
GET  /metrics      counts and times, in Prometheus's text format
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from queue import SimpleQueue
from threading import Thread
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi import Response as PlainResponse
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from transformers import TextStreamer

from pipeline import metrics
from pipeline.editing.edit import Route
from pipeline.serving.batching import NO_CHAMPION, Batcher, NotReadyError
from pipeline.serving.champion import Champion
from pipeline.serving.measures import Measures
from pipeline.serving.requests import ANSWERS, Requests, Told, told_of
from schemas.serving import MOST_BYTES, Answer, Question, Response, Version

STREAMS = 8
"""Answered token by token at the same time, each in a thread of its own; more wait."""


def make_app(champion: Champion, log_prompts: bool = False) -> FastAPI:
    """The application; its start loads the champion and its end answers what is still open.

    Args:
        champion: answers.
        log_prompts: whether the log has the prompts of each request.
    """
    measures = Measures(champion)
    batcher = Batcher(champion, measures.batch)
    measures.look(metrics.QUEUE, lambda: batcher.waiting)
    streams = asyncio.Semaphore(STREAMS)

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(champion.start)
        yield
        await asyncio.to_thread(batcher.close)
        await asyncio.to_thread(champion.close)

    app = FastAPI(title="melo", lifespan=living, max_body_size=MOST_BYTES)
    app.add_middleware(Requests, measures=measures, prompts=log_prompts)

    @app.exception_handler(RequestValidationError)
    async def refused(_: Request, error: RequestValidationError) -> PlainResponse:
        """What is wrong, without what came: that may be no number, no text, or very long."""
        problems = [{name: one[name] for name in ("loc", "msg", "type")} for one in error.errors()]
        return PlainResponse(json.dumps({"detail": problems}), 422, media_type="application/json")

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/ready")
    async def ready() -> JSONResponse:
        served = champion.served
        if served is None:
            return JSONResponse({"status": "no champion yet"}, status_code=503)
        return JSONResponse({"status": "ready", "version": served.number})

    @app.get("/v1/version")
    async def version() -> Version:
        served = champion.served
        if served is None:
            raise HTTPException(503, NO_CHAMPION)
        model = served.model
        return Version(version=served.number, digest=served.digest, edits=served.edits, task=model.backbone.task)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def measured() -> PlainTextResponse:
        return PlainTextResponse(measures.text(), media_type=CONTENT_TYPE_LATEST)

    @app.post(ANSWERS, response_model=Response)
    async def answers(question: Question, request: Request) -> Any:
        told = told_of(request)
        told.prompts, told.form = question.prompts, "stream" if question.stream else "whole"
        task = None if champion.served is None else champion.served.model.backbone.task
        if task == "classification" and (question.arguments or question.stream):
            raise HTTPException(422, "a classifier takes prompts alone: nothing of how to generate, and no stream")
        if question.stream:
            if len(question.prompts) != 1:
                raise HTTPException(422, f"{len(question.prompts)} prompts came, expected 1: a stream is of one answer")
            events = _events(champion, question, streams, measures, told)
            return StreamingResponse(events, media_type="text/event-stream")
        try:
            found = await asyncio.wrap_future(batcher.submit(question.prompts, question.arguments))
        except NotReadyError as error:
            raise HTTPException(503, str(error)) from error
        except ValueError as error:  # a prompt that cannot be tokenised, or what transformers makes of the parameters
            told.error = error
            raise HTTPException(422, str(error)) from error
        said = [_answer(text, route, found.edits) for text, route in found.answers]
        told.answered(found.number, said)
        return Response(version=found.number, digest=found.digest, answers=said)

    return app


def _answer(text: str, route: Route, edits: Mapping[str, str]) -> Answer:
    return Answer(
        answer=text,
        edited=route.block is not None,
        edit_id=route.edit_id,
        edit_prompt=edits.get(route.edit_id or ""),
        block=route.block,
        cluster=route.cluster,
        distance=route.distance,
        radius=route.radius,
    )


async def _events(
    champion: Champion, question: Question, streams: asyncio.Semaphore, measures: Measures, told: Told
) -> AsyncIterator[str]:
    """Pieces of the answer as they come, then the whole of it with who spoke, or the error."""
    with measures.streams.track_inprogress():
        async with streams:
            pieces = _pieces(champion, question, told)
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                yield f"data: {json.dumps(piece)}\n\n"


def _pieces(champion: Champion, question: Question, told: Told) -> Iterator[dict[str, Any]]:
    """Answers in a thread of its own, which holds the version to the end even where nobody listens any more."""
    pieces: SimpleQueue[dict[str, Any] | None] = SimpleQueue()

    def respond() -> None:
        try:
            with champion.held() as served:
                if served is None:
                    raise NotReadyError(NO_CHAMPION)
                model = served.model
                streamer = _Streamer(model.backbone.tokenizer, pieces)
                ((text, route),) = model.respond(question.prompts, streamer=streamer, **question.arguments)
                edits = {} if route.edit_id is None else {route.edit_id: model.records[route.edit_id].edit.prompt}
                version = {"version": served.number, "digest": served.digest}
                answer = _answer(text, route, edits)
                told.answered(served.number, [answer])
            pieces.put(version | answer.model_dump())
        except Exception as error:  # told to who asked
            told.error = error
            pieces.put({"error": str(error)})
        pieces.put(None)

    Thread(target=respond, name="stream", daemon=True).start()
    return iter(pieces.get, None)


class _Streamer(TextStreamer):
    """Puts text into a queue as it becomes final, instead of printing it."""

    def __init__(self, tokenizer: Any, pieces: SimpleQueue[dict[str, Any] | None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._pieces = pieces

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._pieces.put({"piece": text})
