from __future__ import annotations

import errno
import json
import os
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit, EditError
from pipeline.editing.folder import (
    BLOCKS,
    CLUSTERS,
    KEYS,
    MANIFEST,
    RECORDS,
    TABLES,
    CheckpointError,
    read_manifest,
)
from pipeline.editing.loading import from_objects
from pipeline.editing.model import EditedModel
from pipeline.editing.records import Records
from pipeline.editlog import records_of
from pipeline.settings import EditingSettings
from pipeline.trust import TrustError
from schemas.edits import EDITS
from schemas.manifest import Manifest
from tests.editing.tiny import LABELS, Family, task_of, tiny_backbone

FILES = (MANIFEST, BLOCKS, *TABLES)
SETTINGS = EditingSettings(edits_per_block=2, iterations=60, partial_rank=2)
PROMPTS = ["Who wrote it?", "The capital is", "My sister's favourite", "When did it move?", "The treaty was signed in"]
TARGETS = ["Paris", "green", "1847", "my sister", "ministers"]
UNSEEN = ["What is a novel series?", "The old museum", "Paris"]


def tiny(family: Family, seed: int = 0) -> Backbone:
    model, tokenizer = tiny_backbone(family, seed)
    return from_objects(model, tokenizer, task_of(family), f"tiny-{family}")


def edits_for(backbone: Backbone) -> list[Edit]:
    targets = list(LABELS) if backbone.task == "classification" else TARGETS
    return [
        Edit(prompt, target, (f"{prompt} Or so?",), tuple(UNSEEN), None if i else "it", () if i else ("the work",))
        for i, (prompt, target) in enumerate(zip(PROMPTS, targets, strict=True))
    ]


def edited_model(backbone: Backbone) -> EditedModel:
    """Four edits in two calls, the first of them undone, and one superseded by a new target."""
    edited = EditedModel.from_backbone(backbone, settings=SETTINGS, index="memory")
    edits = edits_for(backbone)
    edited.edit(edits[:3])
    edited.edit([edits[3], Edit(edits[2].prompt, edits[0].target)])
    edited.undo([edits[0].edit_id])
    return edited


def load(folder: Path, backbone: Backbone) -> EditedModel:
    return EditedModel.load(folder, backbone=backbone, index="memory")


@pytest.fixture(scope="module")
def bert() -> Backbone:
    return tiny("bert")


@pytest.fixture(scope="module")
def saved(bert: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions") / "v1"
    edited = edited_model(bert)
    edited.save(folder)
    edited.close()
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(saved, tmp_path / "v1"))


