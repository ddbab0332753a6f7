"""Settings files hold no secrets: each is refused, and the variable to set instead is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.secret_fields import SecretError
from pipeline.settings import Settings


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MELO_CONFIG", str(tmp_path / "melo.yaml"))
    for name in ("RAY_ADDRESS", "QDRANT_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "melo.yaml"


@pytest.mark.parametrize(
    ("text", "field", "variable"),
    [
        ("qdrant_api_key: hunter2", "qdrant_api_key", "QDRANT_API_KEY"),
        ("mlflow_password: hunter2", "mlflow_password", "MLFLOW_TRACKING_PASSWORD"),
        ("ray_token: hunter2", "ray_token", "RAY_AUTH_TOKEN"),
        ("mlflow_uri: https://ada:hunter2@host", "mlflow_uri", "MLFLOW_TRACKING_URI"),
        ("qdrant_url: http://:hunter2@host:6333", "qdrant_url", "QDRANT_URL"),
        ("reports: https://host/a.csv?api_key=hunter2", "reports", "MELO_REPORTS"),
        ("reports: s3://b/a.csv?X-Amz-Signature=hunter2", "reports", "MELO_REPORTS"),
        (
            "notify:\n  slack:\n    - {Webhook_Token: hunter2}",
            "notify.slack.0.Webhook_Token",
            "MELO_NOTIFY__SLACK__0__WEBHOOK_TOKEN",
        ),
        ("a: &a {api_key: hunter2}\nb: [*a, *a]", "a.api_key", "MELO_A__API_KEY"),
    ],
)
def test_a_secret_is_refused_and_not_repeated(file: Path, text: str, field: str, variable: str) -> None:
    file.write_text(text)
    with pytest.raises(SecretError) as refused:
        Settings()
    assert f"melo.yaml: {field} " in str(refused.value) and f"set {variable} in" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_what_only_sounds_like_one_is_none(file: Path) -> None:
    file.write_text(
        "editing: {tokens_per_step: 64, key_layer: h.1}\nmlflow_uri: https://ada@host:5000\nqdrant_url: http://host:6333\n"
        "reports: https://host/a.csv?page=1\nray_token:\n"
    )
    assert Settings().editing.tokens_per_step == 64


def test_a_file_that_grows_when_it_is_read_costs_nothing(file: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    file.write_text("\n".join([*lines, "loop: &loop [*loop]"]))
    Settings()


def test_no_object_is_made_of_a_settings_file(file: Path, tmp_path: Path) -> None:
    file.write_text(f"name: !!python/object/apply:os.mkdir [{tmp_path}/made]\n")
    with pytest.raises(Exception, match="python/object"):
        Settings()
    assert not (tmp_path / "made").exists()


def test_the_command_line_says_it_plainly(file: Path) -> None:
    file.write_text("qdrant_api_key: hunter2")
    done = subprocess.run([sys.executable, "-m", "pipeline.cli", "status"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "set QDRANT_API_KEY" in done.stderr and "Traceback" not in done.stderr + done.stdout
