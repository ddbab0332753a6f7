"""Backbone, encoder, reports and packages: each thing broken for real."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from pipeline.doctor import material
from pipeline.settings import EditingSettings, Settings
from tests.doctor.telling import only
from tests.editing.tiny import tiny_backbone


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny T5."""
    folder = tmp_path_factory.mktemp("models") / "t5"
    for part in tiny_backbone("t5"):
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "t5"))


def named(backbone: Path | str, **others: Any) -> Settings:
    return Settings(backbone=str(backbone), **others)


def test_a_backbone_that_can_be_edited(whole: Path) -> None:
    finding = only(material.backbone, named(whole))
    assert finding.state == "ok"
    assert "a t5 for seq2seq: keys at" in finding.told
    assert only(material.backbone, Settings()).state == "ok"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"task": "classification"}, "is a t5 for seq2seq, but MELO_TASK is classification"),
        ({"editing": EditingSettings(key_layer="encoder.block.99")}, "encoder.block.99"),
    ],
)
def test_a_backbone_that_cannot(whole: Path, settings: dict[str, Any], told: str) -> None:
    finding = only(material.backbone, named(whole, **settings))
    assert (finding.state, told in finding.told) == ("problem", True), finding


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    finding = only(material.backbone, named(tmp_path / "none"))
    assert (finding.state, "there is no folder" in finding.told) == ("problem", True)


def test_a_name_that_nobody_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    finding = only(material.backbone, named("nobody/has-this-model"))
    assert (finding.state, "HF_HUB_OFFLINE is set" in finding.advice) == ("problem", True), finding


def test_weights_that_were_cut_off(copied: Path) -> None:
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    findings = [each for each in material.backbone(named(copied)) if each.state == "problem"]
    assert len(findings) == 1
    assert "model.safetensors cannot be read" in findings[0].told


def test_weights_of_another_format(copied: Path) -> None:
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    findings = [each for each in material.backbone(named(copied)) if each.state == "problem"]
    assert len(findings) == 1
    assert "holds no *.safetensors" in findings[0].told


def test_a_config_that_is_not_one(copied: Path) -> None:
    (copied / "config.json").write_text("{")
    finding = only(material.backbone, named(copied))
    assert (finding.state, "has no config that can be read" in finding.told) == ("problem", True)


def test_an_encoder_and_a_metric_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.editing.sentences.minilm", lambda: None)
    finding = only(material.encoder, Settings(editing=EditingSettings(encoder="minilm")))
    assert (finding.state, "pip install" in finding.advice) == ("problem", True)
    finding = only(material.encoder, Settings(editing=EditingSettings(metric=tmp_path / "none")))
    assert (finding.state, "no metric at" in finding.told) == ("problem", True)
    assert list(material.encoder(Settings())) == []


def test_reports_and_where_they_should_be(tmp_path: Path) -> None:
    settings = Settings(backbone="b", reports=str(tmp_path / "in"))
    assert only(material.reports, settings).state == "problem"
    (tmp_path / "in").mkdir()
    assert only(material.reports, settings).state == "warning"
    (tmp_path / "in" / "a.jsonl").write_text("{}")
    finding = only(material.reports, settings)
    assert (finding.state, finding.told.endswith("in: 1 files")) == ("ok", True)
    assert only(material.reports, Settings(backbone="b")).state == "warning"
    assert list(material.reports(Settings())) == []


def test_an_upstream_task_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "upstream.jsonl"
    file.write_text('{"prompt": "a", "target": "b"}')
    assert only(material.reports, Settings(upstream=file)).told.endswith("1 questions")
    file.write_text('{"prompt": "a"}')
    assert only(material.reports, Settings(upstream=file)).state == "problem"


def test_packages_in_other_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(material.packages, Settings()).state == "ok"
    there = metadata.version
    monkeypatch.setattr(material, "version", lambda name: "0.1" if name == "torch" else there(name))
    finding = only(material.packages, Settings())
    assert (finding.state, "torch 0.1, expected" in finding.told) == ("problem", True)
