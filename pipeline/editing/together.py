"""Whether the parts of an edited model on disk belong together.

Digests show that no file was changed. They don't show that the files are of one version: keys that lead to blocks
which are not there, or edits that no key leads to, would answer wrongly long after they were loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.editing.folder import CLUSTERS, KEYS, RECORDS, CheckpointError
from pipeline.editing.records import Records
from pipeline.editing.rows import WITHDRAWN
from schemas.manifest import Manifest


def check_together(manifest: Manifest, tables: Mapping[str, pa.Table], records: Records, blocks: Sequence[int]) -> None:
    """Makes sure that every live edit has its key, its cluster and its block, and that nothing is left over.

    Args:
        manifest: of the folder.
        tables: the clusters and keys tables by file name, of their schemas.
        records: edit id -> record.
        blocks: ids of the blocks held.

    Raises:
        CheckpointError: they don't; says what is missing where.
    """
    keys = tables[KEYS].select(["edit_id", "cluster", "block"]).to_pylist()
    labels = dict(zip(*(tables[CLUSTERS][name].to_pylist() for name in ("cluster", "label")), strict=True))
    answers = {key["edit_id"]: key["block"] for key in keys if key["block"] != WITHDRAWN}
    live = {edit_id: record.outcome.block for edit_id, record in records.live().items()}

    _same(f"live edits of {RECORDS}", live, f"live keys of {KEYS}", answers)
    _same("blocks", blocks, f"blocks of {KEYS}", answers.values())
    _same(
        f"clusters of {CLUSTERS}",
        labels,
        f"clusters of {KEYS}",
        [k["cluster"] for k in keys if k["edit_id"] in answers],
    )
    for key in keys:
        record = records.get(key["edit_id"])
        if record is None or record.edit.label != labels[key["cluster"]]:
            raise CheckpointError(
                f"{KEYS}: key {key['edit_id']!r} is in cluster {key['cluster']} of label {labels[key['cluster']]!r}, "
                f"but {RECORDS} has {'no such edit' if record is None else repr(record.edit.label)}"
            )
    for edit_id, block in live.items():
        if answers[edit_id] != block:
            raise CheckpointError(f"{KEYS} leads edit {edit_id!r} to block {answers[edit_id]}, {RECORDS} to {block}")
    if unborn := [block for block in blocks if not 0 <= block < manifest.next_block]:
        raise CheckpointError(f"block {unborn[0]} is held, but the manifest's next_block is {manifest.next_block}")
    if late := [edit_id for edit_id, record in records.items() if record.version > manifest.version]:
        raise CheckpointError(f"{RECORDS}: edit {late[0]!r} is later than the manifest's version {manifest.version}")


def _same(one: str, ids: Iterable[Any], other: str, others: Iterable[Any]) -> None:
    left, right = set(ids), set(others)
    if left != right:
        raise CheckpointError(
            f"the {one} and the {other} differ: {sorted(left - right)[:3]} only in the former, "
            f"{sorted(right - left)[:3]} only in the latter; the files are not of one version"
        )
