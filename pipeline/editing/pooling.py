"""From hidden states to one vector a text: texts of like length share a pass, pads count for nothing.

Shape letters: b texts, s tokens, d hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from typing import TypeVar

import torch

Text = TypeVar("Text", bound=Sized)

BATCH = 64
"""Texts that are read in one forward pass."""


def read_in_batches(texts: Sequence[Text], read: Callable[[list[Text]], torch.Tensor]) -> torch.Tensor:
    """Vectors [b, d] of texts, in their order; ``read`` gives those of one batch. Of none [0, 0]."""
    if not texts:
        return torch.empty(0, 0)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    starts = range(0, len(order), BATCH)
    vectors = torch.cat([read([texts[i] for i in order[start : start + BATCH]]) for start in starts])
    return vectors[torch.tensor(order, device=vectors.device).argsort()]


def mean_over_tokens(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[b, s, d] hidden states and the mask [b, s] of ones and zeros -> [b, d], the mean over real tokens."""
    real = mask[..., None].to(hidden.dtype)  # [b, s, 1]
    return (hidden * real).sum(1) / real.sum(1)
