"""Folders that appear whole or not at all: written beside their place and moved there in one step."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.editing.folder import CheckpointError
from schemas.manifest import FileEntry


@contextmanager
def new_folder(directory: Path) -> Iterator[Path]:
    """A folder to write into, which is moved to its place at the end; after a failure nothing is left behind.

    Args:
        directory: must not exist yet, or be empty.

    Raises:
        CheckpointError: something is there already.
        OSError: the disk is full or not writable.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CheckpointError(f"{directory} exists already, and versions are never overwritten: choose a new folder")
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        if directory.exists():
            directory.rmdir()
        scratch.rename(directory)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def write_file(path: Path, content: bytes) -> FileEntry:
    """Writes a file that must not be there yet, down to the disk; returns its size and digest."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return FileEntry(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
