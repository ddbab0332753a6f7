"""Keys: the hidden state of a prompt at the key layer, of its last real token or the mean over all of them.

Rule 1: a key depends on its prompt alone. Tokens are found by the attention mask of the prompt, so they are
never pads and never part of an answer, however the batch is padded and whatever is generated after it.

Shape letters: b prompts, s tokens, d key width.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import torch
from torch import nn

from pipeline.editing.backbone import Backbone
from pipeline.editing.clauses import Clause
from pipeline.editing.encoders import KeyEncoder, SentenceKeys
from pipeline.editing.metric import Metric, open_metric
from pipeline.editing.pooling import mean_over_tokens, read_in_batches
from pipeline.editing.recipe import Recipe, RecipeError
from pipeline.settings import EditingSettings, Pooling

Sink = Callable[[torch.Tensor], None]
"""Takes the keys [b, d] float32 of a request."""


class _Stop(Exception):  # noqa: N818  (no error: control flow)
    """Ends a forward pass that has given its keys."""


def last_real_token(attention_mask: torch.Tensor) -> torch.Tensor:
    """[b, s] mask of ones and zeros, padded on either side -> [b] int64, place of each row's last one."""
    return attention_mask.shape[1] - 1 - attention_mask.flip(1).to(torch.int64).argmax(1)


def pooled(hidden: torch.Tensor, attention_mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """[b, s, d] hidden states and the prompts' mask [b, s] -> keys [b, d] float32."""
    if pooling == "last":
        places = last_real_token(attention_mask)
        return hidden[torch.arange(len(places), device=hidden.device), places].float()
    return mean_over_tokens(hidden.float(), attention_mask)


class KeyReader:
    """A forward hook at the key layer that hands keys to whoever asked, once a request (a ``KeyEncoder``).

    What is asked belongs to this object and to the calling thread.

    Args:
        backbone: the model.
        layer: name of the module whose output (the first one of a tuple) holds the keys.
        pooling: ``last``, the paper's, or ``mean``.
        metric: what keys go through; None: they are the states themselves, as in the paper.

    Raises:
        MetricError: the metric was fitted for states of another width.
    """

    entry = None
    """Nothing beside the backbone makes these keys."""
    apart = False
    """A prompt's state is one, whatever it names."""

    def __init__(self, backbone: Backbone, layer: str, pooling: Pooling = "last", metric: Metric | None = None) -> None:
        self.metric = metric
        self._backbone = backbone
        self._layer = layer
        self._pooling = pooling
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
        self._local.asked = (attention_mask, sink)
        try:
            yield
        finally:
            self._local.asked = before

    def of(self, prompts: Sequence[str]) -> torch.Tensor:
        """See ``KeyEncoder``."""
        return self.keys(self._backbone.tokenize_prompts(prompts))

    def of_clauses(self, clauses: Sequence[Clause], remember: bool = False) -> torch.Tensor:
        """Hidden states are of prompts as they were sent.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{len(clauses)} clauses came, but hidden states are of prompts as they were sent")

    @torch.no_grad()
    def keys(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Keys of tokenised prompts, in their order: [b, d] float32 on the CPU.

        The pass ends at the key layer. Prompts of like length share a batch.
        """
        return read_in_batches(prompts, lambda batch: self._one_pass(*self._backbone.pad(batch, side="right")))

    def check_order(self, block_modules: Sequence[str]) -> None:
        """Makes sure that keys are read before any block runs.

        Raises:
            ValueError: the key layer runs after one of ``block_modules``, or not at all.
        """

        asking = threading.get_ident()

        def too_early(name: str) -> Callable[..., None]:
            def refuse(module: nn.Module, args: Any) -> None:
                if threading.get_ident() != asking:  # another model answers on the same backbone meanwhile
                    return
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

    def close(self) -> None:
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
        mask, sink = asked
        hidden = output[0] if isinstance(output, tuple) else output  # [rows, s, d]
        if hidden.shape[1] < mask.shape[1]:
            raise ValueError(
                f"the first forward pass of a request held {hidden.shape[1]} tokens a row, but the prompt has "
                f"{mask.shape[1]}: pass the whole prompt (no past_key_values, no chunked prefill)"
            )
        self._local.asked = None
        first_rows = hidden[:: hidden.shape[0] // len(mask), : mask.shape[1]]  # [b, s, d]
        keys = pooled(first_rows, mask, self._pooling)  # [b, d]
        sink(keys if self.metric is None else self.metric(keys.cpu()))


def open_keys(
    backbone: Backbone, recipe: Recipe, settings: EditingSettings, metric: Metric | None = None
) -> KeyEncoder:
    """What makes the keys: the sentence encoder that the settings name, else the recipe's key layer.

    Args:
        backbone: the model.
        recipe: what was settled for it.
        settings: what was asked for.
        metric: in place of what lies where the settings say.

    Raises:
        EncoderError: the encoder cannot be loaded.
        MetricError: the metric cannot be read, or was fitted for another encoder.
        RecipeError: there is a metric of an encoder's vectors, but no subjects.
        ValueError: the key layer runs after a block module, or not at all.
    """
    if settings.metric is not None and settings.encoder and not settings.subjects:
        raise RecipeError(
            f"metric {settings.metric} came with encoder {settings.encoder} and no subjects, expected both: it tells "
            "what is asked of subjects in an encoder's vectors. Set them, or leave the metric out"
        )
    if metric is None and settings.metric is not None:
        metric = open_metric(settings.metric)
    if settings.encoder is not None:
        return SentenceKeys(settings.encoder, backbone.device, settings.subjects, metric, settings.encoder_layers)
    with ExitStack() as opened:
        reader = opened.enter_context(closing(KeyReader(backbone, recipe.key_layer, settings.pooling, metric)))
        reader.check_order(recipe.block_modules)
        opened.pop_all()
    return reader
