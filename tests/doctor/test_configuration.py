"""Settings that nobody reads, or that cannot be read: each is named, with what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.doctor.configuration import read_settings
from pipeline.doctor.finding import Finding


def broken() -> list[Finding]:
    return [finding for finding in read_settings()[1] if finding.state != "ok"]


def test_without_any_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELO_GATE__SUCCESS", "0.95")
    monkeypatch.setenv("MELO_SHARED", "somewhere")
    settings, found = read_settings()
    assert settings is not None
    assert settings.gate.success == 0.95
    assert [finding.state for finding in found] == ["ok"]


@pytest.mark.parametrize(
    ("variable", "value", "state", "told"),
    [
        ("MELO_TRAINER", "2", "problem", "MELO_TRAINER is ignored: did you mean MELO_TRAINERS?"),
        ("MELO_MLFLOW_TRACKING_URI", "http://x", "problem", "did you mean MLFLOW_TRACKING_URI?"),
        ("MELO_XYZZY", "2", "warning", "MELO_XYZZY is ignored"),
        ("QDRANT_API_KYE", "x", "warning", "did you mean QDRANT_API_KEY?"),
        ("MLFLOW_TRACKING_URL", "x", "warning", "did you mean MLFLOW_TRACKING_URI?"),
        ("MELO_GATE__SUCESS", "0.9", "problem", "gate.sucess: there is no such setting: did you mean success?"),
        ("MELO_EDITNG__RADIUS", "1", "problem", "is ignored: did you mean MELO_EDITING__RADIUS?"),
        ("MELO_TRAINERS", "many", "problem", "trainers: Input should be a valid integer"),
        ("MELO_EDITING__RADIUS", "-1", "problem", "editing.radius: Input should be greater than 0"),
        ("MELO_CONFIG", "nowhere.yaml", "problem", "MELO_CONFIG names nowhere.yaml, which is not there"),
    ],
)
def test_a_variable_that_is_wrong_is_told(
    variable: str, value: str, state: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    (finding,) = broken()
    assert (finding.state, told in finding.told) == (state, True), finding
    assert finding.advice


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("trainer: 2", "'trainer' is ignored: did you mean trainers?"),
        ("editing: {radus: 1}", "editing.radus: there is no such setting: did you mean radius?"),
        ("- a list", "holds no names with values"),
        ("home: [", "cannot be read"),
        ("qdrant_api_key: very-secret", "a file of settings is no place for one"),
    ],
)
def test_a_file_that_is_wrong_is_told(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "melo.yaml").write_text(text)
    found = broken()
    assert any(told in finding.told and finding.state == "problem" for finding in found), found
    assert "very-secret" not in str(found)
