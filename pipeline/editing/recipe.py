"""Everything that editing one backbone needs to know."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import MeloError


class RecipeError(MeloError, ValueError):
    """No recipe for this backbone, or one that names modules which the backbone cannot use."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that editing one backbone needs to know, with nothing left open but the radius.

    Attributes:
        key_layer: module whose output is the key, at the last token or pooled; of a tuple, the first element.
        block_modules: linear modules that carry blocks.
        partial_rank: rank p of one block in every module.
        radius: initial radius R0 of a cluster, in units of the key; None: to be measured from the backbone.
        subject_radius: the same of a cluster with a subject.
        iterations: optimiser steps before a block's first retry.
        learning_rate: Adam's rate at the start.
        halve_every: steps after which the rate is halved, again and again.
        edits_per_block: edits that one block learns.
        wordings: other wordings that a block of one edit is trained in (see ``wordings``). None are of an edit whose
            target is long: a text is gone on with, not asked for in other words.
        long_target: tokens of a target above which an edit has a block of its own. Of biographies' sentences cut to
            16 tokens, 40 take 20 s ten a block and 3 s each alone; of whole ones the most are never learned together.
        scale: s in W x + s B A x.
        init_std: A is drawn from N(0, init_std² / d_in); B starts at zero.
    """

    key_layer: str
    block_modules: tuple[str, ...]
    partial_rank: int = 4
    radius: float | None = None
    subject_radius: float | None = None
    iterations: int = 30
    learning_rate: float = 0.07
    halve_every: int = 20
    edits_per_block: int = 10
    wordings: int = 0
    long_target: int = 16
    scale: float = 1.0
    init_std: float = 1.0
