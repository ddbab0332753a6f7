"""The files of infra/ and the cluster launcher's are what their own tools take."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.settings import Settings
from tests.infra.names import exists, is_secret

ROOT = Path(__file__).resolve().parents[2]
NIGHTLY = ROOT / "infra" / "nightly"


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    lines = [line for line in (NIGHTLY / name).read_text().splitlines() if not line.startswith("SystemCallFilter=~")]
    parser.read_string("\n".join(lines))  # the only name that is given twice
    return parser


def test_the_timer_catches_up_and_the_service_runs_once() -> None:
    timer, service = unit("melo.timer"), unit("melo.service")
    assert timer["Timer"]["Persistent"] == "true"
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert service["Service"]["Type"] == "oneshot"
    assert service["Service"]["ExecStart"].endswith("/melo run")
    assert service["Service"]["SuccessExitStatus"] == "3"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_timer() -> None:
    subprocess.run(["systemd-analyze", "verify", "--man=no", str(NIGHTLY / "melo.timer")], check=True, timeout=60)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", ["melo.service", "melo-serve.service"])
def test_systemd_takes_the_services_and_finds_them_guarded(name: str, tmp_path: Path) -> None:
    here = (NIGHTLY / name).read_text().replace("/opt/melo/.venv/bin/melo", sys.executable)  # must be there
    (tmp_path / name).write_text(here)
    taken = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True, timeout=60
    )
    assert (taken.returncode, taken.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=30", str(tmp_path / name)]
    judged = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert judged.returncode == 0, judged.stdout[-200:]  # at most 3 of 10


def test_the_server_listens_to_this_machine_and_ends_when_all_is_answered() -> None:
    service = unit("melo-serve.service")["Service"]
    assert "melo serve --host 127.0.0.1 --port 8100" in service["ExecStart"]
    assert (service["Restart"], service["KillSignal"]) == ("on-failure", "SIGTERM")
    assert service["EnvironmentFile"] == unit("melo.service")["Service"]["EnvironmentFile"]


def test_the_environment_file_names_settings_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.lstrip("#") for line in (NIGHTLY / "melo.env").read_text().splitlines() if "=" in line]
    named = dict(line.split("=", 1) for line in lines if line.split("=", 1)[0].isupper() or "__" in line)
    assert {"MELO_HOME", "MELO_BACKBONE", "MELO_REPORTS", "RAY_ADDRESS"} <= named.keys()
    assert [name for name in named if not exists(name)] == []
    assert [name for name, value in named.items() if is_secret(name) and value and not value.startswith("/")] == []
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert str(settings.home) == named["MELO_HOME"]
    assert settings.reports == named["MELO_REPORTS"]
    assert settings.gate.success == float(named["MELO_GATE__SUCCESS"])
    assert (settings.ray_address, settings.qdrant_url) == (named["RAY_ADDRESS"], named["QDRANT_URL"])
    assert settings.tracking_uri == named["MLFLOW_TRACKING_URI"]


def test_ray_takes_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    cluster = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    validate_config(prepare_config(cluster))
    kinds = cluster["available_node_types"]
    assert cluster["head_node_type"] in kinds
    assert {"evaluator", "trainer"} <= kinds.keys()


def test_what_the_crontab_runs_is_a_command_of_ours() -> None:
    (line,) = [line for line in (NIGHTLY / "crontab").read_text().splitlines() if not line.startswith("#")]
    minute, hour, *rest = line.split(maxsplit=6)
    assert (minute, hour, rest[:4]) == ("0", "2", ["*", "*", "*", "melo"])
    assert "melo run" in rest[-1]
