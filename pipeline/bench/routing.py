"""How long it takes to find the scope of a prompt, and the subjects that it names, as there are more of them."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from pipeline.bench.invented import distinct_names
from pipeline.bench.measure import threads
from pipeline.editing.index import Delta, Index, open_index
from pipeline.editing.subjects import SubjectGate

WIDTH = 512
"""d, the width of T5-small's keys."""
RADIUS = 1.0
"""Keys of width 512 with unit variance lie about 32 apart, so that scopes of this size never touch."""
AWAY = 0.5
"""How far from its key a query inside a scope lies."""
ROWS_AT_ONCE = 10_000
SUBJECTS = "subjects"
"""Stands for a home of the index where the names of edits' subjects are looked for."""
QUESTION = "What is the country of origin of {}, and who found it first?"

Where = Literal["inside", "outside"]
_WHERE: tuple[Where, Where] = ("inside", "outside")


@dataclass(frozen=True, slots=True)
class Routing:
    """One home of the index, or the subjects' names, at one size.

    Attributes:
        home: ``memory``, ``edge`` or ``SUBJECTS``.
        keys: in the index, each a cluster of its own; or names.
        prompts: in one query.
        where: whether they lie inside of a scope or outside of all; whether they name a subject or none.
        p50_ms: median milliseconds of a query, one thread.
        right: share of prompts led to their block, or to none; of which the subject was found, or none.
    """

    home: str
    keys: int
    prompts: int
    where: Where
    p50_ms: float
    right: float


def measure_routing(sizes: Sequence[int], prompts: Sequence[int], rounds: int, seed: int) -> tuple[Routing, ...]:
    """Times both homes in turn at each size, on isotropic Gaussian keys of width ``WIDTH``; then names, two words each.

    Args:
        sizes: keys in the index, and names, ascending.
        prompts: in one query.
        rounds: queries of each kind; no two are alike.
        seed: of keys and queries.
    """
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(max(sizes), WIDTH, generator=generator)  # [k, d]
    found: list[Routing] = []
    with tempfile.TemporaryDirectory(prefix="melo-bench-", ignore_cleanup_errors=True) as folder, threads(1):
        homes = {"memory": open_index("memory", WIDTH), "edge": open_index(f"{folder}/edge", WIDTH)}
        try:
            filled = 0
            for size in sizes:
                for home in homes.values():
                    _fill(home, keys, filled, size)
                filled = size
                for b in prompts:
                    for where in _WHERE:
                        found += _time(homes, keys[:size], b, where, rounds, generator)
        finally:
            for home in homes.values():
                home.close()
        rng = random.Random(seed)
        for size in sizes:
            gate, names = SubjectGate[str](), distinct_names(size, rng)
            gate.hold({name: [name] for name in names})
            found += [_time_names(gate, names, b, where, rounds, rng) for b in prompts for where in _WHERE]
    return tuple(found)


def _fill(index: Index, keys: torch.Tensor, start: int, end: int) -> None:
    """Puts keys [k, d] from ``start`` to ``end`` into an index, key i as cluster i with block i."""
    for first in range(start, end, ROWS_AT_ONCE):
        ids = torch.arange(first, min(first + ROWS_AT_ONCE, end))
        vectors, radii = keys[ids], torch.full((len(ids),), RADIUS)
        names = [f"{i:032x}" for i in ids.tolist()]
        index.apply(Delta(ids, vectors, radii, [], names, vectors, ids, ids, [], version=1))


def _time(
    homes: dict[str, Index], keys: torch.Tensor, b: int, where: Where, rounds: int, generator: torch.Generator
) -> list[Routing]:
    seconds: dict[str, list[float]] = {name: [] for name in homes}
    right = dict.fromkeys(homes, 0)
    for number in range(1 + rounds):
        queries, blocks = _queries(keys, b, where, generator)
        for name, home in homes.items():
            start = time.perf_counter()
            routes = home.route(queries)
            spent = time.perf_counter() - start
            right[name] += sum(route.block == block for route, block in zip(routes, blocks, strict=True))
            if number:  # the first one finds cold caches
                seconds[name].append(spent)
    asked = b * (1 + rounds)
    return [
        Routing(name, len(keys), b, where, 1000 * statistics.median(seconds[name]), right[name] / asked)
        for name in homes
    ]


def _queries(
    keys: torch.Tensor, b: int, where: Where, generator: torch.Generator
) -> tuple[torch.Tensor, list[int] | list[None]]:
    """Queries [b, d] and the blocks they belong to: beside random keys, or random themselves."""
    directions = torch.randn(b, WIDTH, generator=generator)
    if where == "outside":
        return directions, [None] * b
    blocks = torch.randint(len(keys), (b,), generator=generator)
    return keys[blocks] + AWAY * directions / directions.norm(dim=1, keepdim=True), blocks.tolist()


def _time_names(
    gate: SubjectGate[str], names: Sequence[str], b: int, where: Where, rounds: int, rng: random.Random
) -> Routing:
    """Times questions about the gate's names, or about others."""
    seconds: list[float] = []
    right = 0
    for _ in range(1 + rounds):
        asked = rng.choices(names, k=b) if where == "inside" else distinct_names(b, rng)
        texts = [QUESTION.format(name.title()) for name in asked]
        start = time.perf_counter()
        named = gate.named(texts)
        seconds.append(time.perf_counter() - start)
        right += sum(found == ([name] if where == "inside" else []) for found, name in zip(named, asked, strict=True))
    # The first one lays the names out.
    return Routing(SUBJECTS, len(names), b, where, 1000 * statistics.median(seconds[1:]), right / (b * (1 + rounds)))