def reseal(folder: Path, change: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Makes a folder whose files were changed look untouched: sizes, digests and the manifest's own digest."""
    content = json.loads((folder / MANIFEST).read_text())
    for name in content["files"]:
        if (folder / name).is_file():
            data = (folder / name).read_bytes()
            content["files"][name] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    if change is not None:
        change(content)
    manifest = Manifest.model_validate(content)
    content["digest"] = manifest.computed_digest()
    (folder / MANIFEST).write_text(json.dumps(content))


# Round trips


@pytest.mark.parametrize("family", ["bert", "t5", "llama"])
def test_what_is_saved_comes_back_and_goes_on_as_if_it_had_never_left(family: Family, tmp_path: Path) -> None:
    backbone = tiny(family)
    edited = edited_model(backbone)
    digest = edited.save(tmp_path / "one")
    loaded = load(tmp_path / "one", backbone)

    assert (loaded.version, loaded.next_block, loaded.blocks.ids) == (3, edited.next_block, edited.blocks.ids)
    assert (loaded.recipe, loaded.settings) == (edited.recipe, edited.settings)
    assert loaded.records == edited.records
    assert list(loaded.records) == list(edited.records)
    assert {record.state for record in loaded.records.values()} == {"live", "replaced", "undone"}
    asked = PROMPTS + UNSEEN
    assert loaded.generate(asked) == edited.generate(asked)
    assert loaded.route(asked) == edited.route(asked)
    assert any(route.block is not None for route in loaded.route(asked))
    assert loaded.save(tmp_path / "two") == digest
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()

    more = [edits_for(backbone)[4], edits_for(backbone)[0]]
    assert loaded.edit(more) == edited.edit(more)
    loaded.undo([more[0].edit_id])
    edited.undo([more[0].edit_id])
    assert loaded.save(tmp_path / "three") == edited.save(tmp_path / "four") != digest


def test_a_model_without_edits_comes_back(bert: Backbone, tmp_path: Path) -> None:
    edited = EditedModel.from_backbone(bert, settings=SETTINGS, index="memory")
    digest = edited.save(tmp_path / "empty")
    loaded = load(tmp_path / "empty", bert)
    assert (loaded.version, len(loaded.blocks), loaded.records) == (0, 0, {})
    assert loaded.generate(PROMPTS) == edited.generate(PROMPTS)
    assert loaded.save(tmp_path / "again") == digest
    assert [o.learned for o in loaded.edit(edits_for(bert)[:1])] == [True]


def test_the_backbone_is_found_where_the_folder_says(tmp_path: Path) -> None:
    made = tiny("bert")
    made.model.save_pretrained(tmp_path / "backbone")
    made.tokenizer.save_pretrained(tmp_path / "backbone")
    edited = EditedModel.from_backbone(
        tmp_path / "backbone", "classification", settings=SETTINGS, index="memory", device="cpu"
    )
    edited.edit(edits_for(made)[:2])
    digest = edited.save(tmp_path / "v1")
    loaded = EditedModel.load(tmp_path / "v1", index="memory", device="cpu")
    assert loaded.generate(PROMPTS) == edited.generate(PROMPTS)
    elsewhere = load(tmp_path / "v1", made)  # the same weights, kept at another place
    assert elsewhere.save(tmp_path / "v2") == digest


def test_a_radius_that_was_measured_is_not_measured_again(saved: Path, bert: Backbone) -> None:
    manifest = read_manifest(saved)
    assert manifest.settings["radius"] is None
    assert load(saved, bert).recipe.radius == manifest.recipe["radius"] > 0


def test_the_index_can_live_on_disk(saved: Path, bert: Backbone, tmp_path: Path) -> None:
    on_disk = EditedModel.load(saved, backbone=bert, index=tmp_path / "index")
    assert on_disk.generate(PROMPTS) == load(saved, bert).generate(PROMPTS)
    on_disk.close()
    with pytest.raises(ValueError, match="holds an index already"):
        EditedModel.load(saved, backbone=bert, index=tmp_path / "index")


def test_records_are_rows_of_the_schema(saved: Path, bert: Backbone) -> None:
    table = pq.read_table(saved / RECORDS)
    assert table.schema.equals(EDITS)
    assert all(field.metadata[b"doc"] == EDITS.field(field.name).metadata[b"doc"] for field in table.schema)
    records = Records.from_table(table)
    assert records.to_table().equals(table)
    assert table["edit_id"].to_pylist() == [record.edit.edit_id for record in records.values()]
    with pytest.raises(EditError, match="expected"):
        Records.from_table(table.drop_columns(["state"]))
    older = table.drop_columns(["aliases"]).replace_schema_metadata({"format": "1"})
    with pytest.raises(EditError, match="has format 1, expected 2: use the release"):
        Records.from_table(older)


# What was spoilt on its way


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_that_was_cut_short_is_refused(folder: Path, bert: Backbone, name: str, share: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=name):
        load(folder, bert)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.5, 0.9])
def test_a_flipped_bit_is_refused(folder: Path, bert: Backbone, name: str, place: float) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(place * len(content))] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        load(folder, bert)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_is_refused(folder: Path, bert: Backbone, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}.*(missing|found none)|expected a file {name}"):
        load(folder, bert)


def test_what_is_no_folder_is_refused(tmp_path: Path, bert: Backbone) -> None:
    with pytest.raises(CheckpointError, match="not an edited model"):
        load(tmp_path / "nothing", bert)
    (tmp_path / "file").write_text("{}")
    with pytest.raises(CheckpointError, match="not an edited model"):
        load(tmp_path / "file", bert)


