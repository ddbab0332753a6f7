"""Which candidate, and how far its edits reach."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.editing.backbone import Backbone
from pipeline.editing.metric import LEAST_PAIRS, Metric, whitened
from pipeline.evaluation.calibration.candidates import Candidate, block_settings, candidates, keys_of
from pipeline.evaluation.calibration.keyed import Keyed, by_clauses, whole
from pipeline.evaluation.calibration.result import Bound, Calibration, FalseRoute, OwnNegatives, Rate, Tried
from pipeline.evaluation.calibration.routing import Routed, routed
from pipeline.evaluation.calibration.sweep import Distances, Radii, choose, measured, recall
from pipeline.evaluation.calibration.trial import (
    BOUNDABLE,
    BOUNDED,
    EDITED,
    FOUND,
    GROUPS,
    LEFT_ALONE,
    UNCERTAIN,
    UNEDITED,
    CalibrationError,
    Trial,
    make_trial,
)
from pipeline.settings import EditingSettings
from pipeline.telling import Track

KEPT = 0.5
"""A kind is bounded too unless that would leave less than this part of the recall."""
TIE = 0.01
"""Candidates whose gains differ by no more are equally good: the cheaper one is chosen."""
LEAST = 0.05
"""Recall below which nothing is chosen: that is chance, and next to nothing."""
SHORTER, TIMES = 0.9, 20
"""Where clusters lead more astray than distances to single keys did, radii shrink by this factor, so often at most."""
NOWHERE = Radii()
LISTED = 10
"""False routes of each kind that are listed."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A candidate on a trial.

    Attributes:
        candidate: the candidate.
        keyed: its keys of the trial's edits and questions.
        distances: of the trial's questions.
        radii: chosen for it.
        routed: what became of the questions; None where there is no radius, and nothing is led anywhere.
        holds: whether every bounded kind has few enough false routes in the choosing half.
        gain: as ``Tried`` has it.
    """

    candidate: Candidate
    keyed: Keyed
    distances: Distances
    radii: Radii = NOWHERE
    routed: Routed | None = None
    holds: bool = False
    gain: float = 0.0


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What was found, and what it was found on: a figure shows both. ``attempts`` are in the order of candidates."""

    result: Calibration
    trial: Trial
    attempts: tuple[Attempt, ...]

    @property
    def metric(self) -> Metric | None:
        """Fitted for what was chosen, if it has one."""
        return None if self.result.chosen is None else self.attempts[self.result.chosen].candidate.metric


def calibrate(
    backbone: Backbone,
    reports: pa.Table,
    traffic: Sequence[str],
    wanted: float,
    uncertain: float,
    settings: EditingSettings,
    encoders: Sequence[str],
    bound: Sequence[str] | None,
    track: Track,
) -> Calibrated:
    """Chooses what makes keys, whether subjects gate, and radii, on half of the questions; the other half rates it.

    What is chosen leads most rephrases right, less what it leads astray (``sweep``), within the wanted shares.

    Args:
        backbone: the model that is edited.
        reports: schema ``REPORTS``, an edit a row.
        traffic: prompts that no edit is about.
        wanted: share of false routes, at most.
        uncertain: the same among kinds some of whose questions may be taught after all (``UNCERTAIN``).
        settings: what is set already; what is chosen here takes the place of it.
        encoders: folders or hub ids of sentence encoders to try besides MiniLM.
        bound: kinds of ``BOUNDABLE`` to bound; None: distractors, and of ``BOUNDED`` what leaves ``KEPT`` of recall.
        track: tells how far it is.

    Raises:
        CalibrationError: there are too few edits with rephrases and subjects, or no question of a kind to bound.
        EncoderError: an encoder cannot be loaded.
        RecipeError: there is no recipe for this backbone.
    """
    trial = make_trial(backbone, reports, traffic, wanted)
    sources = candidates(backbone, settings, encoders)
    attempts: list[Attempt] = []
    with track(f"trying {len(sources)} ways to make keys of {len(trial.prompts)} prompts", len(sources)) as advance:
        for source in sources:
            keys = keys_of(source, backbone, settings, trial.prompts)
            if source.encoder is None:
                ways = [(way, whole(trial, keys, way.subjects)) for way in (source, replace(source, subjects=True))]
                if len(trial.unedited) >= LEAST_PAIRS:
                    metric = whitened(keys_of(source, backbone, settings, trial.unedited))
                    ways += [
                        (replace(way, metric=metric), whole(trial, metric(keys), way.subjects))
                        for way in (source, replace(source, subjects=True))
                    ]
            else:
                ways = [(source, whole(trial, keys, gate=False)), *by_clauses(source, keys, backbone, settings, trial)]
            attempts += [Attempt(way, keyed, measured(trial, keyed)) for way, keyed in ways]
            advance(1)
    bounds = _bounds(trial, attempts, {kind: uncertain if kind in UNCERTAIN else wanted for kind in BOUNDABLE}, bound)
    shares = {each.kind: each.wanted for each in bounds if each.bounded}
    attempts = [_tried(trial, attempt, shares, settings) for attempt in attempts]
    blocks = [block_settings(attempt.candidate, backbone.task, settings) for attempt in attempts]
    tried = [_told(trial, attempt, made) for attempt, made in zip(attempts, blocks, strict=True)]
    chosen = _best(attempts, tried)
    best = None if chosen is None else attempts[chosen]
    result = Calibration(
        wanted=wanted,
        edits=len(trial.edits),
        held_out=trial.held_out,
        bounds=bounds,
        candidates=tried,
        chosen=chosen,
        own_negatives=None if best is None else _own_negatives(trial, best),
        false_routes=[] if best is None else list(_false_routes(trial, best)),
        notes=[*_notes(trial, bounds), *_hint(trial, attempts, wanted, bounds)],
    )
    return Calibrated(result, trial, tuple(attempts))


