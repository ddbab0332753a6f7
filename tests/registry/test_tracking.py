"""Nights become runs, edited models become versions, each once, and only whole ones are put into use."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow.artifacts import download_artifacts

from pipeline.editing.folder import BLOCKS, MANIFEST, CheckpointError
from pipeline.editing.model import EditedModel
from pipeline.registry.night import DIGEST, PAGE
from pipeline.registry.store import RegistryError
from pipeline.registry.tracking import Registry
from pipeline.trust import TrustError
from tests.registry.conftest import EDITS, Version
from tests.registry.test_promotions import Killed


def runs(registry: Registry) -> list[Any]:
    """Runs of nights, the newest first."""
    return list(registry._client.search_runs([registry._experiment_id]))


def test_a_version_is_its_digest(registry: Registry, versions: list[Version]) -> None:
    assert registry.candidate() is None
    assert registry.register(**versions[0].arguments()) == 1
    assert registry.register(**versions[1].arguments()) == 2
    assert registry.register(**versions[1].arguments(tags={"gate": "failed", "reason": "locality"})) == 2
    candidate = registry.candidate()
    assert candidate is not None and (candidate.number, candidate.digest) == (2, versions[1].digest)
    assert candidate.tags == {"gate": "failed", "reason": "locality"}
    assert len(runs(registry)) == 2
    assert registry.register(**versions[0].arguments()) == 1  # registered long ago, candidate again tonight
    candidate = registry.candidate()
    assert candidate is not None and candidate.number == 1
    assert registry.champion() is None


def test_the_folder_is_the_edited_model(registry: Registry, versions: list[Version]) -> None:
    registry.register(**versions[1].arguments())
    candidate = registry.candidate()
    assert candidate is not None
    copied = {file.name: file.read_bytes() for file in candidate.folder.iterdir()}
    assert copied == {file.name: file.read_bytes() for file in versions[1].folder.iterdir()}
    model = EditedModel.load(candidate.folder, index="memory")
    assert model.generate([EDITS[0].prompt, EDITS[1].prompt]) == [EDITS[0].target, EDITS[1].target]
    model.close()
    again = registry.candidate()
    assert again is not None and again.folder == candidate.folder


def test_a_second_registry_sees_the_same(registry: Registry, versions: list[Version], tmp_path: Path) -> None:
    registry.register(**versions[0].arguments())
    registry.promote(1, "gate", "good", {"edit_success": 1.0})
    other = Registry(registry.uri, registry.name, tmp_path / "artifacts")
    assert other.champion() == registry.champion() is not None
    assert other.history() == registry.history()


def test_the_page_of_a_version_is_found_again(registry: Registry, versions: list[Version], tmp_path: Path) -> None:
    page = tmp_path / "night.html"
    page.write_text("<!DOCTYPE html>\n<title>Ünïcode</title>\n", "utf-8")
    registry.register(**versions[0].arguments())
    assert registry.candidate_number() == 1
    registry.register(**versions[1].arguments(page=page))
    assert registry.candidate_number() == 2
    page.unlink()
    assert registry.page(2) == "<!DOCTYPE html>\n<title>Ünïcode</title>\n"
    with pytest.raises(RegistryError, match="has no page: an earlier release registered it"):
        registry.page(1)
    with pytest.raises(RegistryError, match="has no version 7"):
        registry.page(7)
    assert [file.path for file in registry._client.list_artifacts(runs(registry)[0].info.run_id)].count(PAGE) == 1


def test_a_run_holds_the_night(registry: Registry, versions: list[Version], tmp_path: Path) -> None:
    figure = tmp_path / "scores.png"
    figure.write_bytes(b"\x89PNG")
    failures = pa.table({"prompt": ["a"] * 700, "f1": pa.array([None] * 700, pa.float64())})
    registry.register(
        **versions[1].arguments(
            params={"radius": 75.0, "layers": ("a", "b"), "long": "x" * 9000},
            scores={"edit_success": 1.0, "perplexity": float("inf"), "arr": float("nan")},
            tables={"edits": versions[1].edits, "failures": failures},
            figures=[figure],
        )
    )
    (run,) = runs(registry)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "night of 2")
    assert run.data.params["radius"] == "75.0" and run.data.params["layers"] == "('a', 'b')"
    assert run.data.metrics == {"edit_success": 1.0}
    assert (run.data.tags["melo.not_finite.perplexity"], run.data.tags["melo.not_finite.arr"]) == ("inf", "nan")
    (point,) = registry._client.get_metric_history(run.info.run_id, "edit_success")
    assert (point.step, point.value) == (2, 1.0)  # two edits so far
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "edits" and json.loads(dataset.dataset.profile) == {"num_rows": 2}
    folder = Path(download_artifacts(run.info.artifact_uri, dst_path=str(tmp_path / "got"), tracking_uri=registry.uri))
    assert pq.read_table(folder / "tables/edits.parquet").equals(versions[1].edits)
    assert pq.read_table(folder / "tables/failures.parquet").equals(failures)
    assert len(json.loads((folder / "tables/failures.json").read_text())["data"]) == 500
    assert (folder / "figures/scores.png").read_bytes() == figure.read_bytes()


def test_another_digest_is_refused(local: Registry, versions: list[Version], tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=f"holds version {versions[0].digest}, expected {versions[1].digest}"):
        local.register(**versions[0].arguments(digest=versions[1].digest))
    with pytest.raises(CheckpointError, match="not an edited model"):
        local.register(**versions[0].arguments(folder=tmp_path))
    assert runs(local) == [] and local.candidate() is None


def test_killed_between_run_and_version(
    local: Registry, versions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise Killed

    monkeypatch.setattr(local._client, "create_model_version", die)
    with pytest.raises(Killed):
        local.register(**versions[0].arguments())
    monkeypatch.undo()
    assert local.candidate() is None
    assert local.register(**versions[0].arguments()) == 1
    assert [run.info.status for run in runs(local)] == ["FINISHED"]


def test_killed_while_logging(local: Registry, versions: list[Version], monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise Killed

    monkeypatch.setattr(local._client, "log_artifacts", die)
    monkeypatch.setattr(local._client, "set_terminated", die)  # a killed process does not say goodbye
    with pytest.raises(Killed):
        local.register(**versions[0].arguments())
    monkeypatch.undo()
    assert [run.info.status for run in runs(local)] == ["RUNNING"]
    assert local.register(**versions[0].arguments()) == 1
    assert sorted(run.info.status for run in runs(local)) == ["FINISHED", "KILLED"]


def test_a_full_disk_leaves_the_champion(
    local: Registry, versions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    local.register(**versions[0].arguments())
    local.promote(1, "gate", "good", {})
    monkeypatch.setattr(local._client, "log_artifacts", full)
    with pytest.raises(RegistryError, match=rf"could not register {versions[1].folder}: .*No space left"):
        local.register(**versions[1].arguments())
    monkeypatch.undo()
    candidate, champion = local.candidate(), local.champion()
    assert candidate is not None and candidate == champion
    EditedModel.load(candidate.folder, index="memory").close()
    assert local.register(**versions[1].arguments()) == 2


def test_a_damaged_version_is_not_put_into_use(local: Registry, versions: list[Version]) -> None:
    for version in versions:
        local.register(**version.arguments())
    local.promote(1, "gate", "first", {})
    local.promote(2, "gate", "better", {})
    manifest = local.version(3).folder / MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:-100])
    with pytest.raises(RegistryError, match=rf"version 3 of {local.name} .* is damaged: .*cut short"):
        local.promote(3, "gate", "better still", {})
    blocks = local.version(1).folder / BLOCKS
    content = bytearray(blocks.read_bytes())
    content[-1] ^= 1
    blocks.write_bytes(content)
    with pytest.raises(RegistryError, match=rf"version 1 of {local.name} .* is damaged: .*{BLOCKS} was changed"):
        local.rollback("ben", "complaints")
    blocks.unlink()
    with pytest.raises(RegistryError, match=rf"is damaged: .*{BLOCKS} is missing"):
        local.version(1)
    shutil.rmtree(blocks.parent)
    with pytest.raises(RegistryError, match=r"is damaged: .*holds 0 folders"):
        local.version(1)
    champion = local.champion()
    assert champion is not None and champion.number == 2
    assert [move.to_version for move in local.history()] == [1, 2]


def test_a_version_of_another_digest_is_not_put_into_use(local: Registry, versions: list[Version]) -> None:
    local.register(**versions[0].arguments())
    folder = local.version(1).folder
    shutil.rmtree(folder)
    shutil.copytree(versions[1].folder, folder)
    with pytest.raises(RegistryError, match=f"should be {versions[0].digest}, but .* holds {versions[1].digest}"):
        local.promote(1, "gate", "good", {})
    local._client.set_model_version_tag(local.name, "1", DIGEST, "../../elsewhere")
    with pytest.raises(RegistryError, match="this program did not register it"):
        local.version(1)


def test_numbers_that_are_not_there(registry: Registry, versions: list[Version]) -> None:
    with pytest.raises(RegistryError, match=rf"{registry.name} has no version 7: `melo status`"):
        registry.promote(7, "gate", "good", {})
    with pytest.raises(RegistryError, match="no champion yet"):
        registry.rollback("ben", "complaints")
    registry.register(**versions[0].arguments())
    registry.promote(1, "gate", "good", {})
    with pytest.raises(RegistryError, match="no champion before version 1"):
        registry.rollback("ben", "complaints")
    assert len(registry.history()) == 1


def test_a_deleted_experiment_says_how_it_comes_back(local: Registry, tmp_path: Path) -> None:
    local._client.delete_experiment(local._experiment_id)
    with pytest.raises(RegistryError, match=f"mlflow experiments restore -x {local._experiment_id}"):
        Registry(local.uri, local.name, tmp_path)


def test_a_version_of_a_model_that_is_not_listed_is_not_handed_out(
    local: Registry, versions: list[Version], backbone: Path, name: str, tmp_path: Path
) -> None:
    number = local.register(**versions[0].arguments())
    local.promote(number, "somebody", "why", {})
    listed = Registry(local.uri, name, tmp_path / "artifacts", [str(backbone)])
    assert listed.version(number).digest == versions[0].digest
    strict = Registry(local.uri, name, tmp_path / "artifacts", ["google/*", f"{backbone}-of-another"])
    for asked in (strict.champion, strict.candidate, lambda: strict.version(number)):
        with pytest.raises(TrustError, match="MELO_TRUST__MODELS"):
            asked()
