"""An MLflow server that wants to know who asks: those whom it knows get in, the others are told what to set."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pipeline.credentials import CredentialError
from pipeline.doctor.examination import within
from pipeline.doctor.servers import mlflow
from pipeline.registry.store import RegistryError, connect
from pipeline.registry.tracking import Registry
from pipeline.settings import Settings
from tests.registry.conftest import Version, serving

USER, PASSWORD = "melo", secrets.token_urlsafe(24)
SENT = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real server with its basic-auth app."""
    pytest.importorskip("flask_wtf", reason="MLflow's basic-auth app needs flask-wtf")
    home = tmp_path_factory.mktemp("guarded")
    lines = ["[mlflow]", "default_permission = NO_PERMISSIONS", f"database_uri = sqlite:///{home}/users.db"]
    lines += [f"admin_username = {USER}", "authorization_function = mlflow.server.auth:authenticate_request_basic_auth"]
    (home / "auth.ini").write_text("\n".join(lines))
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(home / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
    }
    with serving(home, environment, "--app-name", "basic-auth") as url:
        yield url


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SENT:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.slow
def test_who_is_known_registers_and_reads(
    guarded: str, versions: list[Version], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SENT[0], USER)
    monkeypatch.setenv(SENT[1], PASSWORD)
    registry = Registry(guarded, "ours", tmp_path)
    number = registry.register(**versions[0].arguments())
    registry.promote(number, "somebody", "it was right", {})
    champion = registry.champion()
    assert champion is not None
    assert champion.digest == versions[0].digest  # fetched, with the same password


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({}, "no password or token is set"),
        ({SENT[0]: USER}, "no password or token is set"),
        ({SENT[0]: USER, SENT[1]: "not that one"}, "what MLFLOW_TRACKING_PASSWORD holds is not accepted"),
        ({SENT[2]: "not that one"}, "what MLFLOW_TRACKING_TOKEN holds is not accepted"),
    ],
)
def test_who_is_not_known_is_told_what_to_set(
    guarded: str, environment: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    start = time.monotonic()
    with pytest.raises(RegistryError, match=f"MLflow at {guarded} .*{why}.*MLFLOW_TRACKING_USERNAME and") as caught:
        connect(guarded)
    assert time.monotonic() - start < 10
    assert "not that one" not in str(caught.value)


@pytest.mark.slow
def test_the_doctor_is_one_of_them(guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path, mlflow_uri=guarded, name="examined")
    (refused,) = within("mlflow", mlflow, settings, 60)
    assert (refused.state, "MLFLOW_TRACKING_USERNAME" in refused.told) == ("problem", True)
    monkeypatch.setenv(SENT[0], USER)
    monkeypatch.setenv(SENT[1], PASSWORD)
    first = [(each.part, each.state) for each in within("mlflow", mlflow, settings, 60)]
    assert first == [("mlflow", "ok"), ("champion", "ok")]  # none yet, and none was made by looking
    Registry(guarded, "examined", tmp_path)
    then = {each.part: each.state for each in within("mlflow", mlflow, settings, 60)}
    assert then == dict.fromkeys(("mlflow", "artifacts", "champion", "candidate"), "ok")


@pytest.mark.slow
def test_who_may_not_is_told_so(guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SENT[0], USER)
    monkeypatch.setenv(SENT[1], PASSWORD)
    Registry(guarded, "closed", tmp_path)  # the administrator's
    made = {"username": "guest", "password": "a-guest-who-reads-nothing"}
    url = f"{guarded}/api/2.0/mlflow/users/create"
    assert requests.post(url, json=made, auth=(USER, PASSWORD), timeout=10).ok
    monkeypatch.setenv(SENT[0], made["username"])
    monkeypatch.setenv(SENT[1], made["password"])
    with pytest.raises(RegistryError, match=r"guest may not do that \(403\)"):
        Registry(guarded, "closed", tmp_path)


def test_a_password_does_not_go_to_another_machine_unencrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CredentialError, match="its password would go to http"):
        connect("http://me:word@192.0.2.1:5000")
    monkeypatch.setenv(SENT[1], "word")
    with pytest.raises(CredentialError, match="MLFLOW_TRACKING_PASSWORD would go to http"):
        connect("http://192.0.2.1:5000")
