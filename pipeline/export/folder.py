"""The folder of an exported version: written once, whole, and checked byte by byte when it is read.

    manifest.json           which adapter is which block, the digest of the version and of every file (schemas.export)
    adapters/block-000012/  one block, for PEFT and whoever reads its format: adapter_config.json and
                            adapter_model.safetensors
    version/                the edited model itself: ``EditedModel.load`` of it routes prompts to blocks

A block that several edits share is one adapter. Prompts outside every scope are the backbone's, without any.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from pydantic import ValidationError
from safetensors.torch import save as save_tensors

from pipeline.editing.backbone import Backbone
from pipeline.editing.folder import MANIFEST, check_file, read_file, read_manifest
from pipeline.editing.model import EditedModel
from pipeline.editing.writing import new_folder, write_file
from pipeline.errors import MeloError
from pipeline.export.adapters import CONFIG, WEIGHTS, adapter_config, adapter_name, adapter_tensors
from schemas.export import ExportManifest
from schemas.manifest import FileEntry

ADAPTERS, VERSION = "adapters", "version"
"""Folders of an export."""


class ExportError(MeloError, ValueError):
    """A version that cannot be exported as asked, or a folder that is no whole, unchanged export."""


def export(version: Path, directory: Path, rank: int | None = None, backbone: Backbone | None = None) -> ExportManifest:
    """Writes the blocks of an edited model as adapters, and the edited model beside them.

    Args:
        version: what ``EditedModel.save`` wrote.
        directory: must not exist yet, or be empty.
        rank: of the adapters, filled up with zeros, for servers that take certain ranks only; None: the blocks' own.
        backbone: as in ``EditedModel.load``.

    Returns:
        The manifest that was written.

    Raises:
        CheckpointError: the version is not whole, its backbone is another one, or something is in ``directory``.
        ExportError: the blocks' rank is higher than ``rank``.
    """
    with new_folder(directory) as scratch:
        manifest = read_manifest(version)
        with closing(EditedModel.load(version, backbone=backbone, index="memory")) as model:
            own = model.blocks.rank
            if rank is not None and rank < own:
                raise ExportError(f"the blocks have rank {own}, and rank {rank} was asked for: ask for {own} or more")
            files = _write_adapters(model, scratch, rank or own)
        (scratch / VERSION).mkdir()
        for name in manifest.files:
            files[f"{VERSION}/{name}"] = write_file(scratch / VERSION / name, read_file(version, name, manifest))
        write_file(scratch / VERSION / MANIFEST, (version / MANIFEST).read_bytes())
        written = ExportManifest(
            version=manifest.digest,
            backbone=manifest.backbone,
            encoder=manifest.encoder,
            rank=rank or own,
            adapters={adapter_name(block): block for block in model.blocks.ids},
            files=files,
        )
        write_file(scratch / MANIFEST, (written.model_dump_json(indent=2) + "\n").encode())
    return written


def read_export(directory: Path) -> ExportManifest:
    """The manifest of an export whose every file is there and unchanged.

    Raises:
        CheckpointError: a file is missing, truncated or changed, or the version is not whole.
        ExportError: the folder is no export, or its parts are not of one version.
    """
    path = directory / MANIFEST
    try:
        manifest = ExportManifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        cause = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ExportError(f"{directory} holds no export: {path}: {cause}; expected what `melo export` wrote") from error
    version = read_manifest(directory / VERSION)
    wanted = {f"{VERSION}/{name}" for name in version.files}
    wanted |= {f"{ADAPTERS}/{name}/{file}" for name in manifest.adapters for file in (CONFIG, WEIGHTS)}
    if {*manifest.files} != wanted or version.digest != manifest.version:
        raise ExportError(
            f"{path} lists {len(manifest.files)} files of version {manifest.version[:12]}, expected the {len(wanted)} "
            f"of {version.digest[:12]}: export the version again"
        )
    for name, entry in manifest.files.items():
        check_file(directory / name, entry)
    return manifest


def _write_adapters(model: EditedModel, folder: Path, rank: int) -> dict[str, FileEntry]:
    config = (json.dumps(adapter_config(model, rank), indent=2) + "\n").encode()
    files = {}
    for block in model.blocks.ids:
        name = f"{ADAPTERS}/{adapter_name(block)}"
        (folder / name).mkdir(parents=True)
        files[f"{name}/{CONFIG}"] = write_file(folder / name / CONFIG, config)
        content = save_tensors(adapter_tensors(model, block, rank), metadata={"format": "pt"})
        files[f"{name}/{WEIGHTS}"] = write_file(folder / name / WEIGHTS, content)
    return files
