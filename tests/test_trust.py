"""Lists of places: whatever a name looks like, what counts is where it leads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.sources import files, read
from pipeline.trust import TrustError, check_models, covered

ROW = '{"prompt": "p", "target": "t"}\n'


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    for name in ("drop/a.jsonl", "drop/deep/b.jsonl", "secret/c.jsonl", "drop-of-another/d.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(ROW)
    return tmp_path / "drop"


@pytest.mark.parametrize(
    ("place", "pattern", "holds"),
    [
        ("/data/drop/a.jsonl", "/data/drop", True),
        ("/data/drop/a.jsonl", "/data/drop/", True),
        ("/data/drop-of-another/a.jsonl", "/data/drop", False),
        ("/data/x/reports/a.jsonl", "/data/*/reports", True),
        ("/data/x/y/reports/a.jsonl", "/data/*/reports", False),
        ("/data/secret/a.jsonl", "/data/*.jsonl", False),
        ("https://host/reports/a.jsonl", "https://host/reports", True),
        ("https://host.evil/reports/a.jsonl", "https://host/reports", False),
        ("https://evil/https://host/reports", "https://host/reports", False),
        ("google/t5-small", "google/*", True),
        ("google-evil/t5-small", "google/*", False),
    ],
)
def test_a_pattern_covers_a_place_and_what_lies_in_it(place: str, pattern: str, holds: bool) -> None:
    assert covered(place, [pattern]) is holds


def test_a_source_that_is_listed_is_read(drop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(files(str(drop), [str(drop)])) == len(files(f"file://{drop}", ["/nowhere", f"{drop}"])) == 2
    assert len(files(str(drop / "a.jsonl"), [f"{drop}/*.jsonl"])) == 1
    monkeypatch.chdir(drop.parent)
    assert len(files("drop", ["drop"])) == 2
    assert len(files(str(drop), [])) == 2


@pytest.mark.parametrize(
    "source", ["secret", "drop/../secret", "drop-of-another", "drop/deep/../../secret/c.jsonl", "link", "link/c.jsonl"]
)
def test_neither_dots_nor_links_lead_out_of_the_list(source: str, drop: Path) -> None:
    (drop.parent / "link").symlink_to(drop.parent / "secret")
    for name in (f"{drop.parent}/{source}", f"file://{drop.parent}/{source}", f"local://{drop.parent}/{source}"):
        with pytest.raises(TrustError, match="MELO_TRUST__SOURCES"):
            files(name, [str(drop)])
        with pytest.raises(TrustError):
            read(name, allowed=[str(drop)])


def test_links_in_a_listed_folder_are_told_and_lead_nowhere(drop: Path) -> None:
    (drop / "link.jsonl").symlink_to(drop.parent / "secret" / "c.jsonl")
    (drop / "folder").symlink_to(drop.parent / "secret")
    found = {Path(file.name).name: file.regular for file in files(str(drop), [str(drop)])}
    assert found == {"a.jsonl": True, "b.jsonl": True, "link.jsonl": False, "folder": False}


def test_a_listed_link_leads_where_it_leads(drop: Path) -> None:
    (drop.parent / "link").symlink_to(drop)
    assert len(files(f"{drop.parent}/link", [f"{drop.parent}/link"])) == 2


@pytest.mark.parametrize("source", ["simplecache::file://{}", "zip://a.jsonl::file://{}/a.zip", "reference::{}"])
def test_a_chain_of_urls_is_not_held_against_the_list(source: str, drop: Path) -> None:
    with pytest.raises(TrustError, match="chain"):
        files(source.format(drop), [str(drop)])


class _Counting(SimpleHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 (the server makes a handler for every request)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/drop/elsewhere/"):
            self.send_response(int(self.path.rpartition("/")[2].partition(".")[0]))
            self.send_header("Location", "/secret/c.jsonl?sig=KEY")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()

    do_HEAD = do_GET  # noqa: N815 (the base class's name)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def web(drop: Path) -> Iterator[str]:
    _Counting.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Counting, directory=str(drop.parent)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_asked_for_nothing_unless_it_is_listed(web: str) -> None:
    allowed = [f"{web}/drop"]
    assert [file.name for file in files(f"{web}/drop/a.jsonl", allowed)] == [f"{web}/drop/a.jsonl"]
    _Counting.asked.clear()
    port = web.rpartition(":")[2]
    for source in (
        f"{web}/secret/c.jsonl",
        f"{web}/drop/%2e%2e/secret/c.jsonl",
        f"{web}/drop/..%2fsecret/c.jsonl",
        f"{web}/drop/../secret/c.jsonl",
        f"http://127.0.0.1:{port}@localhost:{port}/drop/a.jsonl",
        f"http://localhost:{port}/drop/a.jsonl",
    ):
        with pytest.raises(TrustError):
            files(source, allowed)
    assert _Counting.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_listed_server_sends_nobody_to_a_place_that_is_not(status: int, web: str) -> None:
    with pytest.raises(TrustError, match=f"sends on to {web}/secret/c.jsonl\\.") as refused:
        files(f"{web}/drop/elsewhere/{status}.jsonl", [f"{web}/drop"])
    assert not [path for path in _Counting.asked if path.startswith("/secret")]
    assert "KEY" not in str(refused.value)
    (followed,) = files(f"{web}/drop/elsewhere/{status}.jsonl")  # where nothing is listed, all is trusted
    with followed.open() as content:
        assert content.read() == ROW.encode()


def test_models_are_listed_by_folder_and_by_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "t5").mkdir(parents=True)
    (tmp_path / "evil").mkdir()
    (tmp_path / "models" / "link").symlink_to(tmp_path / "evil")
    allowed = [f"{tmp_path}/models", "google/*", "minilm"]
    check_models([tmp_path / "models" / "t5", "google/t5-small", "minilm", None], allowed)
    check_models(["/anything"], [])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "google" / "t5-small").mkdir(parents=True)  # stands before the hub's when it is loaded
    for name in (
        "evil",
        f"{tmp_path}/models/../evil",
        f"{tmp_path}/models/link",
        "gpt2",
        "google/t5-small",
        "./minilm",
    ):
        with pytest.raises(TrustError, match="MELO_TRUST__MODELS"):
            check_models([name], allowed)
    os.rmdir(tmp_path / "google" / "t5-small")
    check_models(["google/t5-small"], allowed)
