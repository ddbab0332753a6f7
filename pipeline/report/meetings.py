"""Conflicts: edits with different answers whose scopes met, read from the index and the records of a version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.editing.folder import CLUSTERS, KEYS

ROUNDING = 1e-4
"""Part of a radius that its arithmetic may be off by."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """An edit whose scope was cut by a conflict, and the nearest scope with another answer.

    Attributes:
        prompt, target: of the edit.
        radius, usual: how far its cluster reaches, and how far it would with nothing in the way; units of the key.
        other_prompt, other_target: of an edit of the nearest cluster with another answer; None: it is gone.
        other_radius: how far that one reaches; None likewise.
        apart: between the two centres; None likewise.
    """

    prompt: str
    target: str
    radius: float
    usual: float
    other_prompt: str | None
    other_target: str | None
    other_radius: float | None
    apart: float | None


@dataclass(frozen=True, slots=True)
class Moved:
    """An edit that was pushed out of the cluster that it had entered, and put back under a key of its own."""

    prompt: str
    target: str
    radius: float


class Index:
    """The index of a version, joined with its records.

    Args:
        version: folder of an edited model.
        records: schema ``EDITS``, of it.
    """

    def __init__(self, version: Path, records: pa.Table) -> None:
        clusters, keys = pq.read_table(version / CLUSTERS), pq.read_table(version / KEYS)
        self._clusters = clusters["cluster"].to_pylist()
        self._labels = np.array(clusters["label"].to_pylist(), dtype=object)
        self._subjects = np.array(clusters["subject"].to_pylist(), dtype=object)
        self._radii = clusters["radius"].to_numpy().astype(np.float64)
        width = clusters.schema.field("centre").type.list_size
        flat = clusters["centre"].combine_chunks().flatten()  # [clusters * width]
        self._centres = flat.to_numpy(zero_copy_only=False).reshape(-1, width)
        self._place = {cluster: place for place, cluster in enumerate(self._clusters)}
        self._keys = [
            row for row in keys.select(["edit_id", "cluster", "block", "radius"]).to_pylist() if row["block"] >= 0
        ]
        names = ("edit_id", "prompt", "target", "cluster", "state")
        self._records = {row["edit_id"]: row for row in records.select(names).to_pylist()}
        self._of: dict[int, str] = {}
        for key in self._keys:
            self._of.setdefault(key["cluster"], key["edit_id"])
        self._live = np.array([cluster in self._of for cluster in self._clusters], dtype=bool)

    @cached_property
    def cut(self) -> list[dict[str, Any]]:
        """The first key of each cluster that reaches less far than it would alone, the most cut first."""
        first = [key for key in self._keys if self._of[key["cluster"]] == key["edit_id"]]
        part = {key["edit_id"]: self._radii[self._place[key["cluster"]]] / key["radius"] for key in first}
        found = [key for key in first if part[key["edit_id"]] < 1 - ROUNDING]
        return sorted(found, key=lambda key: float(part[key["edit_id"]]))

    def meetings(self) -> Iterator[Meeting]:
        """Edits whose cluster was cut and what it was cut against, the most cut first."""
        for key in self.cut:
            place = self._place[key["cluster"]]
            other = self._nearest(place)
            mine = self._records[key["edit_id"]]
            theirs = None if other is None else self._records[self._of[self._clusters[other]]]
            yield Meeting(
                mine["prompt"],
                mine["target"],
                float(self._radii[place]),
                float(key["radius"]),
                None if theirs is None else theirs["prompt"],
                None if theirs is None else theirs["target"],
                None if other is None else float(self._radii[other]),
                None if other is None else float(np.linalg.norm(self._centres[place] - self._centres[other])),
            )

    def moved(self) -> Iterator[Moved]:
        """Edits that lie in another cluster than the one they entered."""
        for key in self._keys:
            record = self._records[key["edit_id"]]
            if record["cluster"] is not None and record["cluster"] != key["cluster"]:
                radius = float(self._radii[self._place[key["cluster"]]])
                yield Moved(record["prompt"], record["target"], radius)

    def _nearest(self, place: int) -> int | None:
        """The nearest cluster with another answer that the same prompts may reach, and that has a live key."""
        rivals = (self._labels != self._labels[place]) & (self._subjects == self._subjects[place])
        rivals &= self._live
        if not rivals.any():
            return None
        apart = np.linalg.norm(self._centres - self._centres[place], axis=1)
        return int(np.where(rivals, apart, np.inf).argmin())
