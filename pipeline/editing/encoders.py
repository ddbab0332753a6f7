"""What makes keys of prompts: the backbone's own hidden state, as in the paper, or a sentence encoder beside it.

Shape letters: b prompts, s tokens, d key width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch

from pipeline.editing.sentences import SentenceEncoder
from schemas.manifest import EncoderEntry

Sink = Callable[[torch.Tensor], None]
"""Takes the keys [b, d] float32 of a request."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The prompts of one request.

    Attributes:
        mask: [b, s], ones where the prompts' tokens lie in the request's first forward pass.
        texts: gives the b prompts as texts; called by who needs them.
    """

    mask: torch.Tensor
    texts: Callable[[], Sequence[str]]


class KeyEncoder(Protocol):
    """Keys of prompts; a key depends on its prompt alone (rule 1).

    Attributes:
        entry: what a version says of an encoder beside the backbone; None where there is none.
    """

    @property
    def entry(self) -> EncoderEntry | None: ...

    def of(self, prompts: Sequence[str]) -> torch.Tensor:
        """Keys of prompts, in their order: [b, d] float32 on the CPU."""

    def during(self, asked: Asked, sink: Sink) -> AbstractContextManager[None]:
        """Calls ``sink`` with the keys of a request, before any block runs in the forward passes within."""

    def close(self) -> None:
        """Gives back what it holds of the backbone."""


class SentenceKeys:
    """Keys by a frozen sentence encoder: mean-pooled, of length 1 (a ``KeyEncoder``).

    They cost a pass through the encoder a request, and tell meanings apart that one token's hidden state does not.

    Args:
        reference: folder or hub id, or ``sentences.MINILM``.
        device: where it goes.

    Raises:
        EncoderError: it cannot be loaded.
    """

    def __init__(self, reference: str, device: torch.device) -> None:
        self._encoder = SentenceEncoder(reference, device)

    @property
    def entry(self) -> EncoderEntry:
        """Where it came from, and the digest of its weights and tokenizer."""
        return EncoderEntry(reference=self._encoder.reference, digest=self._encoder.digest)

    def of(self, prompts: Sequence[str]) -> torch.Tensor:
        """See ``KeyEncoder``."""
        return self._encoder.embed(prompts).cpu()

    @contextmanager
    def during(self, asked: Asked, sink: Sink) -> Iterator[None]:
        """See ``KeyEncoder``: the keys are made before the first pass."""
        sink(self.of(asked.texts()))
        yield

    def close(self) -> None:
        """Nothing is held."""
