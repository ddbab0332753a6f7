"""The fold at rest: its rows as two Arrow tables (``schemas.index``), and back, bit for bit."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

import schemas.index as schema
from pipeline.editing.edit import EditError
from pipeline.editing.fold import Conflicts
from pipeline.editing.rows import Rows, distances


def save(rows: Rows, radius: float, conflicts: Conflicts, subject_radius: float) -> tuple[pa.Table, pa.Table]:
    """The clusters table and the keys table, in a deterministic order of rows.

    Args:
        rows: what to save.
        radius: R0; this, ``conflicts`` and ``subject_radius`` are what the fold was made with, for ``load`` to give
            back.
    """
    everything, width = rows.everything(0), rows.width
    state = {
        "format": schema.FORMAT,
        "width": width,
        "radius": radius,
        "conflicts": conflicts,
        "subject_radius": subject_radius,
        "next_cluster": rows.next_cluster,
        "next_position": rows.next_position,
        "departed": sorted(rows.departed),
    }
    clusters = pa.table(
        {
            "cluster": everything.cluster_ids.numpy(),
            "label": [rows.clusters[i].label for i in everything.cluster_ids.tolist()],
            "subject": everything.subjects,
            "centre": _column(everything.centres),
            "radius": everything.radii.numpy(),
        },
        schema=schema.clusters(width).with_metadata({schema.STATE: json.dumps(state, sort_keys=True)}),
    )
    keys = pa.table(
        {
            "edit_id": everything.edit_ids,
            "cluster": everything.key_clusters.numpy(),
            "block": everything.key_blocks.numpy(),
            "radius": [rows.keys[i].radius for i in everything.edit_ids],
            "position": [rows.keys[i].position for i in everything.edit_ids],
            "key": _column(everything.keys),
        },
        schema=schema.keys(width),
    )
    return clusters, keys


def load(clusters: pa.Table, keys: pa.Table) -> tuple[Rows, float, Conflicts, float]:
    """What ``save`` was given.

    Raises:
        EditError: the tables are of another format, of other columns, or do not belong together.
    """
    state = _state(clusters)
    rows = Rows(state["width"])
    for name, table, expected in (
        ("clusters", clusters, schema.clusters(rows.width)),
        ("keys", keys, schema.keys(rows.width)),
    ):
        if not table.schema.equals(expected, check_metadata=False):
            raise EditError(
                f"the {name} table has the columns {table.schema.to_string(show_field_metadata=False)!r}, expected "
                f"{expected.to_string(show_field_metadata=False)!r}; load the tables of one saved version"
            )
    centres = _vectors(clusters["centre"], rows.width)
    radii = clusters["radius"].to_pylist()
    named = zip(*(clusters[name].to_pylist() for name in ("cluster", "label", "subject")), strict=True)
    for i, (cluster, label, subject) in enumerate(named):
        rows.place(cluster, label, subject, centres[i], radii[i])

    vectors = _vectors(keys["key"], rows.width)
    names, owners = keys["edit_id"].to_pylist(), keys["cluster"].to_pylist()
    if unknown := sorted(set(owners) - set(rows.clusters)):
        raise EditError(
            f"the keys table names clusters that the clusters table lacks: {unknown[:5]}; load the tables of one "
            "saved version"
        )
    if len(set(names)) < len(names):
        raise EditError("the keys table holds an edit id twice, expected one key an edit; load a saved table unchanged")
    columns = zip(names, owners, *(keys[name].to_pylist() for name in ("block", "radius", "position")), strict=True)
    for i, (name, owner, block, radius, position) in enumerate(columns):
        key = rows.store(name, vectors[i], block, radius, position, rows.clusters[owner])
        key.cluster.members.append(key)
    slots = torch.tensor([rows.clusters[owner].slot for owner in owners], dtype=torch.int64)  # [k]
    away = distances(vectors[:, None], rows.centres[slots][:, None]).flatten()  # [k]
    for key, distance in zip(rows.keys.values(), away.tolist(), strict=True):
        key.away = distance
    live = torch.tensor([key.live for key in rows.keys.values()], dtype=torch.bool)
    rows.reach.scatter_reduce_(0, slots[live], away[live], "amax")
    rows.next_cluster, rows.next_position = state["next_cluster"], state["next_position"]
    rows.departed = set(state["departed"])
    return rows, state["radius"], state["conflicts"], state["subject_radius"]


def _state(clusters: pa.Table) -> dict[str, Any]:
    metadata = clusters.schema.metadata or {}
    if schema.STATE not in metadata:
        raise EditError(
            f"the clusters table has no {schema.STATE.decode()!r} in its schema metadata, expected the table that "
            "`Clusters.tables` gave; Parquet keeps the metadata, but joining or rebuilding columns loses it"
        )
    state = json.loads(metadata[schema.STATE])
    if not isinstance(state, dict) or state.get("format") != schema.FORMAT:
        raise EditError(f"the clusters table is not of format {schema.FORMAT}; use the release that wrote it")
    known = {"width", "radius", "conflicts", "subject_radius", "next_cluster", "next_position", "departed"}
    if missing := known - set(state):
        raise EditError(f"the clusters table's state lacks {sorted(missing)}; load a saved table unchanged")
    return state


def _column(vectors: Tensor) -> pa.Array:
    """[n, d] float32 -> a fixed-size list column without copying the numbers one by one."""
    kind = schema.clusters(vectors.shape[1]).field("centre").type
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1).numpy()), type=kind)


def _vectors(column: pa.ChunkedArray, width: int) -> Tensor:
    """A fixed-size list column -> [n, d] float32."""
    # Chunk by chunk: a slice of a list array knows its own offset, which `values` would ignore.
    parts = [torch.tensor(chunk.flatten().to_numpy()).reshape(-1, width) for chunk in column.chunks]
    return torch.cat([torch.zeros(0, width), *parts])