def _bounds(
    trial: Trial, attempts: Sequence[Attempt], wanted: Mapping[str, float], bound: Sequence[str] | None
) -> list[Bound]:
    """Which kinds are bounded: one after the other, so that all candidates are compared under the same demands."""
    found: list[Bound] = []
    shares: dict[str, float] = {}
    before = 0.0
    for kind in BOUNDED if bound is None else dict.fromkeys(bound):
        if not len(trial.of(kind, choosing=True)):
            continue
        best = _most(trial, attempts, shares | {kind: wanted[kind]})
        taken = bound is not None or kind in GROUPS["distractor"] or best >= KEPT * before
        found.append(Bound(kind=kind, wanted=wanted[kind], bounded=taken, recall=best))
        if taken:
            shares[kind] = wanted[kind]
            before = best
    if not found:
        raise CalibrationError(
            f"no question of {', '.join(bound or BOUNDED)} came, expected a kind that can be bounded"
        )
    return found


def _most(trial: Trial, attempts: Sequence[Attempt], shares: Mapping[str, float]) -> float:
    """The recall of the best candidate, by distances alone, with these kinds bounded."""
    tried = (choose(trial, each.distances, shares) for each in attempts)
    return max(recall(trial, each.distances, radii) for each, radii in zip(attempts, tried, strict=True))


def _tried(trial: Trial, attempt: Attempt, shares: Mapping[str, float], settings: EditingSettings) -> Attempt:
    """The attempt with its radii and what became of the questions."""
    first = choose(trial, attempt.distances, shares)
    found = attempt
    if first == NOWHERE:
        return replace(found, holds=True)
    for times in range(TIMES + 1):
        radii = first.scaled(SHORTER**times)
        led = routed(trial, attempt.keyed, radii, settings.conflicts)
        led_astray = {kind: led.led[trial.of(kind, choosing=True)].mean() for kind in shares}
        holds = all(led_astray[kind] <= share + 1e-9 for kind, share in shares.items())
        gain = led.right[trial.of("rephrase", choosing=True)].mean() - max(led_astray.values())
        found = replace(attempt, radii=radii, routed=led, holds=holds, gain=float(gain))
        if holds:
            break
    return found


