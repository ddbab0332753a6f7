"""What may make the keys: hidden states over the backbone's depth, and sentence encoders."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, get_args

import numpy as np
import torch

from pipeline.editing.backbone import Backbone
from pipeline.editing.families import resolve
from pipeline.editing.folder import METRIC
from pipeline.editing.keys import open_keys
from pipeline.editing.metric import Metric
from pipeline.editing.recipe import Recipe, RecipeError
from pipeline.editing.sentences import MINILM, depth, minilm
from pipeline.settings import EditingSettings, Pooling, Task

LAYERS = 5
"""Key layers that are tried besides the recipe's, spread over those that come before every block."""

BLOCKS = {"edits_per_block": 1, "margin": 5.0, "wordings": 5}
"""How blocks are made that say their target for rephrases, too, where keys lead them there: ``melo bench blocks``."""

_NUMBERED = re.compile(r"(?P<stack>.*?\.)(?P<layer>\d+)(?P<inside>\..*)?$")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What decides which edit a prompt is led to, but for the radii.

    Attributes:
        key_layer: module of the backbone whose output is the key; None where an encoder makes it.
        pooling: of the key layer.
        encoder: sentence encoder; None where the backbone makes the key.
        subjects: whether edits with a subject apply only to prompts that name it.
        metric: what hidden states go through, or an encoder's vectors of what is asked of subjects; None: nothing.
        layers: of the encoder that are run; None: all.
    """

    key_layer: str | None
    pooling: Pooling
    encoder: str | None
    subjects: bool
    metric: Metric | None = None
    layers: int | None = None

    @property
    def name(self) -> str:
        """As a person calls it."""
        made = self.encoder or f"{self.key_layer}, {'last token' if self.pooling == 'last' else 'mean'}"
        made = made if self.layers is None else f"{made}, {self.layers} layers"
        gated = f"{made}, subjects" if self.subjects else made
        mapped = "metric" if self.encoder else "whitened"
        return f"{gated}, {mapped}" if self.metric else gated

    @property
    def cost(self) -> tuple[bool, int, bool, bool, bool]:
        """Orders candidates, the cheaper first: no encoder, then one of few layers, then what sets less."""
        layers = sys.maxsize if self.layers is None else self.layers
        return self.encoder is not None, layers, self.subjects, self.metric is not None, self.pooling != "last"

    def settings(self, radius: float | None, subject_radius: float | None) -> dict[str, Any]:
        """The fields of ``EditingSettings`` that it stands for; None where a default or nothing is meant."""
        return {
            "encoder": self.encoder,
            "encoder_layers": self.layers,
            "key_layer": self.key_layer,
            "pooling": self.pooling,
            "subjects": self.subjects,
            "metric": METRIC if self.metric else None,
            "radius": radius,
            "subject_radius": subject_radius,
        }


def block_settings(candidate: Candidate, task: Task, settings: EditingSettings) -> dict[str, Any]:
    """What of ``BLOCKS`` goes with a candidate's keys; nothing that is set already, or that its task does not know."""
    if candidate.encoder is None:
        return {}
    unknown = {"wordings"} if task == "classification" else set()
    return {name: value for name, value in BLOCKS.items() if name not in settings.model_fields_set | unknown}


def candidates(backbone: Backbone, settings: EditingSettings, encoders: Sequence[str]) -> list[Candidate]:
    """Every way to make keys, without the gate: hidden states first, then encoders, whole and cut in half.

    Args:
        backbone: the model that is edited.
        settings: what is set already; blocks are to come after every key layer.
        encoders: folders or hub ids of sentence encoders; MiniLM is tried too where it is installed.

    Raises:
        EncoderError: there is no such encoder.
        RecipeError: there is no recipe for this backbone.
    """
    layers = key_layers(backbone, settings)
    found = [Candidate(layer, pooling, None, False) for layer in layers for pooling in get_args(Pooling)]
    named = dict.fromkeys([*([MINILM] if minilm() else []), *encoders])
    return found + [
        Candidate(None, "last", encoder, False, layers=layers)
        for encoder in named
        for layers in dict.fromkeys((None, depth(encoder) // 2 or None))
    ]


def key_layers(backbone: Backbone, settings: EditingSettings) -> list[str]:
    """The recipe's key layer and modules like it at ``LAYERS`` depths before the first block, the lowest first."""
    own = resolve(backbone.model, backbone.task, settings.model_copy(update={"encoder": None})).key_layer
    place = _NUMBERED.match(own)
    if place is None:
        return [own]
    usable: list[str] = []
    with suppress(RecipeError):  # ends at the first layer that is not there, or not before every block
        for layer in count():
            name = f"{place['stack']}{layer}{place['inside'] or ''}"
            resolve(backbone.model, backbone.task, settings.model_copy(update={"key_layer": name}))
            usable.append(name)
    spread = np.linspace(0, len(usable) - 1, min(LAYERS, len(usable))).round().astype(int)
    return [usable[i] for i in sorted({*spread.tolist(), usable.index(own)})]


def keys_of(
    candidate: Candidate, backbone: Backbone, settings: EditingSettings, prompts: Sequence[str]
) -> torch.Tensor:
    """Keys [p, d] float32 of whole prompts, in their order, as an edited model would make them without the gate.

    Raises:
        EncoderError: the encoder cannot be loaded.
        ValueError: a block runs before the key layer.
    """
    made, recipe = made_by(candidate, backbone, settings)
    with closing(open_keys(backbone, recipe, made)) as keys:
        return keys.of(prompts)


def made_by(candidate: Candidate, backbone: Backbone, settings: EditingSettings) -> tuple[EditingSettings, Recipe]:
    """The settings of a model that makes its keys so, and what is settled by them."""
    made = settings.model_copy(update=candidate.settings(None, None))
    return made, resolve(backbone.model, backbone.task, made)
