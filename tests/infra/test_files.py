"""The files of infra/ and the cluster launcher's are what their own tools take."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
NIGHTLY = ROOT / "infra" / "nightly"


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((NIGHTLY / name).read_text())
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


def test_the_environment_file_names_settings_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.lstrip("#") for line in (NIGHTLY / "melo.env").read_text().splitlines() if "=" in line]
    named = dict(line.split("=", 1) for line in lines if line.split("=", 1)[0].isupper() or "__" in line)
    assert {"MELO_HOME", "MELO_BACKBONE", "MELO_REPORTS", "RAY_ADDRESS"} <= named.keys()
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert str(settings.home) == named["MELO_HOME"]
    assert settings.reports == named["MELO_REPORTS"]
    assert settings.gate.success == float(named["MELO_GATE__SUCCESS"])
    assert (settings.ray_address, settings.qdrant_url) == (named["RAY_ADDRESS"], named["QDRANT_URL"])
    assert settings.tracking_uri == named["MLFLOW_TRACKING_URI"]
    fields = {field.upper() for field in Settings.model_fields}
    assert {name.removeprefix("MELO_").split("__")[0] for name in named if name.startswith("MELO_")} <= fields


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