def _told(trial: Trial, attempt: Attempt, blocks: dict[str, Any]) -> Tried:
    nothing = np.zeros(len(trial.questions), dtype=bool)
    led, right = (nothing, nothing) if attempt.routed is None else (attempt.routed.led, attempt.routed.right)

    def rates(kinds: Sequence[str], hits: np.ndarray) -> dict[str, Rate]:
        all_rates = {kind: Rate.of(hits[trial.of(kind, choosing=False)].tolist()) for kind in kinds}
        return {kind: rate for kind, rate in all_rates.items() if rate is not None}

    rephrases = trial.of("rephrase", choosing=True)
    return Tried(
        name=attempt.candidate.name,
        settings=attempt.candidate.settings(attempt.radii.free, attempt.radii.named) | blocks,
        found=rates(FOUND, right),
        led=rates(LEFT_ALONE, led),
        choosing_recall=float(right[rephrases].mean()),
        gain=attempt.gain,
        holds=attempt.holds,
    )


def _best(attempts: Sequence[Attempt], tried: Sequence[Tried]) -> int | None:
    """The cheapest of those that gain most; none that leads more astray than wanted."""
    able = [place for place, each in enumerate(tried) if each.holds and each.choosing_recall >= LEAST]
    most = max((tried[place].gain for place in able), default=0.0)
    equal = [place for place in able if tried[place].gain >= most - TIE]
    return min(equal, key=lambda i: (attempts[i].candidate.cost, -tried[i].gain), default=None)


def _own_negatives(trial: Trial, attempt: Attempt) -> OwnNegatives | None:
    """How many edits would be better served by a radius of their own."""
    apart = attempt.keyed.apart(len(trial.questions))  # [q, n]
    inside, having = set[int](), set[int]()
    for place, question in enumerate(trial.questions):
        if question.edit is None or question.kind not in ("locality", "relation"):
            continue
        having.add(question.edit)
        radius = attempt.radii.named if attempt.keyed.subjects[question.edit] else attempt.radii.free
        limit = math.inf if attempt.keyed.limits is None else attempt.keyed.limits[question.edit]
        if radius is not None and apart[place, question.edit] <= min(radius, limit):
            inside.add(question.edit)
    return OwnNegatives(inside=len(inside), edits=len(having)) if having else None


def _false_routes(trial: Trial, attempt: Attempt) -> Iterator[FalseRoute]:
    assert attempt.routed is not None
    prompts = {edit.edit_id: edit.prompt for edit in trial.edits}
    for kind in LEFT_ALONE:
        if kind in GROUPS:
            continue
        routes = [(trial.questions[i].prompt, attempt.routed.routes[i]) for i in trial.of(kind, choosing=False)]
        astray = sorted(
            (route.distance, prompt, prompts[route.edit_id])
            for prompt, route in routes
            if route.block is not None and route.edit_id is not None and route.distance is not None
        )
        for distance, prompt, edit in astray[:LISTED]:
            yield FalseRoute(kind=kind, prompt=prompt, edit=edit, distance=distance)


def _notes(trial: Trial, bounds: Sequence[Bound]) -> Iterator[str]:
    reasons = {
        "wrapped": "what a classifier reads is no message",
        "traffic": "none was given (--traffic)",
        "locality": "no report has locality prompts that the others leave",
    }
    for kind in (*FOUND, *LEFT_ALONE):
        if not len(trial.of(kind, choosing=False)):
            yield f"{kind} was not measured: {reasons.get(kind, 'no such question could be made of the reports')}"
    for bound in bounds:
        asked, needed = len(trial.of(bound.kind, choosing=True)), ceil(3 / bound.wanted)
        if bound.bounded and asked < needed:
            yield f"{bound.kind}: a share of {bound.wanted:g} shows in {needed:,} questions, and {asked:,} were there"


def _hint(trial: Trial, attempts: Sequence[Attempt], wanted: float, bounds: Sequence[Bound]) -> Iterator[str]:
    """What would be reached if other questions about the subject of an edit were let go."""
    held = [bound for bound in bounds if bound.bounded and bound.kind in ("distractor", EDITED, "relation")]
    alone = _most(trial, attempts, {UNEDITED: wanted})
    if held and held[-1].recall < KEPT * alone:
        yield (
            f"{held[-1].wanted:g} for questions about subjects of edits leaves {held[-1].recall:.3f} of rephrases at "
            f"most; --bound {UNEDITED} leaves {alone:.3f}, and leads astray most of what else is asked about those"
        )
