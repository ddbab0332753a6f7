"""``melo export``: which version goes where, and errors without a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.editing.model import EditedModel
from pipeline.export.folder import read_export
from pipeline.registry.store import RegistryError
from pipeline.registry.tracking import Registered
from tests.editing.edited import SETTINGS, teach
from tests.editing.test_rules import edits_of
from tests.editing.tiny import tiny_backbone


class TwoVersions:
    """A registry of a version without edits, and the champion."""

    def __init__(self, folder: Path) -> None:
        for part in tiny_backbone("gpt2"):
            part.save_pretrained(folder / "backbone")
        model = EditedModel.from_backbone(folder / "backbone", index="memory", settings=SETTINGS)
        first = model.save(folder / "1")
        teach(model, edits_of("gpt2"))
        second = model.save(folder / "2")
        self.held = {1: Registered(1, first, folder / "1", {}), 2: Registered(2, second, folder / "2", {})}

    def champion(self) -> Registered:
        return self.held[2]

    def version(self, number: int) -> Registered:
        if number not in self.held:
            raise RegistryError(f"melo has no version {number}")
        return self.held[number]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> TwoVersions:
    return TwoVersions(tmp_path_factory.mktemp("registry"))


@pytest.fixture(autouse=True)
def asked(registry: TwoVersions, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("common", "versions"):
        monkeypatch.setattr(f"pipeline.commands.{module}.the_registry", lambda settings: registry)


def test_the_champion_is_exported_or_the_version_that_is_named(registry: TwoVersions, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", "--format", "peft", "--to", str(tmp_path / "two"), "--json"])
    assert done.exit_code == 0, done.output
    manifest = read_export(tmp_path / "two")
    assert json.loads(done.stdout) == {
        "version": 2,
        "digest": registry.held[2].digest,
        "folder": str(tmp_path / "two"),
        "rank": manifest.rank,
        "adapters": manifest.adapters,
    }
    assert (manifest.version, len(manifest.adapters)) == (registry.held[2].digest, 3)
    done = CliRunner().invoke(app, ["export", "1", "--to", str(tmp_path / "one"), "--rank", "32"])
    assert done.exit_code == 0 and "0 adapters of rank 32" in " ".join(done.output.split())
    assert read_export(tmp_path / "one").version == registry.held[1].digest


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["9", "--to", "new"], "melo has no version 9"),
        (["--to", "new", "--rank", "1"], "rank 1 was asked for: ask for 8 or more"),
        (["--to", "full"], "never overwritten: choose a new folder"),
    ],
)
def test_what_cannot_be_exported_is_told(
    given: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").touch()
    done = CliRunner().invoke(app, ["export", *given])
    assert done.exit_code == 1
    assert told in " ".join(done.output.split())
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize("given", [[], ["--to", "new", "--format", "onnx"], ["0", "--to", "new"]])
def test_a_wrong_call_is_refused(given: list[str]) -> None:
    assert CliRunner().invoke(app, ["export", *given]).exit_code == 2
