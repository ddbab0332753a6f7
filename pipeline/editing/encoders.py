"""What makes keys of prompts: the backbone's own hidden state, as in the paper, or a sentence encoder beside it.

Shape letters: b prompts, d key width, m width of what a clause says, c width of its context.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch.nn.functional import normalize, pad

from pipeline.editing.clauses import NEGATION, Clause
from pipeline.editing.metric import Metric
from pipeline.editing.sentences import SentenceEncoder
from pipeline.editing.spelling import plain
from schemas.manifest import EncoderEntry

CONTEXT = 64
"""c: bytes of the digest of a word."""
CONTEXT_WEIGHT = 0.1
"""How far two clauses lie apart at most that differ by what is said around them alone. It keeps edits apart whose
prompts ask the same in two contexts, and is too little to tell a rephrase from its edit."""

NEGATED = 2.0
"""How far a clause with a "not" lies from all without one: as far as two vectors of length 1 can. Encoders hardly tell
them apart."""

REMEMBERED = 1 << 14
"""Sentences whose vectors are kept."""


class KeyEncoder(Protocol):
    """Keys of prompts; a key depends on its prompt alone (rule 1), and on the subject that it is asked about.

    Attributes:
        entry: what a version says of an encoder beside the backbone; None where there is none.
        metric: what keys go through, if anything.
        apart: whether a prompt has a key of its own for every subject that it names, made of its clause. Else one key
            stands for all.
    """

    @property
    def entry(self) -> EncoderEntry | None: ...

    @property
    def metric(self) -> Metric | None: ...

    @property
    def apart(self) -> bool: ...

    def of(self, prompts: Sequence[str]) -> torch.Tensor:
        """Keys of prompts, in their order: [b, d] float32 on the CPU."""

    def of_clauses(self, clauses: Sequence[Clause], remember: bool = False) -> torch.Tensor:
        """Keys of what is asked of subjects, in their order: [b, d] float32 on the CPU; only where they are apart.

        Args:
            clauses: b clauses.
            remember: whether what was asked before may be answered from memory, within rounding of what a pass
                would give.
        """

    def close(self) -> None:
        """Gives back what it holds of the backbone."""


class SentenceKeys:
    """Keys by a frozen sentence encoder (a ``KeyEncoder``).

    The key of a prompt is its vector, of length 1. The key of a clause has three parts: the vector of what it asks, put
    right in its spelling and mapped by the metric, of length 1; ``NEGATED`` or 0; and the mean of its context's words,
    each the digest of itself, of length ``CONTEXT_WEIGHT``. The two sorts are never compared. Zeros fill either up to
    one width.

    Args:
        reference: folder or hub id, or ``sentences.MINILM``.
        device: where it goes.
        apart: whether subjects have keys of their own.
        metric: of the clauses; None: the encoder's own.
        layers: how many of its layers are run; None: all.

    Raises:
        EncoderError: it cannot be loaded, or has fewer layers.
        MetricError: the metric was fitted for vectors of another width.
    """

    def __init__(
        self,
        reference: str,
        device: torch.device,
        apart: bool = False,
        metric: Metric | None = None,
        layers: int | None = None,
    ) -> None:
        self._encoder = SentenceEncoder(reference, device, layers)
        self.apart = apart
        self.metric = metric
        if metric is not None:
            metric(torch.zeros(1, self._encoder.width))
        asked = self._encoder.width if metric is None else metric.width
        self._remembered: dict[str, torch.Tensor] = {}
        self._width = max(self._encoder.width, asked + 1 + CONTEXT) if apart else self._encoder.width

    @property
    def entry(self) -> EncoderEntry:
        """Where it came from, and the digest of the weights that are run and of the tokenizer."""
        return EncoderEntry(reference=self._encoder.reference, digest=self._encoder.digest)

    def of(self, prompts: Sequence[str]) -> torch.Tensor:
        """See ``KeyEncoder``."""
        return self.filled(self._encoder.embed(prompts).cpu())

    def of_clauses(self, clauses: Sequence[Clause], remember: bool = False) -> torch.Tensor:
        """See ``KeyEncoder``. People ask the same of many subjects: what is remembered costs no pass."""
        asked = self._from_memory(clauses) if remember else self.asked(clauses)
        if self.metric is not None:
            asked = self.metric(asked)
        negated = torch.tensor([[NEGATED * bool(NEGATION.search(clause.asks))] for clause in clauses])  # [b, 1]
        return self.filled(torch.cat([asked, negated, _contexts(clauses)], dim=1))  # [b, m + 1 + c], filled up

    def asked(self, clauses: Sequence[Clause]) -> torch.Tensor:
        """Vectors of what clauses ask, spelling put right, before any metric: [b, e] float32 of the encoder's width."""
        return self._encoder.embed([self._encoder.lexicon.corrected(clause.asks) for clause in clauses]).cpu()

    def _from_memory(self, clauses: Sequence[Clause]) -> torch.Tensor:
        """What ``asked`` gives, of what was asked before too."""
        remembered = self._remembered
        fresh = list({clause.asks: clause for clause in clauses if clause.asks not in remembered}.values())
        if fresh:
            remembered.update(zip((clause.asks for clause in fresh), self.asked(fresh), strict=True))
        if len(remembered) > REMEMBERED:
            self._remembered = {}  # who reads the old one in another thread may go on
        return torch.stack([remembered[clause.asks] for clause in clauses])

    def filled(self, vectors: torch.Tensor) -> torch.Tensor:
        """[b, e] of any width up to that of keys -> [b, d], zeros added."""
        return pad(vectors, (0, self._width - vectors.shape[1]))

    def close(self) -> None:
        """Nothing is held."""


def _contexts(clauses: Sequence[Clause]) -> torch.Tensor:
    """[b, c] float32: the words around clauses, whose order does not count; zeros without any."""
    sums = np.zeros((len(clauses), CONTEXT), dtype=np.float32)
    for row, clause in zip(sums, clauses, strict=True):
        for word in plain(clause.rest).split():
            digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=CONTEXT).digest()
            row += np.frombuffer(digest, dtype=np.uint8) - np.float32(127.5)
    return CONTEXT_WEIGHT * normalize(torch.from_numpy(sums), dim=1)
