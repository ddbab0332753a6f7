"""What a stream of edits does to a model: are they learned, kept, and is all else left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.bench.asking import answer_length, ask, ask_backbone, is_right
from pipeline.editing.edit import Edit
from pipeline.editing.model import EditedModel

CALLS = 5
"""Calls of ``edit`` that the stream is cut into."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many of those that were asked are as they should be."""

    asked: int
    good: int


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Section 2. Every answer is greedy and free, routing included.

    Attributes:
        edits: of the stream; made in ``CALLS`` calls.
        calls: of ``edit``.
        success: edits whose target is said after the last call.
        first_at_once: of the first call's edits, those whose target is said right after it.
        first_at_last: the same asked after the last call.
        generality: rephrases, never trained, that get the target.
        own_locality: locality prompts that came with edits and are answered as the backbone does.
        inside: prompts of the locality file that fall inside a scope, and how many agree with the backbone.
        outside: the same for those outside of every scope.
        clusters: scopes in the end.
    """

    edits: int
    calls: int
    success: Share
    first_at_once: Share
    first_at_last: Share
    generality: Share
    own_locality: Share
    inside: Share
    outside: Share
    clusters: int


def measure_quality(model: EditedModel, edits: Sequence[Edit], locality: Sequence[str]) -> QualityReport:
    """Edits a model in several calls and asks it.

    Args:
        model: without edits; keeps these.
        edits: the stream, distinct prompts.
        locality: prompts of no edit, whose answers are to stay; may be empty.
    """
    length = answer_length(model.backbone, edits)
    size = -(-len(edits) // CALLS)
    calls = [edits[start : start + size] for start in range(0, len(edits), size)]
    model.edit(calls[0])
    at_once = _right(model, calls[0], length)
    for call in calls[1:]:
        model.edit(call)
    rephrases = [(text, edit.target) for edit in edits for text in edit.rephrases]
    routed = [route.block is not None for route in model.route(locality)]
    agrees = _agrees(model, locality, length)
    return QualityReport(
        edits=len(edits),
        calls=len(calls),
        success=_right(model, edits, length),
        first_at_once=at_once,
        first_at_last=_right(model, calls[0], length),
        generality=_share(_says(model, rephrases, length)),
        own_locality=_share(_agrees(model, [text for edit in edits for text in edit.locality], length)),
        inside=_share([same for same, inside in zip(agrees, routed, strict=True) if inside]),
        outside=_share([same for same, inside in zip(agrees, routed, strict=True) if not inside]),
        clusters=len({record.outcome.cluster for record in model.records.values() if record.outcome.learned}),
    )


def _right(model: EditedModel, edits: Sequence[Edit], length: int) -> Share:
    return _share(_says(model, [(edit.prompt, edit.target) for edit in edits], length))


def _says(model: EditedModel, wanted: Sequence[tuple[str, str]], length: int) -> list[bool]:
    answers = ask(model, [prompt for prompt, _ in wanted], length)
    return [is_right(model.backbone, answer, target) for answer, (_, target) in zip(answers, wanted, strict=True)]


def _agrees(model: EditedModel, prompts: Sequence[str], length: int) -> list[bool]:
    edited, plain = ask(model, prompts, length), ask_backbone(model.backbone, prompts, length)
    return [answer == before for answer, before in zip(edited, plain, strict=True)]


def _share(good: Sequence[bool]) -> Share:
    return Share(len(good), sum(good))
