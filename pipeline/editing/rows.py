"""The rows behind the fold: clusters and keys in memory, and what changed since an index was last told.

Nothing here decides anything; ``pipeline.editing.clusters`` does. All distances are float64 over float32
vectors, and every pair is computed by itself: no cancellation as in |a|^2 + |b|^2 - 2ab, and the same bits
whatever else is in the batch, which a matrix product does not promise.

Shape letters: s slots of clusters, c clusters, k keys, d key width.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter

import torch
from torch import Tensor

from pipeline.editing.index.protocol import Delta

WITHDRAWN = -1
"""Block of a key whose edit was withdrawn: it still claims its place, for the backbone."""

FREE = -1
"""Label code of a slot that holds no cluster."""


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances [..., m, n] float64 of a [..., m, d] to b [..., n, d]."""
    return torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist")


@dataclass(slots=True, eq=False)
class Key:
    """One edit's key: the vector in ``Rows.vectors[row]``, its cluster, and how far it lies from that centre.

    ``radius`` is of a cluster that is founded at it, where nothing is in the way.
    """

    edit_id: str
    row: int
    block: int
    radius: float
    position: int
    cluster: Cluster
    away: float = 0.0

    @property
    def live(self) -> bool:
        """Whether its edit is answered by a block; otherwise it only guards its place for the backbone."""
        return self.block != WITHDRAWN


@dataclass(slots=True, eq=False)
class Cluster:
    """Keys of one label in order of arrival, and a ball around the centre ``Rows.centres[slot]``.

    Where it has a subject, it is there for prompts that name that, and only clusters of that subject contend with it.
    """

    id: int
    label: str
    slot: int
    radius: float
    subject: str = ""
    members: list[Key] = field(default_factory=list)

    @property
    def live(self) -> list[Key]:
        """Its keys without the withdrawn ones; they alone shape it."""
        return [key for key in self.members if key.live]


def _doubled(table: Tensor, fill: float = 0) -> Tensor:
    """The same rows and as many again: growth costs a constant per row and needs no capacity beforehand."""
    return torch.cat([table, table.new_full((max(len(table), 64), *table.shape[1:]), fill)])


def _single(number: float) -> float:
    """Rounded to float32, as it is stored."""
    return torch.tensor(number, dtype=torch.float32).item()


