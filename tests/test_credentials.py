"""Secrets: from the environment alone, never shown, never unencrypted to another machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.credentials import CredentialError, check_way, is_loopback, shown
from pipeline.secret_fields import SecretError
from pipeline.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost", "db.localhost"])
def test_what_stays_on_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "qdrant", "localhost.example.org", "", "::"])
def test_what_leaves_it(host: str) -> None:
    assert not is_loopback(host)


def test_a_key_goes_over_plain_http_to_this_machine_alone() -> None:
    check_way("http://127.0.0.1:6333", "KEY", False)
    check_way("http://[::1]:6333", "KEY", False)
    check_way("https://qdrant.example.org", "KEY", False)
    check_way("http://qdrant:6333", "KEY", True)
    with pytest.raises(CredentialError, match=r"KEY would go to http://qdrant:6333 unencrypted.*MELO_PLAIN_HTTP"):
        check_way("http://user:word@qdrant:6333", "KEY", False)


def test_what_is_shown_has_no_passwords() -> None:
    assert shown("at http://me:secret@host/path and s3://key@bucket") == "at http://host/path and s3://bucket"


def test_the_key_comes_from_the_environment_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "very-secret")
    settings = Settings()
    assert settings.qdrant_api_key is not None
    assert settings.qdrant_api_key.get_secret_value() == "very-secret"
    assert "very-secret" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize("name", ["qdrant_api_key", "QDRANT_API_KEY"])
def test_a_file_with_a_key_is_refused_and_the_key_not_shown(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "melo.yaml").write_text(f"{name}: very-secret")
    monkeypatch.setenv("MELO_CONFIG", str(tmp_path / "melo.yaml"))
    with pytest.raises(SecretError, match=r"melo\.yaml: \w+ holds a secret.*set QDRANT_API_KEY") as caught:
        Settings()
    assert "very-secret" not in str(caught.value)


def test_the_command_line_says_so_plainly(tmp_path: Path) -> None:
    (tmp_path / "melo.yaml").write_text("qdrant_api_key: very-secret")
    environment = os.environ | {"MELO_CONFIG": str(tmp_path / "melo.yaml"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "pipeline.cli", "run"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("error: ")
    assert "very-secret" not in done.stderr
