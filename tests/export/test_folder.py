"""An export is whole or not there, and what was changed in it is refused."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from pipeline.editing.folder import BLOCKS, MANIFEST, CheckpointError, read_manifest
from pipeline.editing.model import EditedModel
from pipeline.export import folder as export_folder
from pipeline.export.adapters import CONFIG, WEIGHTS, adapter_name
from pipeline.export.folder import ADAPTERS, VERSION, ExportError, export, read_export
from tests.editing.edited import new_model, teach, tiny
from tests.editing.test_rules import FACTS, edits_of

RANK = 8


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 that knows FACTS, two to a block."""
    model = new_model("gpt2", partial_rank=4)
    teach(model, edits_of("gpt2"))
    folder = tmp_path_factory.mktemp("versions") / "one"
    model.save(folder)
    return folder


@pytest.fixture(scope="module")
def made(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "one"
    export(saved, folder, RANK, backbone=tiny("gpt2"))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "exported"))


def test_a_block_that_edits_share_is_one_adapter(made: Path, saved: Path) -> None:
    model = EditedModel.load(saved, backbone=tiny("gpt2"), index="memory")
    blocks = sorted({record.outcome.block for record in model.records.values() if record.outcome.block is not None})
    assert len(blocks) == len(FACTS) / 2
    manifest = read_export(made)
    assert manifest.adapters == {adapter_name(block): block for block in blocks}
    assert sorted(path.name for path in (made / ADAPTERS).iterdir()) == sorted(manifest.adapters)
    assert manifest.version == read_manifest(saved).digest
    assert (manifest.backbone, manifest.rank) == (read_manifest(saved).backbone, RANK)


def test_the_version_is_in_it_byte_for_byte(made: Path, saved: Path) -> None:
    found = {path.name: path.read_bytes() for path in (made / VERSION).iterdir()}
    assert found == {path.name: path.read_bytes() for path in saved.iterdir()}


def test_an_adapter_is_laid_out_as_peft_says(made: Path) -> None:
    adapter = made / ADAPTERS / adapter_name(0)
    config = json.loads((adapter / CONFIG).read_text())
    assert (config["peft_type"], config["task_type"], config["inference_mode"]) == ("LORA", "CAUSAL_LM", True)
    assert config["r"] == config["lora_alpha"] == RANK
    assert config["fan_in_fan_out"] is True
    modules = config["target_modules"]
    assert modules == ["transformer.h.2.mlp.c_proj", "transformer.h.3.mlp.c_proj"]
    tensors = load_file(adapter / WEIGHTS)
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == {
        f"base_model.model.{module}.lora_{side}.weight": shape
        for module in modules
        for side, shape in (("A", [RANK, 64]), ("B", [32, RANK]))
    }
    a, b = (tensors[f"base_model.model.{modules[0]}.lora_{side}.weight"] for side in "AB")
    assert a[:4].any(1).all() and not a[4:].any()
    assert b[:, :4].any(0).all() and not b[:, 4:].any()


def test_a_rank_below_the_blocks_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="the blocks have rank 4, and rank 3 was asked for: ask for 4 or more"):
        export(saved, tmp_path / "low", 3, backbone=tiny("gpt2"))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(made: Path, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("keep")
    with pytest.raises(CheckpointError, match="mine exists already"):
        export(saved, tmp_path / "mine", backbone=tiny("gpt2"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes"]


def test_what_fails_half_way_leaves_nothing(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> Any:
        if path.name == BLOCKS:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_file(path, content)

    write_file = export_folder.write_file
    monkeypatch.setattr(export_folder, "write_file", full)
    with pytest.raises(OSError, match="No space left"):
        export(saved, tmp_path / "full", backbone=tiny("gpt2"))
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_edits_has_no_adapters(tmp_path: Path) -> None:
    new_model("gpt2").save(tmp_path / "saved")
    export(tmp_path / "saved", tmp_path / "exported", backbone=tiny("gpt2"))
    assert read_export(tmp_path / "exported").adapters == {}


@pytest.mark.parametrize("name", [f"{ADAPTERS}/{adapter_name(0)}/{CONFIG}", f"{VERSION}/{BLOCKS}"])
def test_a_changed_file_is_refused(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="was changed"):
        read_export(folder)


def test_a_missing_adapter_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / ADAPTERS / adapter_name(1))
    with pytest.raises(CheckpointError, match="is missing"):
        read_export(folder)


@pytest.mark.parametrize("content", [None, "", '{"format": "melo-edited-model"}'])
def test_another_folder_is_refused(folder: Path, content: str | None) -> None:
    (folder / MANIFEST).unlink() if content is None else (folder / MANIFEST).write_text(content)
    with pytest.raises(ExportError, match=r"holds no export: .*expected what `melo export` wrote"):
        read_export(folder)


@pytest.mark.parametrize(("field", "value"), [("version", "0" * 64), ("adapters", {}), ("files", {})])
def test_parts_of_different_versions_are_refused(folder: Path, field: str, value: Any) -> None:
    content = json.loads((folder / MANIFEST).read_text()) | {field: value}
    (folder / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(ExportError, match="export the version again"):
        read_export(folder)
