"""Keys: the hidden state of a prompt's last real token at the key layer.

Rule 1: a key depends on its prompt alone. The token is found by the attention mask of the prompt, so it is
never a pad and never part of an answer, however the batch is padded and whatever is generated after it.

Shape letters: b prompts, s tokens, d key width.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from pipeline.editing.backbone import Backbone

BATCH = 64
"""Prompts whose keys are read in one forward pass."""

Sink = Callable[[torch.Tensor], None]


class _Stop(Exception):  # noqa: N818  (no error: control flow)
    """Ends a forward pass that has given its keys."""


def last_real_token(attention_mask: torch.Tensor) -> torch.Tensor:
    """[b, s] mask of ones and zeros, padded on either side -> [b] int64, place of each row's last one."""
    return attention_mask.shape[1] - 1 - attention_mask.flip(1).to(torch.int64).argmax(1)


class KeyReader:
    """A forward hook at the key layer that hands keys to whoever asked, once a request.

    What is asked belongs to this object and to the calling thread.

    Args:
        backbone: the model.
        layer: name of the module whose output (the first one of a tuple) holds the keys.
    """

    def __init__(self, backbone: Backbone, layer: str) -> None:
        self._backbone = backbone
        self._layer = layer
        self._local = threading.local()
        self._handle = backbone.model.get_submodule(layer).register_forward_hook(self._read)

    @contextmanager
    def reading(self, attention_mask: torch.Tensor, sink: Sink) -> Iterator[None]:
        """Calls ``sink`` with the keys ([b, d] float32) of the first forward pass within.

        Args:
            attention_mask: [b, s] of the prompts. The pass may hold several rows a prompt, side by side
                (beams, samples), and tokens after the prompt.
            sink: called in the middle of that pass, before any block runs.
        """
        before = getattr(self._local, "asked", None)
        self._local.asked = (last_real_token(attention_mask), sink)
        try:
            yield
        finally:
            self._local.asked = before

    @torch.no_grad()
    def keys(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Keys of tokenised prompts, in their order: [b, d] float32 on the CPU.

        The pass ends at the key layer. Prompts of like length share a batch.
        """
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found: list[torch.Tensor] = []
        for start in range(0, len(order), BATCH):
            ids, mask = self._backbone.pad([prompts[i] for i in order[start : start + BATCH]], side="right")
            found.append(self._one_pass(ids, mask))
        keys = torch.cat(found) if found else torch.empty(0, 0)
        return keys[torch.tensor(order, dtype=torch.long).argsort()]

    def check_order(self, block_modules: Sequence[str]) -> None:
        """Makes sure that keys are read before any block runs.

        Raises:
            ValueError: the key layer runs after one of ``block_modules``, or not at all.
        """

        def too_early(name: str) -> Callable[..., None]:
            def refuse(module: nn.Module, args: Any) -> None:
                raise ValueError(
                    f"key_layer {self._layer!r} runs after block module {name!r}; a key must not depend on blocks: "
                    "choose an earlier key layer or later block modules"
                )

            return refuse

        with ExitStack() as stack:
            for name in block_modules:
                handle = self._backbone.model.get_submodule(name).register_forward_pre_hook(too_early(name))
                stack.callback(handle.remove)
            self.keys([[self._backbone.pad_token_id]])

    def detach(self) -> None:
        """Takes the hook off."""
        self._handle.remove()

    def _one_pass(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        found: list[torch.Tensor] = []

        def stop(keys: torch.Tensor) -> None:
            found.append(keys)
            raise _Stop

        with self.reading(mask, stop):
            try:
                self._backbone.encode(ids, mask)
            except _Stop:
                return found[0].cpu()
        raise ValueError(f"key_layer {self._layer!r} did not run on a prompt; choose a layer that reads the prompt")

    def _read(self, module: nn.Module, args: Any, output: Any) -> None:
        asked = getattr(self._local, "asked", None)
        if asked is None:
            return
        places, sink = asked
        hidden = output[0] if isinstance(output, tuple) else output  # [rows, s, d]
        if hidden.shape[1] <= int(places.max()):
            raise ValueError(
                f"the first forward pass of a request held {hidden.shape[1]} tokens a row, but the prompt has "
                f"{int(places.max()) + 1}: pass the whole prompt (no past_key_values, no chunked prefill)"
            )
        self._local.asked = None
        first_rows = hidden[:: hidden.shape[0] // len(places)]  # [b, s, d]
        sink(first_rows[torch.arange(len(places), device=hidden.device), places].float())
