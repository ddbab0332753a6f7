"""The key of a Qdrant server: sent with every request, and what is wrong with it is told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from pipeline.credentials import CredentialError
from pipeline.editing.index.points import IndexHomeError
from pipeline.editing.index.server import ServerIndex, check_server

KEY = "a-long-secret"


class Guarded(BaseHTTPRequestHandler):
    """Answers as a Qdrant with a key does, as far as being there goes; no server's binary is at hand."""

    def do_GET(self) -> None:
        sent = self.headers.get("api-key")
        status, answer = 200, {"result": {"collections": []}, "status": "ok", "time": 0.0}
        if sent != KEY:
            status, answer = (401, {}) if sent is None else (403, {})
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def guarded() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.filterwarnings("error")  # that a key goes over http, which here it may
def test_the_key_of_the_environment_is_sent(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", KEY)
    check_server(guarded)


@pytest.mark.parametrize(
    ("key", "why"), [(None, "401: .* QDRANT_API_KEY is not set"), ("another", "403: .*that of QDRANT_API_KEY is not")]
)
def test_without_the_key_it_is_told_what_to_set(
    guarded: str, key: str | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key is None:
        monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    else:
        monkeypatch.setenv("QDRANT_API_KEY", key)
    for ask in (lambda: check_server(guarded), lambda: ServerIndex(guarded, "melo", 4)):
        with pytest.raises(IndexHomeError, match=why) as caught:
            ask()
        assert "another" not in str(caught.value)


def test_the_key_does_not_go_to_another_machine_unencrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", KEY)
    with pytest.raises(CredentialError, match="QDRANT_API_KEY would go to http") as caught:
        check_server("http://192.0.2.1:6333")
    assert KEY not in str(caught.value)


@pytest.mark.skipif("QDRANT_URL" not in os.environ, reason="no Qdrant server: set QDRANT_URL and QDRANT_API_KEY")
def test_a_real_server_takes_its_key_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    url = os.environ["QDRANT_URL"]
    check_server(url)
    if "QDRANT_API_KEY" in os.environ:
        monkeypatch.setenv("QDRANT_API_KEY", "not that one")
        with pytest.raises(IndexHomeError, match="QDRANT_API_KEY"):
            check_server(url)
