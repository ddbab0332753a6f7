"""Blocks: the slices of partial rank that edits are trained in (Eq. 5 and 7).

Every edited linear module W carries one pair (A_b, B_b) a block b, and a row of a batch that is routed to
block b gets W x + s * B_b A_b x. Blocks never share a parameter, so adding one changes no other; s is a
constant, so it doesn't depend on how many there are (rule 4).

Shape letters: n blocks held, g blocks or rows in use, p partial rank, t tokens of a row, i inputs and o
outputs of a module.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

BlockWeights = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""Module name -> (A [g, p, i], B [g, o, p]), float32, one slice a block."""


def module_width(module: nn.Module) -> tuple[int, int]:
    """Inputs and outputs of a linear module, torch's or GPT-2's transposed one."""
    if isinstance(module, Conv1D):
        return module.weight.shape[0], module.weight.shape[1]
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    raise TypeError(f"blocks go on Linear or Conv1D modules, not on {type(module).__name__}")


def initial_weights(
    widths: Mapping[str, tuple[int, int]], blocks: Sequence[int], rank: int, init_std: float, seed: int
) -> BlockWeights:
    """A drawn from N(0, init_std² / i), B zero: a new block changes nothing until it is trained.

    Each block has a generator of its own, seeded by ``seed`` and its id, so it starts the same whatever is
    trained beside it and wherever (rule 6).
    """
    weights: BlockWeights = {}
    generators = [torch.Generator().manual_seed(seed * 1_000_003 + block) for block in blocks]
    for name, (d_in, d_out) in sorted(widths.items()):
        a = torch.stack([torch.randn(rank, d_in, generator=g) for g in generators])  # [g, p, i]
        weights[name] = (a * (init_std / d_in**0.5), torch.zeros(len(blocks), d_out, rank))
    return weights


class Blocks:
    """All blocks of one edited model, by id. Grows by what is added; nothing is preallocated."""

    def __init__(self, widths: Mapping[str, tuple[int, int]], rank: int, device: torch.device) -> None:
        self.rank = rank
        self.ids: list[int] = []
        self._slots: dict[int, int] = {}
        self._weights: BlockWeights = {
            name: (torch.empty(0, rank, d_in, device=device), torch.empty(0, d_out, rank, device=device))
            for name, (d_in, d_out) in sorted(widths.items())
        }

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def parameters(self) -> int:
        """Trainable numbers in all blocks together."""
        return sum(a.numel() + b.numel() for a, b in self._weights.values())

    def add(self, ids: Sequence[int], weights: BlockWeights) -> None:
        """Appends blocks.

        Raises:
            ValueError: an id that is already held, or comes twice; blocks are written once.
        """
        seen = set(self._slots)
        for block in ids:
            if block in seen:
                raise ValueError(f"block {block} exists already; blocks are written once, use a new id")
            seen.add(block)
        for name, (a, b) in self._weights.items():
            new_a, new_b = weights[name]
            self._weights[name] = (torch.cat([a, new_a.to(a)]), torch.cat([b, new_b.to(b)]))
        self._set_ids([*self.ids, *ids])

    def drop(self, ids: Sequence[int]) -> None:
        """Forgets blocks that no key leads to any more; unknown ids are ignored."""
        gone = set(ids)
        kept = [slot for slot, block in enumerate(self.ids) if block not in gone]
        if len(kept) == len(self.ids):
            return
        for name, (a, b) in self._weights.items():
            slots = torch.tensor(kept, dtype=torch.long, device=a.device)
            self._weights[name] = (a[slots], b[slots])
        self._set_ids([self.ids[slot] for slot in kept])

    def gather(self, ids: Sequence[int]) -> BlockWeights:
        """The weights of these blocks in this order, repeats allowed: the one gather of a request."""
        device = next(iter(self._weights.values()))[0].device
        slots = torch.tensor([self._slots[block] for block in ids], dtype=torch.long, device=device)
        return {name: (a[slots], b[slots]) for name, (a, b) in self._weights.items()}

    def _set_ids(self, ids: list[int]) -> None:
        self.ids = ids
        self._slots = {block: slot for slot, block in enumerate(ids)}


@dataclass(frozen=True, slots=True)
class ActiveBlocks:
    """Blocks in use by one request or one training step.

    Attributes:
        weights: module name -> (s * A^T [g, i, p], B^T [g, p, o]) in the compute dtype.
        rows: [g] int64, which prompts of the batch have a block; None when all have, in order.
        prompts: prompts in the batch. A batch may hold several rows a prompt (beams, samples, the edits of
            one block in training): they lie side by side, so they fold into the token axis.
    """

    weights: BlockWeights
    rows: torch.Tensor | None
    prompts: int

    def add_to(self, name: str, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """output + s * B_b A_b x on the rows that have a block; the others come back bit for bit.

        Args:
            name: the module.
            x: [rows, t, i] its input.
            output: [rows, t, o] what the frozen module made of it.
        """
        a_t, b_t = self.weights[name]
        if not (a_t.dtype == x.dtype == output.dtype):  # T5's wo stays float32 in a float16 backbone
            a_t, b_t, x = a_t.to(output.dtype), b_t.to(output.dtype), x.to(output.dtype)
        x, base = self._by_prompt(x), self._by_prompt(output)  # [prompts, t, i], [prompts, t, o]
        if self.rows is None:
            added = torch.baddbmm(base, torch.bmm(x, a_t), b_t)
        else:
            added = base.index_add(0, self.rows, torch.bmm(torch.bmm(x[self.rows], a_t), b_t))
        return added if base is output else added.view_as(output)

    def _by_prompt(self, x: torch.Tensor) -> torch.Tensor:
        # An answer's every token comes through here, so what is right already is not even asked to be a view.
        as_it_is = x.dim() == 3 and x.shape[0] == self.prompts
        return x if as_it_is else x.reshape(self.prompts, -1, x.shape[-1])


class DynamicLora:
    """Forward hooks on a backbone's chosen linear modules that add the active blocks.

    The active blocks belong to this object and to the calling thread: two edited models in one process,
    or two threads of one, don't see each other.
    """

    def __init__(self, model: nn.Module, modules: Sequence[str], scale: float) -> None:
        self.scale = scale
        self.widths = {name: module_width(model.get_submodule(name)) for name in modules}
        self._local = threading.local()
        self._handles = [
            model.get_submodule(name).register_forward_hook(self._hook(name), with_kwargs=False) for name in modules
        ]

    @contextmanager
    def request(self) -> Iterator[None]:
        """A stretch of calls whose blocks are set once by ``activate`` and cleared at its end."""
        before = getattr(self._local, "active", None)
        self._local.active = None
        try:
            yield
        finally:
            self._local.active = before

    def activate(self, weights: BlockWeights, rows: torch.Tensor | None, prompts: int, dtype: torch.dtype) -> None:
        """Sets the blocks of the current request; see ``ActiveBlocks`` for the arguments."""
        transposed = {  # B^T contiguous: a product that reads few rows of it at a time takes half as long
            name: ((a * self.scale).to(dtype).transpose(1, 2), b.to(dtype).transpose(1, 2).contiguous())
            for name, (a, b) in weights.items()
        }
        self._local.active = ActiveBlocks(transposed, rows, prompts)

    def detach(self) -> None:
        """Takes the hooks off: the backbone is as it was."""
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str):  # type: ignore[no-untyped-def]
        local = self._local

        def add_active(module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
            active: ActiveBlocks | None = getattr(local, "active", None)
            return None if active is None else active.add_to(name, args[0], output)

        return add_active
