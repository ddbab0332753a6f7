"""Writing an edited model into its folder, and reading tables and blocks out of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from pipeline.editing.blocks import Blocks
from pipeline.editing.folder import BLOCKS, MANIFEST, METRIC, TABLES, CheckpointError, read_file
from pipeline.editing.metric import Metric, MetricError, read_metric
from pipeline.editing.unpacking import unpacked
from pipeline.editing.writing import new_folder, write_file
from schemas.manifest import FileEntry, Manifest


def write_folder(
    directory: Path,
    blocks: Blocks,
    tables: dict[str, pa.Table],
    metric: Metric | None,
    describe: Callable[[dict[str, FileEntry]], Manifest],
) -> Manifest:
    """Writes a folder beside its place and moves it there in one step.

    Args:
        directory: must not exist yet, or be empty: versions are immutable.
        blocks: all blocks.
        tables: by file name, as in ``TABLES``.
        metric: that keys go through, if any.
        describe: makes the manifest, given the files' sizes and digests.

    Raises:
        CheckpointError: something is there already.
        OSError: the disk is full or not writable; nothing is left behind.
    """
    with new_folder(directory) as scratch:
        files = {BLOCKS: write_file(scratch / BLOCKS, save_tensors(_tensors(blocks)))}
        for name in TABLES:
            sink = pa.BufferOutputStream()
            pq.write_table(tables[name], sink, compression="zstd")
            files[name] = write_file(scratch / name, sink.getvalue().to_pybytes())
        if metric is not None:
            files[METRIC] = write_file(scratch / METRIC, metric.content)
        manifest = describe(files)
        manifest = manifest.model_copy(update={"digest": manifest.computed_digest()})
        write_file(scratch / MANIFEST, (manifest.model_dump_json(indent=2) + "\n").encode())
    return manifest


def read_tables(directory: Path, manifest: Manifest) -> dict[str, pa.Table]:
    """The Parquet tables by file name, their digests checked.

    Raises:
        CheckpointError: a file is missing, truncated or changed, is no Parquet, or grows when it is read.
    """
    tables = {}
    for name in TABLES:
        content = read_file(directory, name, manifest)
        try:
            tables[name] = unpacked(content, directory / name)
        except (pa.ArrowException, OSError) as error:  # a broken page is an OSError
            raise CheckpointError(f"{directory / name} is not Parquet: {error}") from error
    return tables


def stored_metric(directory: Path, manifest: Manifest) -> Metric | None:
    """The metric that a version's keys go through, if it has one.

    Raises:
        CheckpointError: the file is missing, truncated or changed, or holds something else.
    """
    if METRIC not in manifest.files:
        return None
    try:
        return read_metric(read_file(directory, METRIC, manifest), directory / METRIC)
    except MetricError as error:
        raise CheckpointError(str(error)) from error


def read_blocks(directory: Path, manifest: Manifest, into: Blocks) -> None:
    """Adds a folder's blocks to ``into``.

    Raises:
        CheckpointError: the file is missing, truncated or changed, or its shapes are not those of the backbone.
    """
    path = directory / BLOCKS
    try:
        tensors = load_tensors(read_file(directory, BLOCKS, manifest))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not safetensors: {error}") from error
    expected = _tensors(into)
    if set(tensors) != set(expected):
        raise CheckpointError(f"{path} holds tensors {sorted(tensors)}, expected {sorted(expected)}")
    count = len(tensors["blocks"])
    for name, tensor in tensors.items():
        shape, dtype = (count, *expected[name].shape[1:]), expected[name].dtype
        if tensor.shape != shape or tensor.dtype != dtype:
            found = f"{tensor.dtype} {list(tensor.shape)}"
            raise CheckpointError(f"{path}: {name} is {found}, expected {dtype} {list(shape)}")
    modules = [name.removesuffix(".A") for name in tensors if name.endswith(".A")]
    try:
        into.add(tensors["blocks"].tolist(), {name: (tensors[f"{name}.A"], tensors[f"{name}.B"]) for name in modules})
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _tensors(blocks: Blocks) -> dict[str, torch.Tensor]:
    tensors = {"blocks": torch.tensor(blocks.ids, dtype=torch.int64)}
    for name, (a, b) in blocks.gather(blocks.ids).items():
        tensors |= {f"{name}.A": a.cpu().contiguous(), f"{name}.B": b.cpu().contiguous()}
    return tensors
