"""The folder of an edited model: written once, whole, and checked byte by byte when it is read.

    manifest.json       format, backbone reference and digest, settings, the digest of every other file
    blocks.safetensors  for each edited module A [n, p, i] and B [n, o, p], and the n block ids
    clusters.parquet, keys.parquet  the index (schemas.index)
    edits.parquet       every edit and what became of it (schemas.edits)
    metric.safetensors  the linear map that keys go through, where there is one (pipeline.editing.metric)

Nothing in a folder is unpickled, and no path in it is followed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import MeloError
from schemas.manifest import FileEntry, Manifest

MANIFEST = "manifest.json"
BLOCKS = "blocks.safetensors"
CLUSTERS, KEYS, RECORDS = TABLES = ("clusters.parquet", "keys.parquet", "edits.parquet")
METRIC = "metric.safetensors"
FORMAT_VERSION = Manifest.model_fields["format_version"].default
MANIFEST_BYTES = 4 << 20
"""A larger manifest is not ours."""


class CheckpointError(MeloError, ValueError):
    """A folder that is not a whole, unchanged edited model, or one that cannot be written."""


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a folder, whose digest is right.

    Raises:
        CheckpointError: there is none, it is of another format or version, or it was changed.
    """
    path = directory / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise CheckpointError(f"{directory} is not an edited model: expected a plain file {MANIFEST}, found none")
    if path.stat().st_size > MANIFEST_BYTES:
        raise CheckpointError(f"{path} has {path.stat().st_size} bytes, more than any manifest of ours")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is cut short or not JSON: {error}") from error
    found = content.get("format_version") if isinstance(content, dict) else None
    if found != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format_version {found!r}, expected {FORMAT_VERSION}: use the release that wrote it"
        )
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{path} is not a manifest of ours: {where}: {first['msg']}") from error
    if manifest.digest != manifest.computed_digest():
        raise CheckpointError(
            f"{path} was changed: its content has digest {manifest.computed_digest()}, it says {manifest.digest}"
        )
    wanted = {BLOCKS, *TABLES} | ({METRIC} if manifest.metric else set())
    if set(manifest.files) != wanted:
        raise CheckpointError(f"{path} lists files {sorted(manifest.files)}, expected {sorted(wanted)}")
    return manifest


def read_file(directory: Path, name: str, manifest: Manifest) -> bytes:
    """A file of a folder, unchanged.

    Raises:
        CheckpointError: it is missing, truncated or changed.
    """
    path, entry = directory / name, manifest.files[name]
    _check_size(path, entry)
    content = path.read_bytes()
    _check_digest(path, hashlib.sha256(content).hexdigest(), entry)
    return content


def verify(directory: Path) -> Manifest:
    """The manifest of a folder whose every file is there and unchanged. Costs no memory, and needs no backbone.

    Raises:
        CheckpointError: it is no edited model, or a file is missing, truncated or changed.
    """
    manifest = read_manifest(directory)
    for name, entry in manifest.files.items():
        check_file(directory / name, entry)
    return manifest


def check_file(path: Path, entry: FileEntry) -> None:
    """Makes sure that a file is there and unchanged, without holding it in memory.

    Raises:
        CheckpointError: it is missing, truncated or changed.
    """
    _check_size(path, entry)
    with path.open("rb") as file:
        _check_digest(path, hashlib.file_digest(file, "sha256").hexdigest(), entry)


def _check_size(path: Path, entry: FileEntry) -> None:
    if path.is_symlink() or not path.is_file():
        raise CheckpointError(f"{path} is missing or not a plain file; the manifest lists it with {entry.bytes} bytes")
    size = path.stat().st_size
    if size != entry.bytes:
        raise CheckpointError(f"{path} has {size} bytes, expected {entry.bytes}: it is cut short or changed")


def _check_digest(path: Path, found: str, entry: FileEntry) -> None:
    if found != entry.sha256:
        raise CheckpointError(f"{path} was changed: its SHA-256 is {found}, expected {entry.sha256}")
