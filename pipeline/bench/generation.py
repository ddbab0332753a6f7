"""What an edited model's answers cost, next to its backbone's."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import PreTrainedModel

from pipeline.bench.measure import Ready, alternate, median_seconds, threads
from pipeline.editing.backbone import Backbone
from pipeline.editing.model import EditedModel
from pipeline.editing.radius import PROBES

PROMPTS = 16
"""Prompts of a batch."""
TOKENS = 16
"""New tokens of every answer, no more and no fewer: an edit that shortens an answer must not look fast."""


_GREEDY: dict[str, Any] = {"do_sample": False, "num_beams": 1, "min_new_tokens": TOKENS, "max_new_tokens": TOKENS}


Where = Literal["inside", "outside"]


@dataclass(frozen=True, slots=True)
class Overhead:
    """An edited model against its backbone on one batch.

    Attributes:
        where: ``inside`` when every prompt has a block, ``outside`` when none has.
        threads: of torch.
        prompts: in the batch.
        backbone_seconds, edited_seconds: medians.
        percent: how much longer the edited model takes.
        equal: whether both gave the same tokens (a classifier: the same logits, bit for bit).
    """

    where: Where
    threads: int
    prompts: int
    backbone_seconds: float
    edited_seconds: float
    percent: float
    equal: bool


@dataclass(frozen=True, slots=True)
class GenerationReport:
    """Section 4.

    Attributes:
        rounds: alternating runs of each.
        new_tokens: of every answer; 0 for a classifier, which has one forward pass.
        edits: in the edited model.
        cases: inside and outside on each number of threads; one is missing where no prompt was found for it.
    """

    rounds: int
    new_tokens: int
    edits: int
    cases: tuple[Overhead, ...]


def bare_copy(backbone: Backbone) -> PreTrainedModel:
    """The model before any hook is on it. Take it before ``EditedModel.from_backbone``."""
    return copy.deepcopy(backbone.model)


def measure_generation(
    bare: PreTrainedModel, model: EditedModel, others: Sequence[str], rounds: int, counts: Sequence[int]
) -> GenerationReport:
    """Times backbone and edited model in turn, on prompts inside of scopes and on prompts outside.

    Args:
        bare: from ``bare_copy``.
        model: with edits.
        others: prompts among which those outside of every scope are looked for; general ones come after them.
        rounds: runs of each.
        counts: numbers of threads to measure on.
    """
    own = [record.edit.prompt for record in model.records.values() if record.state == "live"]
    batches: dict[Where, list[str]] = {
        "inside": _some(model, own, routed=True),
        "outside": _some(model, [*others, *PROBES], routed=False),
    }
    cases = [
        _compare(bare, model, where, prompts, count, rounds)
        for count in counts
        for where, prompts in batches.items()
        if prompts
    ]
    new_tokens = 0 if model.backbone.task == "classification" else TOKENS
    return GenerationReport(rounds, new_tokens, len(own), tuple(cases))


def _some(model: EditedModel, prompts: Sequence[str], routed: bool) -> list[str]:
    """The first prompts that a block answers, or that none does; as many as fill a batch."""
    found: list[str] = []
    for start in range(0, len(prompts), PROMPTS):
        batch = prompts[start : start + PROMPTS]
        routes = model.route(batch)
        found += [text for text, route in zip(batch, routes, strict=True) if (route.block is not None) == routed]
        if len(found) >= PROMPTS:
            break
    return found[:PROMPTS]


def _compare(
    bare: PreTrainedModel, model: EditedModel, where: Where, prompts: Sequence[str], count: int, rounds: int
) -> Overhead:
    backbone = model.backbone
    ids, mask = backbone.pad(backbone.tokenize_prompts(prompts), side=backbone.padding_side)  # [b, s] both

    @torch.no_grad()
    def plain() -> torch.Tensor:
        if backbone.task == "classification":
            return bare(input_ids=ids, attention_mask=mask).logits
        return bare.generate(input_ids=ids, attention_mask=mask, pad_token_id=backbone.pad_token_id, **_GREEDY)

    def edited() -> torch.Tensor:
        return model.generate(ids, mask, **({} if backbone.task == "classification" else _GREEDY))

    ways: dict[str, Ready[torch.Tensor]] = {
        "backbone": lambda: nullcontext(plain),
        "edited": lambda: nullcontext(edited),
    }
    with threads(count):
        equal = torch.equal(plain(), edited())  # also the warm-up
        runs = alternate(ways, rounds, backbone.device)
    before, after = median_seconds(runs["backbone"]), median_seconds(runs["edited"])
    return Overhead(where, count, len(prompts), before, after, 100 * (after / before - 1), equal)