class Rows:
    """Clusters and keys.

    Attributes:
        width: d.
        centres: [s, d] float32; the slot of a removed cluster is used again.
        reach: [s] float64, no live key of the cluster lies further from its centre (0 in a free slot).
        codes: [s] int64, a number for each label, ``FREE`` in a free slot.
        scopes: [s] int64, a number for each subject.
        vectors: the keys, [rows, d] float32.
        clusters: by cluster id.
        keys: by edit id.
        departed: ids of edits that were here once and have no key any more.
        stirred: slots whose centre changed since a reader of the centres emptied the set.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.centres = torch.zeros(0, width)
        self.reach = torch.zeros(0, dtype=torch.float64)
        self.codes = torch.zeros(0, dtype=torch.int64)
        self.scopes = torch.zeros(0, dtype=torch.int64)
        self.vectors = torch.zeros(0, width)
        self.clusters: dict[int, Cluster] = {}
        self.keys: dict[str, Key] = {}
        self.departed: set[str] = set()
        self.stirred: set[int] = set()
        self.next_cluster = 0
        self.next_position = 0
        self._at: dict[int, Cluster] = {}
        self._labels: dict[str, int] = {}
        self._subjects: dict[str, int] = {}
        self._free_slots: list[int] = []
        self._free_rows: list[int] = []
        self._changed_clusters: set[int] = set()
        self._changed_keys: set[str] = set()
        self._gone_clusters: set[int] = set()
        self._gone_keys: set[str] = set()

    # -- clusters ----------------------------------------------------------------------------------------

    def code(self, label: str) -> int:
        """The number that stands for a label in ``codes``."""
        return self._labels.setdefault(label, len(self._labels))

    def scope(self, subject: str) -> int:
        """The number that stands for a subject in ``scopes``."""
        return self._subjects.setdefault(subject, len(self._subjects))

    def at(self, slots: Iterable[int]) -> list[Cluster]:
        """The clusters in these slots."""
        return [self._at[slot] for slot in slots]

    def found(self, label: str, subject: str, centre: Tensor, radius: float) -> Cluster:
        """A new cluster, with no key yet, under the next id."""
        cluster = self.place(self.next_cluster, label, subject, centre, radius)
        self.next_cluster += 1
        self._changed_clusters.add(cluster.id)
        return cluster

    def place(self, cluster_id: int, label: str, subject: str, centre: Tensor, radius: float) -> Cluster:
        """A cluster under an id of its own, not reported by ``drain``: as it was when it was saved."""
        if not self._free_slots:
            size = len(self.codes)
            self.centres, self.reach = _doubled(self.centres), _doubled(self.reach)
            self.codes, self.scopes = _doubled(self.codes, FREE), _doubled(self.scopes)
            self._free_slots = list(range(len(self.codes) - 1, size - 1, -1))
        cluster = Cluster(cluster_id, label, self._free_slots.pop(), _single(radius), subject)
        self.clusters[cluster_id] = self._at[cluster.slot] = cluster
        self.centres[cluster.slot] = centre
        self.codes[cluster.slot], self.scopes[cluster.slot] = self.code(label), self.scope(subject)
        self.stirred.add(cluster.slot)
        return cluster

    def move(self, cluster: Cluster) -> None:
        """Puts the centre at the mean of the live keys: float64 sums in order of arrival, stored as float32."""
        live = cluster.live
        vectors = self.vectors[[key.row for key in live]]  # [k, d]
        # cumsum adds row by row; sum() may pair the rows up otherwise in another build of torch.
        centre = (vectors.double().cumsum(0)[-1] / len(live)).float()
        self.centres[cluster.slot] = centre
        self.stirred.add(cluster.slot)
        self._changed_clusters.add(cluster.id)
        self._measure(cluster)

    def resize(self, cluster: Cluster, radius: float) -> None:
        """Sets the radius."""
        cluster.radius = _single(radius)
        self._changed_clusters.add(cluster.id)

    def _drop(self, cluster: Cluster) -> None:
        for key in list(cluster.members):
            self._forget(key)
        self.codes[cluster.slot], self.reach[cluster.slot] = FREE, 0.0
        self.stirred.add(cluster.slot)
        self._free_slots.append(cluster.slot)
        del self.clusters[cluster.id], self._at[cluster.slot]
        self._changed_clusters.discard(cluster.id)
        self._gone_clusters.add(cluster.id)

    def _measure(self, cluster: Cluster) -> None:
        rows = [key.row for key in cluster.members]
        for key, away in zip(
            cluster.members,
            distances(self.vectors[rows], self.centres[cluster.slot, None])[:, 0].tolist(),
            strict=True,
        ):
            key.away = away
        self.reach[cluster.slot] = max(key.away for key in cluster.members if key.live)

    # -- keys --------------------------------------------------------------------------------------------

    def vector(self, key: Key) -> Tensor:
        """[d] float32."""
        return self.vectors[key.row]

    def arrive(self, edit_id: str, vector: Tensor, block: int, radius: float, cluster: Cluster) -> Key:
        """A new key, in a cluster and at the end of the order of arrival."""
        key = self.store(edit_id, vector, block, radius, self.next_position, cluster)
        self.next_position += 1
        self.departed.discard(edit_id)
        self._gone_keys.discard(edit_id)
        self.join(key, cluster)
        return key

    def store(self, edit_id: str, vector: Tensor, block: int, radius: float, position: int, cluster: Cluster) -> Key:
        """A key that is not among its cluster's members yet and not reported by ``drain``."""
        if not self._free_rows:
            size = len(self.vectors)
            self.vectors = _doubled(self.vectors)
            self._free_rows = list(range(len(self.vectors) - 1, size - 1, -1))
        key = self.keys[edit_id] = Key(edit_id, self._free_rows.pop(), block, _single(radius), position, cluster)
        self.vectors[key.row] = vector
        return key

    def join(self, key: Key, cluster: Cluster) -> None:
        """Enters a key that is in no cluster into this one; the geometry stays."""
        key.cluster = cluster
        insort(cluster.members, key, key=attrgetter("position"))
        key.away = distances(self.vector(key)[None], self.centres[cluster.slot, None]).item()
        self.revise(key, key.block)

    def revise(self, key: Key, block: int) -> None:
        """Sets who answers; a key that comes alive counts again for its cluster's reach."""
        key.block = block
        slot = key.cluster.slot
        if key.live:
            self.reach[slot] = max(self.reach[slot].item(), key.away)
        self._changed_keys.add(key.edit_id)

    def leave(self, key: Key) -> None:
        """Takes a key out of its cluster. A cluster without live keys goes, and its withdrawn keys with it."""
        key.cluster.members.remove(key)
        if not any(other.live for other in key.cluster.members):
            self._drop(key.cluster)

    def remove(self, key: Key) -> None:
        """Takes a key out for good."""
        self.leave(key)
        self._forget(key)

    def _forget(self, key: Key) -> None:
        self._free_rows.append(key.row)
        del self.keys[key.edit_id]
        self.departed.add(key.edit_id)
        self._changed_keys.discard(key.edit_id)
        self._gone_keys.add(key.edit_id)

    # -- leaving memory ----------------------------------------------------------------------------------

    def drain(self, version: int) -> Delta:
        """What changed since the last drain, as one delta."""
        delta = self._delta(
            (self.clusters[i] for i in self._changed_clusters), (self.keys[i] for i in self._changed_keys), version
        )
        delta.gone_clusters.extend(sorted(self._gone_clusters))
        delta.gone_keys.extend(sorted(self._gone_keys))
        for changes in (self._changed_clusters, self._gone_clusters):
            changes.clear()
        for names in (self._changed_keys, self._gone_keys):
            names.clear()
        return delta

    def everything(self, version: int) -> Delta:
        """All rows, as one delta."""
        return self._delta(self.clusters.values(), self.keys.values(), version)

    def _delta(self, clusters: Iterable[Cluster], keys: Iterable[Key], version: int) -> Delta:
        chosen = sorted(clusters, key=attrgetter("id"))
        arrived = sorted(keys, key=attrgetter("position"))
        return Delta(
            cluster_ids=torch.tensor([c.id for c in chosen], dtype=torch.int64),
            centres=self.centres[[c.slot for c in chosen]],
            radii=torch.tensor([c.radius for c in chosen], dtype=torch.float32),
            gone_clusters=[],
            edit_ids=[key.edit_id for key in arrived],
            keys=self.vectors[[key.row for key in arrived]],
            key_clusters=torch.tensor([key.cluster.id for key in arrived], dtype=torch.int64),
            key_blocks=torch.tensor([key.block for key in arrived], dtype=torch.int64),
            gone_keys=[],
            version=version,
            subjects=[c.subject for c in chosen],
        )
