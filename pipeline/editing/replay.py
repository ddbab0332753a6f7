"""Only what has to run runs: the frozen part of a batch is computed once and replayed.

Most of a backbone doesn't depend on the blocks in training: everything before the first of them, and later
the keys and values that a decoder reads from a frozen encoder. Which modules those are is not derived from
the architecture but seen: the first forward pass runs with gradients, and a module whose output does not
require one can't depend on a block. Their outputs are recorded and stand in for them in later steps.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from transformers.utils import ModelOutput

_LIVE = object()
"""Stands for a call whose output depends on the blocks."""


def map_tensors(value: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """``value`` with every tensor in it replaced; tuples, lists, dicts and model outputs are walked."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, ModelOutput):
        return type(value)(**{key: map_tensors(item, function) for key, item in value.items()})
    if isinstance(value, dict):
        return {key: map_tensors(item, function) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(map_tensors(item, function) for item in value)
    return value


def _requires_grad(value: Any) -> bool:
    found = False

    def look(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal found
        found = found or tensor.requires_grad
        return tensor

    map_tensors(value, look)
    return found


@contextmanager
def forward_replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Within it the calling thread's calls of a module go to ``forward``; other threads don't see a change."""
    own, before, thread = module.forward, vars(module).get("forward"), threading.get_ident()

    def choose(*args: Any, **kwargs: Any) -> Any:
        return (forward if threading.get_ident() == thread else own)(*args, **kwargs)

    vars(module)["forward"] = choose
    try:
        yield
    finally:
        del vars(module)["forward"]
        if before is not None:
            vars(module)["forward"] = before


class Replay:
    """The recorded outputs of a batch's frozen modules, the outermost ones only.

    A module may be called more than once in a pass (a shared embedding, say), so each keeps the list of its
    calls in order; calls inside a recorded parent don't happen in a replay and are not listed.

    Args:
        model: the backbone.
        rows: of the batch. A tensor is taken for one row an edit when its first axis is as long, so no other
            axis of the batch may be: see ``collate``.
    """

    def __init__(self, model: nn.Module, rows: int) -> None:
        self._model = model
        self._rows = rows
        self._calls: dict[nn.Module, list[Any]] = {}
        self._batched: set[int] = set()  # ids of the recorded tensors that have the batch as their first axis

    @contextmanager
    def record(self) -> Iterator[None]:
        """Watches one forward pass with gradients enabled."""
        log: list[tuple[nn.Module, Any]] = []
        starts: list[int] = []

        thread = threading.get_ident()

        def enter(module: nn.Module, args: Any) -> None:
            if threading.get_ident() == thread:
                starts.append(len(log))

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            if threading.get_ident() != thread:
                return
            start = starts.pop()
            if _requires_grad(output):
                log.append((module, _LIVE))
            else:
                del log[start:]  # the calls within are covered by this one
                log.append((module, output))

        handles = []
        for module in self._model.modules():
            handles.append(module.register_forward_pre_hook(enter))
            # Before other hooks: W x of an edited module is frozen while its input is, whatever a block adds to it.
            handles.append(module.register_forward_hook(leave, prepend=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        calls = defaultdict(list)
        for module, output in log:
            calls[module].append(output)
        self._calls = {m: outputs for m, outputs in calls.items() if any(o is not _LIVE for o in outputs)}

        def look(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.dim() and tensor.shape[0] == self._rows:
                self._batched.add(id(tensor))
            return tensor

        self._map(look)

    @contextmanager
    def play(self) -> Iterator[None]:
        """Within it a forward pass of the same batch returns the recorded outputs instead of computing them."""
        with ExitStack() as stack:
            for module, outputs in self._calls.items():
                stack.enter_context(forward_replaced(module, self._player(module.forward, iter(outputs))))
            yield

    def keep(self, rows: torch.Tensor) -> None:
        """Drops all other rows of the batch.

        Args:
            rows: [kept] int64 row numbers. Tensors whose first axis is not the batch (a position bias that
                all rows share) stay whole.
        """
        kept: set[int] = set()

        def pick(tensor: torch.Tensor) -> torch.Tensor:
            if id(tensor) in self._batched:
                tensor = tensor[rows]
                kept.add(id(tensor))
            return tensor

        self._map(pick)
        self._batched = kept

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._calls = {
            module: [o if o is _LIVE else map_tensors(o, function) for o in outputs]
            for module, outputs in self._calls.items()
        }

    @staticmethod
    def _player(forward: Callable[..., Any], outputs: Iterator[Any]) -> Callable[..., Any]:
        def play(*args: Any, **kwargs: Any) -> Any:
            output = next(outputs)
            return forward(*args, **kwargs) if output is _LIVE else output

        return play
