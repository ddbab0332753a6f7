"""A store that cannot be used is an error within seconds, by its name."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.registry import store
from pipeline.registry.store import RegistryError, asking, connect
from pipeline.registry.tracking import Registry


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits a fifth as long as usual."""
    monkeypatch.setattr(store, "SECONDS", store.SECONDS / 5)


@pytest.fixture
def silent() -> Iterator[str]:
    """URL of a server that takes connections and never answers; the user name and the password go unheard."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://somebody:secret@127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def another() -> Iterator[str]:
    """URL of a web server that is not MLflow."""

    class NotFound(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), NotFound) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


def test_a_dead_server_is_named_within_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(RegistryError, match=rf"no MLflow server answers at http://127.0.0.1:{port} .*start it"):
        Registry(f"http://127.0.0.1:{port}", "melo", tmp_path)
    assert time.monotonic() - began < 5


def test_a_server_that_dies_later_is_named_within_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    client = MlflowClient(url, registry_uri=url)  # as ``connect`` made it while the server was there
    began = time.monotonic()
    with pytest.raises(RegistryError, match=f"MLflow at {url} could not show it"), asking(url, "show it"):
        client.search_registered_models()
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("impatient")
def test_a_silent_server_is_named_within_seconds_and_its_password_is_not(silent: str, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(RegistryError, match=r"no MLflow server answers at http://127\.0\.0\.1:") as caught:
        Registry(silent, "melo", tmp_path)
    assert time.monotonic() - began < 5
    assert "secret" not in str(caught.value)


def test_another_web_server_is_told_apart(another: str) -> None:
    with pytest.raises(RegistryError, match="answered 404, expected 200: is that MLflow"):
        connect(another)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("sqlite:///mlflow.db", "not absolute: expected sqlite:////"),
        ("sqlite://", "not absolute"),
        ("mlruns", "expected sqlite:////absolute/path/mlflow.db or an http"),
        ("ftp://127.0.0.1/mlflow", "expected sqlite"),
    ],
)
def test_other_addresses_are_refused(uri: str, message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        connect(uri)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"not a database at all" * 100)
    began = time.monotonic()
    with pytest.raises(RegistryError, match=r"mlflow\.db cannot be opened for writing: file is not a database"):
        connect(f"sqlite:///{file}")
    assert time.monotonic() - began < 5


def test_a_database_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryError, match=r"file/mlflow\.db cannot be opened"):
        connect(f"sqlite:///{tmp_path}/file/mlflow.db")


@pytest.mark.usefixtures("impatient")
def test_a_database_that_somebody_holds_is_named_within_seconds(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    holder = sqlite3.connect(file)
    holder.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    with pytest.raises(RegistryError, match="database is locked"):
        connect(f"sqlite:///{file}")
    assert time.monotonic() - began < 5
    holder.close()


@pytest.mark.slow
def test_processes_may_make_the_tables_at_once(tmp_path: Path) -> None:
    code = "import sys; from pipeline.registry.store import connect; connect(sys.argv[1])"
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path}/mlflow.db"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors


@pytest.mark.parametrize("name", ["", "a b", "o'clock", "../up", "x" * 101])
def test_names_that_would_be_misread_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no name for a registered model"):
        Registry(f"sqlite:///{tmp_path}/mlflow.db", name, tmp_path)
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("error", [MlflowException("no such thing\nat all"), OSError(28, "No space left on device")])
def test_failures_name_the_store_and_what_was_asked(error: Exception) -> None:
    with (
        pytest.raises(
            RegistryError, match=r"MLflow at http://h could not do it: .*(no such thing|No space left)"
        ) as it,
        asking("http://user:secret@h", "do it"),
    ):
        raise error
    assert it.value.__cause__ is error and "\n" not in str(it.value)
