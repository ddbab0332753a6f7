"""Texts as vectors, for editors that compare them: a sentence encoder's, or the backbone's own.

Shape letters: b texts, s tokens, d hidden.
"""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline.editing.backbone import Backbone
from pipeline.editing.sentences import Encoder, SentenceEncoder


class OwnStates(Encoder):
    """The backbone's own last hidden states: of a T5 its encoder's."""

    parameters = 0

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone

    def _states(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        ids, mask = self._backbone.pad(self._backbone.tokenize_prompts(texts), side="right")
        return self._backbone.encode(ids, mask), mask


def open_encoder(backbone: Backbone, reference: str | Path | None) -> Encoder:
    """What compares texts: the encoder that is named, or the backbone itself.

    Raises:
        EncoderError: the one that is named cannot be loaded.
    """
    return OwnStates(backbone) if reference is None else SentenceEncoder(reference, backbone.device)
