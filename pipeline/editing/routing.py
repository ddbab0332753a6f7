"""From prompts to routes: which subjects a prompt names, its keys, and what the index leads them to.

Shape letters: b prompts, s tokens, r things that are looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch

from pipeline.editing.about import know, names_of
from pipeline.editing.clauses import Clause, clause_of
from pipeline.editing.edit import Edit, Route
from pipeline.editing.encoders import KeyEncoder
from pipeline.editing.index import Index
from pipeline.editing.index.protocol import holds
from pipeline.editing.keys import KeyReader
from pipeline.editing.subjects import SubjectGate

AHEAD = 128
"""Wordings that are read ahead at once; requests that come meanwhile wait for no more than these."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The prompts of one request.

    Attributes:
        mask: [b, s], ones where the prompts' tokens lie in the request's first forward pass.
        texts: gives the b prompts as texts; called by who needs them.
    """

    mask: torch.Tensor
    texts: Callable[[], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Sought:
    """What is looked up for a prompt with one key.

    Attributes:
        prompt: place of the prompt in its request.
        subjects: of the clusters that it may find, empty for those without one.
        clause: what the key is made of; None: the whole prompt.
    """

    prompt: int
    subjects: list[str]
    clause: Clause | None = None


class Router:
    """Leads prompts to edits; changes nothing but what it remembers.

    Args:
        encoder: makes keys.
        index: says which cluster holds a key.
        lock: held while the index is changed and while it is asked.
    """

    def __init__(self, encoder: KeyEncoder, index: Index, lock: AbstractContextManager[bool]) -> None:
        self._encoder = encoder
        self._index = index
        self._lock = lock
        self._gate = SubjectGate[str]()
        self._names: dict[str, list[str]] = {}
        self._free = True

    def know(self, edits: Mapping[str, Sequence[Edit]], free: bool) -> None:
        """Takes in which edits are about what: a prompt that names no subject is led to no edit that has one.

        Args:
            edits: those about each subject; a prompt that names an alias of one of them names the subject.
            free: whether there are edits about none.
        """
        know(self._gate, edits)
        self._names = {subject: names_of(subject, about) for subject, about in edits.items()}
        self._free = free

    def route(self, prompts: Sequence[str], outside: bool = False) -> list[Route]:
        """A route a prompt, see ``Index.route``."""
        with self._lock:
            sought = self._sought(prompts)
        keys = self._keys_of(sought, prompts)
        with self._lock:
            return self._found(sought, keys, len(prompts), outside)

    def read_ahead(self, wordings: Sequence[str]) -> Iterator[None]:
        """Has the encoder remember what wordings ask, so that a request in these words costs no pass through it.

        Args:
            wordings: of edits that are known.

        Yields:
            After every ``AHEAD`` of them. There is nothing to do where keys are of whole prompts.
        """
        for start in range(0, len(wordings) if self._encoder.apart else 0, AHEAD):
            batch = wordings[start : start + AHEAD]
            with self._lock:
                sought = [each for each in self._sought(batch) if each.clause is not None]
            self._keys_of(sought, batch)
            yield

    @contextmanager
    def during(self, asked: Asked, activate: Callable[[list[Route]], None], outside: bool = False) -> Iterator[None]:
        """Calls ``activate`` with the routes of a request, under the lock and before any block runs within.

        Hidden states come out of the request's own first pass, at no cost; other keys are made before it.

        Args:
            asked: the request.
            activate: takes a route a prompt.
            outside: see ``Index.route``.
        """
        if not isinstance(self._encoder, KeyReader):
            prompts = asked.texts()
            with self._lock:
                sought = self._sought(prompts)
            keys = self._keys_of(sought, prompts)
            with self._lock:
                activate(self._found(sought, keys, len(prompts), outside))
            yield
            return

        def led(keys: torch.Tensor) -> None:
            with self._lock:
                sought = self._sought(asked.texts() if len(self._gate) else [""] * len(keys))
                activate(self._found(sought, keys.cpu(), len(keys), outside))

        with self._encoder.reading(asked.mask, led):
            yield

    def _sought(self, prompts: Sequence[str]) -> list[Sought]:
        """What is to be looked up, in the order of prompts; nothing of those that can be led nowhere."""
        named = self._gate.named(prompts) if len(self._gate) else [[] for _ in prompts]
        if not self._encoder.apart:
            return [Sought(place, ["", *subjects]) for place, subjects in enumerate(named)]
        found = []
        for place, (prompt, subjects) in enumerate(zip(prompts, named, strict=True)):
            if self._free:
                found.append(Sought(place, [""]))
            found += [Sought(place, [each], clause_of(prompt, self._names[each])) for each in subjects]
        return found

    def _keys_of(self, sought: Sequence[Sought], prompts: Sequence[str]) -> torch.Tensor:
        """[r, d] float32. What is sought twice is read once."""
        whole = list(dict.fromkeys(prompts[each.prompt] for each in sought if each.clause is None))
        clauses = list(dict.fromkeys(each.clause for each in sought if each.clause is not None))
        keys: dict[str | Clause, torch.Tensor] = {}
        if whole:
            keys |= zip(whole, self._encoder.of(whole), strict=True)
        if clauses:
            keys |= zip(clauses, self._encoder.of_clauses(clauses, remember=True), strict=True)
        rows = [keys[prompts[each.prompt] if each.clause is None else each.clause] for each in sought]
        return torch.stack(rows) if rows else torch.empty(0, 0)

    def _found(self, sought: Sequence[Sought], keys: torch.Tensor, count: int, outside: bool) -> list[Route]:
        """One route a prompt."""
        subjects = [each.subjects for each in sought]
        # Subjects may have gone since it was said what is sought; without any nobody looks at them.
        gated = bool(len(self._gate)) or any(each != [""] for each in subjects)
        found = self._index.route(keys, outside=outside, subjects=subjects if gated else None) if sought else []
        return deepest(sought, found, count)


def deepest(sought: Sequence[Sought], found: Sequence[Route], count: int) -> list[Route]:
    """One route a prompt: of several clusters that hold it, the one that it lies deepest in.

    Args:
        sought: r things.
        found: their r routes.
        count: of prompts.
    """
    routes = [Route()] * count
    for each, route in zip(sought, found, strict=True):
        if _depth(route) < _depth(routes[each.prompt]):
            routes[each.prompt] = route
    return routes


def _depth(route: Route) -> tuple[bool, float]:
    """Orders routes, the best first. Keys of two sorts have two units, so distances count in radii."""
    if route.distance is None or route.radius is None:
        return True, float("inf")
    return not holds(route), route.distance / max(route.radius, 1e-30)