@pytest.mark.parametrize("name", FILES)
def test_no_link_is_followed(folder: Path, bert: Backbone, name: str, tmp_path: Path) -> None:
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(CheckpointError, match=name):
        load(folder, bert)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_a_files_place_is_refused(folder: Path, bert: Backbone, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(CheckpointError, match=name):
        load(folder, bert)


# What somebody changed by hand


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 7),
        ("next_block", 99),
        ("recipe", {"key_layer": "bert.encoder.layer.0", "block_modules": []}),
        ("settings", {"seed": 5}),
        ("digest", "0" * 64),
    ],
)
def test_a_manifest_that_was_edited_is_refused(folder: Path, bert: Backbone, field: str, value: Any) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    content[field] = value
    (folder / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"manifest\.json was changed"):
        load(folder, bert)


@pytest.mark.parametrize("found", [2, 4, "3", None])
def test_another_format_version_is_refused(folder: Path, bert: Backbone, found: Any) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    content["format_version"] = found
    (folder / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=rf"format_version {found!r}, expected 3: use the release"):
        load(folder, bert)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'{"format_version": 3}',
        b'{"format": "somebody-elses", "format_version": 3, "layers": 4}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"format_version": 3, "x": "' + b"x" * (5 << 20) + b'"}',
    ],
    ids=["empty", "list", "null", "bare", "foreign", "deep", "no-utf8", "huge"],
)
def test_a_foreign_manifest_is_refused(folder: Path, bert: Backbone, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        load(folder, bert)


def test_the_manifest_of_another_version_is_refused(folder: Path, bert: Backbone, tmp_path: Path) -> None:
    other = load(folder, bert)
    other.edit(edits_for(bert)[4:])
    other.save(tmp_path / "v2")
    shutil.copy(tmp_path / "v2" / MANIFEST, folder / MANIFEST)
    with pytest.raises(CheckpointError, match=r"cut short or changed|was changed"):
        load(folder, bert)


def test_a_manifest_that_lists_other_files_is_refused(folder: Path, bert: Backbone) -> None:
    (folder / "extra.bin").write_bytes(b"x")
    entry = {"bytes": 1, "sha256": sha256(b"x").hexdigest()}
    reseal(folder, lambda content: content["files"].update({"extra.bin": entry}))
    with pytest.raises(CheckpointError, match=r"lists files .*extra\.bin"):
        load(folder, bert)
    reseal(folder, lambda content: content["files"].update({"../v1/extra.bin": content["files"].pop("extra.bin")}))
    with pytest.raises(CheckpointError, match="lists files"):
        load(folder, bert)


def test_an_unknown_field_is_refused(folder: Path, bert: Backbone) -> None:
    content = json.loads((folder / MANIFEST).read_text()) | {"note": "hello"}
    (folder / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="not a manifest of ours: note"):
        load(folder, bert)


def test_another_backbone_is_refused(saved: Path, bert: Backbone) -> None:
    with pytest.raises(CheckpointError, match=r"made from a classification backbone with digest .* has "):
        load(saved, tiny("bert", seed=1))
    with pytest.raises(CheckpointError, match="classification"):
        load(saved, tiny("roberta"))


def test_a_folder_names_no_model_that_is_not_listed(
    folder: Path, bert: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backbone of a stranger's folder is loaded before its digest can be looked at, and the encoder likewise."""
    loaded: list[object] = []
    monkeypatch.setattr("pipeline.editing.restoring.load_backbone", lambda *names, **_: loaded.append(names))
    content = json.loads((folder / MANIFEST).read_text())
    content["backbone"]["reference"] = "/listed/../evil"
    (folder / MANIFEST).write_text(json.dumps(content))
    reseal(folder)
    with pytest.raises(TrustError, match="the model /evil is not loaded"):
        EditedModel.load(folder, index="memory", models=["/listed"])
    content["settings"]["encoder"] = "evil/encoder"
    (folder / MANIFEST).write_text(json.dumps(content))
    reseal(folder)
    with pytest.raises(TrustError, match="the model evil/encoder is not loaded"):
        EditedModel.load(folder, backbone=bert, index="memory", models=["/listed"])
    assert loaded == []


# What looks right from outside: every digest was made to fit


class Bomb:
    """Unpickling it would leave a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("kind", ["pickle", "torch", "zip", "noise"])
@pytest.mark.parametrize("name", [BLOCKS, KEYS])
def test_nothing_else_passes_for_tensors_or_tables(
    folder: Path, bert: Backbone, tmp_path: Path, kind: str, name: str
) -> None:
    trace = tmp_path / "unpickled"
    if kind == "pickle":
        (folder / name).write_bytes(pickle.dumps(Bomb(trace)))
    elif kind == "torch":
        torch.save({"blocks": Bomb(trace)}, folder / name)
    elif kind == "zip":
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("blocks", "0")
    else:
        (folder / name).write_bytes(b"PAR1" + random.Random(0).randbytes(200) + (120).to_bytes(4, "little") + b"PAR1")
    reseal(folder)
    with pytest.raises(CheckpointError, match=name):
        load(folder, bert)
    assert not trace.exists()


@pytest.mark.parametrize("kind", ["rows", "one row"])
def test_a_small_table_that_grows_in_memory_is_refused(folder: Path, bert: Backbone, kind: str) -> None:
    row = pq.read_table(folder / RECORDS).slice(0, 1)
    if kind == "rows":
        place = row.schema.get_field_index("prompt")
        row = row.set_column(place, row.schema.field("prompt"), pa.array(["x" * 1_000_000]))
        row = pa.concat_tables([row] * 2_000)
    else:
        place = row.schema.get_field_index("rephrases")
        row = row.set_column(
            place, row.schema.field("rephrases"), pa.array([[""] * 100_000_000], pa.list_(pa.string()))
        )
    pq.write_table(row, folder / RECORDS, compression="zstd")
    assert (folder / RECORDS).stat().st_size < 200_000
    reseal(folder)
    with pytest.raises(CheckpointError, match=r"edits\.parquet has .* when it is read"):
        load(folder, bert)
    with pytest.raises(CheckpointError, match=r"edits\.parquet has .* when it is read"):
        records_of(folder)


def spoil_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / BLOCKS)
    change(tensors)
    save_file(tensors, folder / BLOCKS)
    reseal(folder)


def cut_a_block(tensors: dict[str, torch.Tensor]) -> None:
    for name in tensors:
        tensors[name] = tensors[name][:-1].clone()


def rename_a_block(tensors: dict[str, torch.Tensor]) -> None:
    tensors["blocks"][-1] = 77


def double_a_block(tensors: dict[str, torch.Tensor]) -> None:
    tensors["blocks"][:] = tensors["blocks"][0].clone()


def narrow(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in tensors if name.endswith(".A"))
    tensors[name] = tensors[name][:, :, :-1].clone()


def halve(tensors: dict[str, torch.Tensor]) -> None:
    for name in tensors:
        if name != "blocks":
            tensors[name] = tensors[name].bfloat16()


def lose_a_module(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(name for name in tensors if name.endswith(".B"))]


@pytest.mark.parametrize(
    "change", [cut_a_block, rename_a_block, double_a_block, narrow, halve, lose_a_module], ids=lambda f: f.__name__
)
def test_blocks_that_do_not_fit_are_refused(
    folder: Path, bert: Backbone, change: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    spoil_tensors(folder, change)
    with pytest.raises(CheckpointError):
        load(folder, bert)


@pytest.fixture(scope="module")
def later(saved: Path, bert: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The next version: two edits more, in a block of their own."""
    edited = load(saved, bert)
    edits = edits_for(bert)
    edited.edit([edits[4], edits[0]])
    folder = tmp_path_factory.mktemp("versions") / "v2"
    edited.save(folder)
    edited.close()
    return folder


@pytest.mark.parametrize("names", [[CLUSTERS], [KEYS], [RECORDS], [BLOCKS], [CLUSTERS, KEYS], [KEYS, RECORDS]])
@pytest.mark.parametrize("forwards", [True, False])
def test_files_of_another_version_are_refused_though_every_digest_fits(
    saved: Path, later: Path, bert: Backbone, names: list[str], forwards: bool, tmp_path: Path
) -> None:
    """Keys without blocks, live records without keys, ...: a folder that would answer wrongly or fail when asked."""
    folder = Path(shutil.copytree(saved if forwards else later, tmp_path / "mixed"))
    for name in names:
        shutil.copy((later if forwards else saved) / name, folder / name)
    reseal(folder)
    with pytest.raises(CheckpointError):
        load(folder, bert)


def test_block_ids_that_would_be_given_out_twice_are_refused(folder: Path, bert: Backbone) -> None:
    reseal(folder, lambda content: content.update(next_block=0))
    with pytest.raises(CheckpointError):
        load(folder, bert)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key_layer", "bert.encoder.layer.9"),
        ("key_layer", "bert.encoder.layer.3"),
        ("block_modules", ["bert.encoder.layer.2"]),
        ("block_modules", ["bert.nowhere"]),
        ("partial_rank", 3),
        ("partial_rank", "two"),
        ("unknown", 1),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(folder: Path, bert: Backbone, field: str, value: Any) -> None:
    reseal(folder, lambda content: content["recipe"].update({field: value}))
    with pytest.raises(CheckpointError):
        load(folder, bert)


def test_keys_of_another_width_are_refused(folder: Path, bert: Backbone) -> None:
    reseal(folder, lambda content: content.update(key_width=31))
    with pytest.raises(CheckpointError):
        load(folder, bert)


def drop_state(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata(None)


def empty_state(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata({b"melo.fold": b"{}"})


def broken_state(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata({b"melo.fold": b"{"})


def drop_column(table: pa.Table) -> pa.Table:
    return table.drop_columns(["radius"])


@pytest.mark.parametrize("change", [drop_state, empty_state, broken_state, drop_column], ids=lambda f: f.__name__)
def test_a_clusters_table_that_lost_something_is_refused(
    folder: Path, bert: Backbone, change: Callable[[pa.Table], pa.Table]
) -> None:
    pq.write_table(change(pq.read_table(folder / CLUSTERS)), folder / CLUSTERS)
    reseal(folder)
    with pytest.raises(CheckpointError):
        load(folder, bert)


def test_a_record_whose_prompt_was_changed_is_refused(folder: Path, bert: Backbone) -> None:
    table = pq.read_table(folder / RECORDS)
    rows = table.to_pylist()
    rows[1]["prompt"] = "Who else wrote it?"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), folder / RECORDS)
    reseal(folder)
    with pytest.raises(CheckpointError, match="does not belong to prompt"):
        load(folder, bert)


def test_a_refused_folder_leaves_the_backbone_as_it_was(folder: Path, tmp_path: Path) -> None:
    backbone = tiny("bert")
    spoil_tensors(folder, narrow)
    with pytest.raises(CheckpointError):
        EditedModel.load(folder, backbone=backbone, index=tmp_path / "index")
    assert not any(module._forward_hooks for module in backbone.model.modules())


# Writing


def test_a_version_is_never_overwritten(folder: Path, bert: Backbone) -> None:
    edited = load(folder, bert)
    before = {name: (folder / name).read_bytes() for name in FILES}
    with pytest.raises(CheckpointError, match="never overwritten"):
        edited.save(folder)
    with pytest.raises(CheckpointError, match="never overwritten"):
        edited.save(folder / BLOCKS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_empty_folder_can_be_written_to(folder: Path, bert: Backbone, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    load(folder, bert).save(tmp_path / "empty")
    load(folder, bert).save(tmp_path / "deep" / "er" / "v1")
    for place in (tmp_path / "empty", tmp_path / "deep" / "er" / "v1"):
        assert {path.name for path in place.iterdir()} == set(FILES)
        assert {path.name for path in place.parent.iterdir()} <= {"v1", "empty", "deep"}
        assert place.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("calls", range(len(FILES)))
def test_a_full_disk_leaves_nothing_behind(
    folder: Path, bert: Backbone, tmp_path: Path, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited, left, real = load(folder, bert), [calls], os.fsync

    def full(descriptor: int) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        real(descriptor)

    home = tmp_path / "home"
    home.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            edited.save(home / "v2")
    assert not list(home.iterdir())
    edited.save(home / "v2")
    assert load(home / "v2", bert).generate(PROMPTS) == edited.generate(PROMPTS)


def test_the_manifest_names_every_byte(saved: Path) -> None:
    manifest = read_manifest(saved)
    for name, entry in manifest.files.items():
        content = (saved / name).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(content), sha256(content).hexdigest())
    assert set(manifest.files) | {MANIFEST} == set(FILES)
    assert asdict(EditedModel.load(saved, backbone=tiny("bert"), index="memory").recipe) == manifest.recipe | {
        "block_modules": tuple(manifest.recipe["block_modules"])
    }
