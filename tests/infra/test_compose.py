"""The compose file by the specification's schema, and by what a careful operator asks of it."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cli import app
from tests.infra.names import exists, is_secret

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra" / "compose"
VARIABLE = re.compile(r"\$\{(\w+)(:\?[^}]*)?\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return found


def test_the_specifications_schema_takes_it() -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    command = [str(tool), "--builtin-schema", "vendor.compose-spec", str(FOLDER / "compose.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def has_compose() -> bool:
    """Whether the docker command is there, with its plugin."""
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="docker has no compose plugin here")
def test_docker_takes_it(tmp_path: Path) -> None:
    filled = [f"{line}x" if line.endswith("=") else line for line in (FOLDER / ".env.example").read_text().splitlines()]
    (tmp_path / "env").write_text("\n".join(filled))
    command = ["docker", "compose", "--env-file", str(tmp_path / "env"), "--profile", "night", "config", "--quiet"]
    subprocess.run(command, cwd=FOLDER, check=True, timeout=60)


def test_every_published_port_is_on_loopback(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert len(published) == 4
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)
    assert all(service.get("network_mode") != "host" for service in compose["services"].values())


def test_every_variable_is_read_by_something_and_no_secret_stands_there(compose: dict[str, Any]) -> None:
    named = [pair for service in compose["services"].values() for pair in service["environment"].items()]
    assert {"MELO_BACKBONE", "QDRANT_API_KEY", "RAY_AUTH_TOKEN"} <= {name for name, _ in named}
    for name, value in named:
        assert exists(name), name
        if is_secret(name):
            assert VARIABLE.fullmatch(value), f"{name} is written down, expected ${{...}}"
    assert not re.search(r"://[^/\s$]+:[^/\s]+@", (FOLDER / "compose.yaml").read_text())


def test_the_example_of_env_names_what_is_asked_for_and_holds_no_secret() -> None:
    lines = [line for line in (FOLDER / ".env.example").read_text().splitlines() if "=" in line and line[0] != "#"]
    given = dict(line.split("=", 1) for line in lines)
    asked = VARIABLE.findall((FOLDER / "compose.yaml").read_text())
    assert {name for name, _ in asked} == given.keys()
    assert all(must for _, must in asked)  # nothing starts with an empty password
    assert [name for name in given if is_secret(name) and given[name]] == []


def test_images_have_versions_and_containers_few_rights(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        tag = service["image"].rpartition(":")[2]
        assert re.match(r"v?\d+\.\d+", tag), f"{name}: {service['image']}"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "healthcheck" in service or name == "night"
        assert set(service.get("depends_on", {})) <= compose["services"].keys()
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or source.startswith("$") or (FOLDER / source).is_file()


def test_what_is_run_are_commands_with_options_that_exist(compose: dict[str, Any]) -> None:
    from typer.main import get_command

    commands = get_command(app).commands  # type: ignore[attr-defined]
    ours = [service["command"] for service in compose["services"].values() if service.get("command", [""])[0] == "melo"]
    assert [command[1] for command in ours] == ["serve", "submit"]
    for _, name, *options in ours:
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {option.partition("=")[0] for option in options} <= known


def test_mlflow_wants_users_and_shows_them_nothing_by_itself() -> None:
    auth = configparser.ConfigParser()
    auth.read_string((FOLDER / "mlflow-auth.ini").read_text())
    assert auth["mlflow"]["default_permission"] == "NO_PERMISSIONS"
    assert "admin_password" not in auth["mlflow"]
    assert (FOLDER / "mlflow-auth.ini").read_text() == (ROOT / "infra/kubernetes/mlflow-auth.ini").read_text()


def test_the_linter_of_dockerfiles_takes_ours() -> None:
    tool = Path(sys.executable).with_name("hadolint")
    linted = subprocess.run([str(tool), str(FOLDER / "Dockerfile")], capture_output=True, text=True, timeout=60)
    assert linted.returncode == 0, linted.stdout


def test_images_run_as_nobody_of_rank_and_are_made_of_what_is_there(compose: dict[str, Any]) -> None:
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    stages = [line.split(" AS ")[1] for line in lines if line.startswith("FROM ")]
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    targets = {service["build"]["target"] for service in compose["services"].values() if "build" in service}
    assert targets <= set(stages)
    assert len(users) == len(targets)
    assert "0" not in users
    allowed = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = {
        name for line in lines if line.startswith("COPY ") and "--from" not in line for name in line.split()[1:-1]
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    assert not any(is_secret(line.upper()) for line in lines if line.startswith(("ENV ", "ARG ")))
