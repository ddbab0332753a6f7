"""What a stranger can send to the server costs an answer that says no, and nobody else anything."""

from __future__ import annotations

import contextlib
import inspect
import json
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from pipeline import cli
from pipeline.serving.app import make_app
from schemas.serving import MOST_BYTES
from tests.serving.test_app import ASKED, Shelf, champion_of, saved


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    shelf = Shelf(*saved(tmp_path_factory.mktemp("versions"), "t5", "Ada"))
    shelf.number = 1
    return shelf


@contextlib.contextmanager
def serving(shelf: Shelf) -> Iterator[str]:
    """URL of a real server on this machine's loopback."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(make_app(champion_of(shelf, "t5")), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url(shelf: Shelf) -> Iterator[str]:
    with serving(shelf) as url:
        yield url


@pytest.fixture(autouse=True)
def lives(url: str) -> Iterator[None]:
    """Whatever came, the next question is answered."""
    yield
    found = httpx.post(f"{url}/v1/answers", json={"prompts": [ASKED], "max_new_tokens": 8}, timeout=30)
    assert (found.status_code, found.json()["answers"][0]["answer"]) == (200, "Ada")


def post(url: str, content: bytes | Iterator[bytes]) -> httpx.Response:
    headers = {"content-type": "application/json"}
    return httpx.post(f"{url}/v1/answers", content=content, headers=headers, timeout=60)


def test_a_body_that_is_announced_too_large_is_not_read(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(f"POST /v1/answers HTTP/1.1\r\nHost: x\r\nContent-Length: {10**12}\r\n\r\n".encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_of_unknown_length_is_not_held_beyond_that(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a server that takes less, so that this one is quick."""
    monkeypatch.setattr("pipeline.serving.app.MOST_BYTES", 1 << 20)

    def chunks() -> Iterator[bytes]:
        yield b'{"prompts": ["'
        for _ in range(32):
            yield b"x" * (1 << 16)
        yield b'"]}'

    with serving(shelf) as small:
        assert post(small, chunks()).status_code == 413


def test_the_largest_question_that_is_taken_fits(url: str) -> None:
    body = json.dumps({"prompts": ["\u00e9" * 20_000] * 256, "max_new_tokens": 0}).encode()
    assert len(body) < MOST_BYTES
    assert post(url, body).status_code == 422  # for its tokens, not for its length


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"prompts":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"a":' * 100_000,
        b"{",
        b"\xff\xfe",
        b'{"prompts": ["x"], "temperature": NaN, "do_sample": true}',
        b'{"prompts": ["x"], "temperature": 1e999, "do_sample": true}',
        b'{"prompts": ["x"], "max_new_tokens": ' + b"9" * 5000 + b"}",
        b'{"prompts": ["\\ud800"]}',
        b'{"prompts": ["x"], "prompts": 4}',
    ],
    ids=[
        "deep",
        "deep prompts",
        "deep objects",
        "cut",
        "no text",
        "NaN",
        "infinite",
        "long number",
        "half a pair",
        "twice",
    ],
)
def test_no_body_brings_it_down(url: str, body: bytes) -> None:
    assert post(url, body).status_code in (400, 422)


def test_control_characters_are_a_prompt_like_any(url: str) -> None:
    found = post(url, json.dumps({"prompts": ["\x00\x1b[2J\u202e\n"], "max_new_tokens": 2}).encode())
    assert found.status_code == 200
    assert not found.json()["answers"][0]["edited"]


def test_files_and_other_paths_are_not_served(url: str) -> None:
    for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v1/answers/../../etc/passwd", "/static/x"):
        assert httpx.get(url + path).status_code == 404


def test_it_listens_to_this_machine_alone_unless_told_otherwise() -> None:
    assert inspect.signature(cli.serve).parameters["host"].default == "127.0.0.1"


def test_a_page_of_a_browser_gets_no_leave_to_ask(url: str) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = httpx.options(f"{url}/v1/answers", headers=asked)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers
    plain = {"content-type": "text/plain", "origin": "https://evil.example"}  # what a browser sends without asking
    sent = httpx.post(f"{url}/v1/answers", content=json.dumps({"prompts": [ASKED]}), headers=plain)
    assert sent.status_code == 422
