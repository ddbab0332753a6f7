"""Clusters of keys as a fold over the edits: Add, Expand, Conflict (MELO, "Cluster Construction").

For a new key k of label y, with C the nearest cluster by its centre, d its distance, R its radius:

- Add, when d > R + R0 or there is no cluster: a new cluster at k with radius R0.
- Expand, when d <= R + R0 and C is of label y: k joins C, the centre is the mean again, and
  R = max(R, the largest distance of its keys to the centre).
- Conflict, when d <= R + R0 and C is of another label: a new cluster at k with radius d/2, and C shrinks to
  d/2, both a little less so that no query is in both. C's centre stays: it is what d was measured from.
- Replace, when a key of another label lies where k lies: that key goes, its edit is superseded, and k gets a
  new cluster of R0, or less where something of another label is in the way.

Edits with a subject are folded among those of the same subject alone: prompts that don't name it never reach them,
so edits about others are no conflict, and where keys tell what is asked of a subject theirs may well lie in one place.
But a prompt has one answer: edits that are named as its rivals are replaced wherever they lie.

``paper`` drops the keys that a shrunk radius leaves outside. ``keep`` sees to it that after every edit each key
routes to itself: its nearest centre is its own cluster's, and it lies within that radius. A key for which that
fails is *stranded*: a conflict shrank its cluster, or a new or moved centre came nearer than its own. In order
of arrival every stranded key gets a cluster at itself, which can strand others in turn. It ends, because a key
at its own centre is never stranded and each turn puts one more there.

No decision turns on rounding: thresholds have the index's tolerance, and distances come pair by pair. So the
same edits in the same order give the same bits, however they are cut into batches.

Shape letter: d key width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Literal

import torch
from torch import Tensor

from pipeline.editing.edit import Action
from pipeline.editing.index.protocol import TOLERANCE
from pipeline.editing.nearby import Nearby
from pipeline.editing.rows import Cluster, Key, Rows, distances

Conflicts = Literal["keep", "paper"]

COINCIDENT = 1e-5
"""Two keys are of one prompt when they differ by no more than this part of their norm: a few times what the
rounding of a forward pass in float32 moves a hidden state, and far less than any other wording does."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one edit did.

    Attributes:
        edit_id: the edit.
        action: what was decided; ``expand`` also when the same edit was already there.
        cluster: id of the cluster that holds its key after the step.
        replaced: ids of edits that it superseded; their keys are gone.
        evicted: ids of other edits pushed out of their clusters, put back (``keep``) or dropped (``paper``).
    """

    edit_id: str
    action: Action
    cluster: int
    replaced: tuple[str, ...] = ()
    evicted: tuple[str, ...] = ()


class Fold:
    """Takes a batch of edits into the clusters, one after the other.

    Args:
        rows: the clusters and keys so far; changed in place.
        conflicts: ``keep`` or ``paper``.
        keys: [b, d] float32, the batch's keys.
        subjects: of the batch's edits, b texts; empty for those that any prompt may reach.
        radii: R0 of each of them.
        limits: what the radius of a new cluster at each is never to exceed, not even where a conflict gives it more.
    """

    def __init__(
        self,
        rows: Rows,
        conflicts: Conflicts,
        keys: Tensor,
        subjects: Sequence[str],
        radii: Sequence[float],
        limits: Sequence[float],
    ) -> None:
        self._rows = rows
        self._radii = radii
        self._limits = limits
        self._keep = conflicts == "keep"
        self._keys = keys
        self._subjects = subjects
        self._subject, self._radius, self._limit = "", 0.0, math.inf
        self._nearby = Nearby(rows, keys, subjects)
        self._suspects: list[tuple[int, str]] = []  # heap of (position, edit id): keys that may be stranded
        self._evicted: list[str] = []

    def step(self, i: int, edit_id: str, label: str, block: int, rivals: Sequence[str]) -> Step:
        """Takes in the edit with the batch's key i; i ascends from call to call.

        ``rivals`` are ids of edits of the same prompt with other labels.
        """
        rows, vector = self._rows, self._keys[i]
        self._turn(i)
        self._evicted = []
        superseded = self._superseded(label, vector, rivals)
        known = rows.keys.get(edit_id)
        # Another spelling of a known prompt moves its key; a withdrawn key whose place was taken comes anew.
        moved = known is not None and known.cluster.subject != self._subject
        if known is not None and (superseded or moved or not coincident(rows, vector, [known])):
            rows.remove(known)
            known = None

        action: Action
        if known is not None:
            action = "expand"
            rows.revise(known, block)
            self._suspect(known)  # withdrawn, it had no right to its place
        elif superseded:
            action = "replace"
            rows.arrive(edit_id, vector, block, self._radius, self._replace(label, vector, superseded))
        else:
            near = self._nearby.nearest(vector)
            if near is None or near[1] > (near[0].radius + self._radius) * (1 + TOLERANCE):
                action = "add"
                rows.arrive(edit_id, vector, block, self._radius, self._found(label, vector, self._radius))
            elif near[0].label != label:
                action = "conflict"
                rows.arrive(edit_id, vector, block, self._radius, self._found(label, vector, self._limit, near))
            else:
                action = "expand"
                self._expand(rows.arrive(edit_id, vector, block, self._radius, near[0]))
        self._settle()
        evicted = tuple(other for other in self._evicted if other != edit_id)
        cluster = rows.keys[edit_id].cluster.id
        return Step(edit_id, action, cluster, tuple(key.edit_id for key in superseded), evicted)

    def stranded(self, i: int, key: Key) -> bool:
        """Whether the batch's key i, which is in a cluster, does not route to itself; i ascends."""
        self._turn(i)
        return self._stranded(key)

    def _turn(self, i: int) -> None:
        """From here on it is about the batch's key i."""
        self._nearby.turn(i)
        self._subject, self._radius, self._limit = self._subjects[i], self._radii[i], self._limits[i]

    def _superseded(self, label: str, vector: Tensor, rivals: Sequence[str]) -> list[Key]:
        """Live keys of other labels that lie where this one lies, and those of rivals, in order of arrival."""
        limit = self._rows.reach + _slack(vector)
        others = [cluster for cluster in self._nearby.within(vector, limit) if cluster.label != label]
        found = coincident(self._rows, vector, [key for cluster in others for key in cluster.live])
        named = [self._rows.keys[rival] for rival in rivals if rival in self._rows.keys]
        return sorted({*found, *(key for key in named if key.live)}, key=lambda key: key.position)

    def _replace(self, label: str, vector: Tensor, superseded: list[Key]) -> Cluster:
        """Takes the superseded keys out and makes room where they lay."""
        homes = {key.cluster.id: key.cluster for key in superseded if key.cluster.subject == self._subject}
        for key in superseded:
            self._rows.remove(key)
        if self._keep:
            rival = self._nearby.nearest(vector, unlike=label)
        else:  # the paper looks at no other cluster than the one at hand
            left = [(home, _between(self._rows, vector, home)) for i, home in homes.items() if i in self._rows.clusters]
            rival = min(left, key=lambda found: found[1], default=None)
        return self._found(label, vector, self._radius, rival)

    def _expand(self, key: Key) -> None:
        """Moves the centre of a cluster that a key has joined, and widens it around its keys."""
        rows, cluster = self._rows, key.cluster
        self._supplant(key)
        rows.move(cluster)
        rows.resize(cluster, max(cluster.radius, *(member.away for member in cluster.live)))
        self._trim(cluster)
        self._disturb(cluster)

    def _found(self, label: str, vector: Tensor, largest: float, rival: tuple[Cluster, float] | None = None) -> Cluster:
        """A cluster at a key, no larger than allowed, strictly apart from its rival, which shrinks as far as needed."""
        radius = largest
        if rival is not None:
            other, d = rival
            if d <= _slack(vector):
                # The rival's centre lies where the key lies, though none of its keys does: all of them leave.
                radius = room = min(largest, self._radius)
            else:
                # Less than d by more than the tolerance of both radii: no query counts as inside of both.
                room = d * (1 - 2 * TOLERANCE)
                radius = min(largest, room / 2)
            if room - radius < other.radius:
                self._rows.resize(other, room - radius)
                self._trim(other)
        cluster = self._rows.found(label, self._subject, vector, radius)
        self._disturb(cluster)
        return cluster

    def _supplant(self, key: Key) -> None:
        """Withdrawn keys of its cluster give way to a key that lies where they lie."""
        guards = [other for other in key.cluster.members if not other.live]
        for guard in coincident(self._rows, self._rows.vector(key), guards):
            self._rows.remove(guard)

    def _trim(self, cluster: Cluster) -> None:
        """Keys outside the radius: withdrawn ones go, live ones go (``paper``) or look for a place (``keep``)."""
        outside = [key for key in cluster.members if key.away > cluster.radius * (1 + TOLERANCE)]
        for key in sorted(outside, key=lambda key: key.live):  # the last live key takes the withdrawn ones along
            if key.live and self._keep:
                self._suspect(key)
            else:
                self._rows.remove(key)
                if key.live:
                    self._evicted.append(key.edit_id)

    # -- keep: every key routes to itself ----------------------------------------------------------------

    def _suspect(self, key: Key) -> None:
        if self._keep:
            heappush(self._suspects, (key.position, key.edit_id))

    def _disturb(self, cluster: Cluster) -> None:
        """Suspects the keys that a new or moved centre may have stranded: other clusters' and its own.

        A key at distance a from its own centre is nearer to no centre that is 2a or more away from that one.
        """
        if not self._keep:
            return
        rows = self._rows
        reach = rows.reach.clamp(min=rows.reach[cluster.slot].item())  # [s]
        limit = (2 * reach * (1 + 4 * TOLERANCE)).masked_fill(reach == 0, -1)
        others = [other for other in self._nearby.within(rows.centres[cluster.slot], limit) if other is not cluster]
        self._compare([key for other in others for key in other.live if key.away > 0], [cluster])
        self._compare([key for key in cluster.live if key.away > 0], others)

    def _compare(self, keys: list[Key], rivals: list[Cluster]) -> None:
        """Suspects those keys that are not strictly nearer to their own centre than to the rivals' centres."""
        if keys and rivals:
            centres = self._rows.centres[[rival.slot for rival in rivals]]
            nearest = distances(self._rows.vectors[[key.row for key in keys]], centres).amin(1)
            for key, d in zip(keys, nearest.tolist(), strict=True):
                if d <= key.away * (1 + TOLERANCE):
                    self._suspect(key)

    def _stranded(self, key: Key) -> bool:
        if key.away == 0:
            return False
        limit = key.away * (1 + TOLERANCE)
        if key.away > key.cluster.radius * (1 + TOLERANCE):
            return True
        vector = self._rows.vector(key)
        others = [other for other in self._nearby.within(vector, limit) if other is not key.cluster]
        return any(_between(self._rows, vector, other) <= limit for other in others)

    def _settle(self) -> None:
        """Gives stranded keys clusters of their own, the earliest first, until there is none."""
        rows = self._rows
        while self._suspects:
            key = rows.keys[heappop(self._suspects)[1]]
            if not self._stranded(key):
                continue
            label, vector = key.cluster.label, rows.vector(key)
            rows.leave(key)
            self._evicted.append(key.edit_id)
            # Keys of one place must share a cluster, or their centres would tie for ever.
            twins = (other for other in self._nearby.within(vector, 0.0) if other.label == label)
            home = next((twin for twin in twins if _between(rows, vector, twin) == 0), None)
            if home is None:
                home = self._found(label, vector, key.radius, self._nearby.nearest(vector, unlike=label))
            rows.join(key, home)
            self._supplant(key)


def coincident(rows: Rows, vector: Tensor, keys: list[Key]) -> list[Key]:
    """Those of the keys that belong to the same prompt as ``vector`` [d], to rounding."""
    if not keys:
        return []
    d = distances(vector[None], rows.vectors[[key.row for key in keys]])[0]
    return [keys[i] for i in (d <= _slack(vector)).nonzero()[:, 0].tolist()]


def _slack(vector: Tensor) -> float:
    """How far another key of the same prompt may lie from this one, in units of the key."""
    return COINCIDENT * distances(vector[None], torch.zeros(1, len(vector))).item()


def _between(rows: Rows, vector: Tensor, cluster: Cluster) -> float:
    return distances(vector[None], rows.centres[cluster.slot, None]).item()
