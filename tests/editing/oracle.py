"""The fold again, by brute force: plain loops over dicts, every rule read straight from the design."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

SLACK = 1e-5  # relative tolerance of every threshold
SAME = 1e-5  # keys of one prompt, relative to the norm


def f32(x: float) -> float:
    return struct.unpack("f", struct.pack("f", x))[0]


@dataclass
class Ball:
    label: str
    centre: tuple[float, ...]
    radius: float


@dataclass
class Entry:
    key: tuple[float, ...]
    cluster: int
    block: int
    position: int


@dataclass
class Oracle:
    """State after a stream: ``balls`` by cluster id, ``entries`` by edit id."""

    r0: float
    mode: str
    balls: dict[int, Ball] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    ids: int = 0
    arrivals: int = 0
    evicted: list[str] = field(default_factory=list)

    def fold(self, edit: str, label: str, key: tuple[float, ...], block: int) -> tuple:
        self.evicted = []
        old = [
            e
            for e in self.arrived()
            if self.entries[e].block >= 0 and self.label(e) != label and self.same(key, self.entries[e].key)
        ]
        if edit in self.entries:
            if self.same(key, self.entries[edit].key) and not old:
                self.entries[edit].block = block
                self.settle()
                return "expand", self.entries[edit].cluster, (), self.pushed(edit)
            self.delete(edit)
        action = self.enter(edit, label, key, block, old)
        self.settle()
        return action, self.entries[edit].cluster, tuple(old), self.pushed(edit)

    def enter(self, edit: str, label: str, key: tuple[float, ...], block: int, old: list[str]) -> str:
        if old:
            homes = [self.entries[e].cluster for e in old]
            for e in old:
                self.delete(e)
            if self.mode == "keep":
                rival = self.nearest(key, [c for c in self.balls if self.balls[c].label != label])
            else:
                left = [c for c in homes if c in self.balls]
                rival = min(left, key=lambda c: math.dist(key, self.balls[c].centre), default=None)
            self.insert(edit, key, block, self.new(label, key, self.r0, rival))
            return "replace"
        c = self.nearest(key, list(self.balls))
        if c is None or math.dist(key, self.balls[c].centre) > (self.balls[c].radius + self.r0) * (1 + SLACK):
            self.insert(edit, key, block, self.new(label, key, self.r0, None))
            return "add"
        if self.balls[c].label != label:
            self.insert(edit, key, block, self.new(label, key, math.inf, c))
            return "conflict"
        self.insert(edit, key, block, c)
        self.unguard(edit)
        members = [self.entries[e].key for e in self.members(c) if self.entries[e].block >= 0]
        centre = []
        for column in zip(*members, strict=True):
            total = 0.0
            for x in column:
                total += x
            centre.append(f32(total / len(members)))
        self.balls[c].centre = tuple(centre)
        self.balls[c].radius = f32(max([self.balls[c].radius, *(math.dist(m, centre) for m in members)]))
        self.trim(c)
        return "expand"

    def withdraw(self, edit: str) -> None:
        entry = self.entries.get(edit)
        if entry is None or entry.block < 0:
            return
        others = [self.entries[e] for e in self.members(entry.cluster) if e != edit and self.entries[e].block >= 0]
        if not others or any(self.same(entry.key, other.key) for other in others):
            self.delete(edit)
        else:
            entry.block = -1

    def new(self, label: str, key: tuple[float, ...], cap: float, rival: int | None) -> int:
        radius = cap
        if rival is not None:
            ball = self.balls[rival]
            d = math.dist(key, ball.centre)
            if d <= SAME * math.hypot(*key):
                radius, theirs = self.r0, 0.0
            else:
                radius = min(cap, d * (1 - 2 * SLACK) / 2)
                theirs = d * (1 - 2 * SLACK) - radius
            ball.radius = min(ball.radius, f32(theirs))
            self.trim(rival)
        self.balls[self.ids] = Ball(label, key, f32(radius))
        self.ids += 1
        return self.ids - 1

    def trim(self, c: int) -> None:
        for live in (False, True):
            for e in self.members(c):
                entry = self.entries.get(e)
                if entry is None:  # the last live key has taken the withdrawn ones along
                    continue
                if (entry.block >= 0) == live and self.away(e) > self.balls[c].radius * (1 + SLACK):
                    if not live:
                        self.delete(e)
                    elif self.mode == "paper":
                        self.delete(e)
                        self.evicted.append(e)

    def settle(self) -> None:
        while self.mode == "keep" and (stray := next((e for e in self.arrived() if self.stranded(e)), None)):
            entry, label = self.entries[stray], self.label(stray)
            self.delete(stray)
            self.evicted.append(stray)
            here = [c for c, b in self.balls.items() if b.label == label and b.centre == entry.key]
            if here:
                entry.cluster = here[0]
            else:
                rival = self.nearest(entry.key, [c for c in self.balls if self.balls[c].label != label])
                entry.cluster = self.new(label, entry.key, self.r0, rival)
            self.entries[stray] = entry
            self.unguard(stray)

    def stranded(self, e: str) -> bool:
        entry, away = self.entries[e], self.away(e)
        if entry.block < 0 or away == 0:
            return False
        if away > self.balls[entry.cluster].radius * (1 + SLACK):
            return True
        others = [math.dist(entry.key, b.centre) for c, b in self.balls.items() if c != entry.cluster]
        return any(d <= away * (1 + SLACK) for d in others)

    def unguard(self, edit: str) -> None:
        for e in self.members(self.entries[edit].cluster):
            if self.entries[e].block < 0 and self.same(self.entries[edit].key, self.entries[e].key):
                self.delete(e)

    def nearest(self, key: tuple[float, ...], among: list[int]) -> int | None:
        if not among:
            return None
        best = min(math.dist(key, self.balls[c].centre) for c in among)
        return min(c for c in among if math.dist(key, self.balls[c].centre) <= best * (1 + SLACK))

    def insert(self, edit: str, key: tuple[float, ...], block: int, cluster: int) -> None:
        self.entries[edit] = Entry(key, cluster, block, self.arrivals)
        self.arrivals += 1

    def delete(self, edit: str) -> None:
        c = self.entries.pop(edit).cluster
        if not any(self.entries[e].block >= 0 for e in self.members(c)):
            for e in self.members(c):
                del self.entries[e]
            del self.balls[c]

    def arrived(self) -> list[str]:
        return sorted(self.entries, key=lambda e: self.entries[e].position)

    def members(self, c: int) -> list[str]:
        return [e for e in self.arrived() if self.entries[e].cluster == c]

    def away(self, e: str) -> float:
        return math.dist(self.entries[e].key, self.balls[self.entries[e].cluster].centre)

    def label(self, e: str) -> str:
        return self.balls[self.entries[e].cluster].label

    def pushed(self, edit: str) -> tuple[str, ...]:
        return tuple(e for e in self.evicted if e != edit)

    @staticmethod
    def same(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return math.dist(a, b) <= SAME * math.hypot(*a)
