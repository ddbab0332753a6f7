"""The folder of an edited model among a run's artifacts: found, and checked byte by byte without its backbone."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline.editing.checkpoint import CheckpointError, read_manifest


def verified_digest(folder: Path) -> str:
    """The digest of the edited model in a folder, whose every file is as its manifest says.

    Raises:
        CheckpointError: it is no edited model, or a file is missing or was changed.
    """
    manifest = read_manifest(folder)
    for name, entry in manifest.files.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CheckpointError(f"{folder / name} cannot be read: {error}") from error
        if found != entry.sha256:
            raise CheckpointError(f"{folder / name} was changed: its SHA-256 is {found}, expected {entry.sha256}")
    return manifest.digest


def only_folder(directory: Path) -> Path:
    """The one folder in a directory, whatever it is called.

    Raises:
        CheckpointError: there is none, or several.
    """
    folders = [entry for entry in directory.glob("*") if entry.is_dir()]
    if len(folders) != 1:
        raise CheckpointError(f"{directory} holds {len(folders)} folders, expected an edited model and nothing else")
    return folders[0]
