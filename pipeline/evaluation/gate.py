"""The gate: what a version has to reach before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from pipeline.evaluation.scores import Scores


class GateSettings(BaseModel):
    """Thresholds of the gate. One left at None is not asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    success: float | None = Field(0.9, ge=0, le=1, description="share of all edits whose target is said")
    generality: float | None = Field(None, ge=0, le=1, description="share of rephrases that get the target")
    locality: float | None = Field(0.9, ge=0, le=1, description="agreement with the backbone on locality prompts")
    arr: float | None = Field(0.9, ge=0, le=1, description="share of what the backbone had right that still is")
    upstream_loss: float | None = Field(
        0.05, ge=0, description="part of the backbone's own score that may be lost (of perplexity: be added)"
    )
    false_routes: float | None = Field(
        0.2, ge=0, le=1, description="share led to a block of questions with an edit's form and another subject"
    )
    regression: float | None = Field(0.02, ge=0, le=1, description="by how much a share may stay behind the champion's")
    seconds_per_question: float | None = Field(None, gt=0, description="time to answer at most")


class Check(BaseModel):
    """One demand: what was measured, what was asked for, and a sentence that says how the two compare."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | None
    threshold: float
    passed: bool
    why: str


class Verdict(BaseModel):
    """Whether a version may be used: when every check is passed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not; empty when passed."""
        return tuple(check.why for check in self.checks if not check.passed)


COMPARED = {"edit_success": "edit success", "generality": "generality", "locality": "locality", "arr": "ARR"}
"""Shares that have a floor and are compared with the champion's: field of ``Scores`` -> how a person calls it."""

ROUNDING = 1e-9
"""What the arithmetic of thresholds may be off by."""


def judge(scores: Scores, champion: Scores | None, gate: GateSettings) -> Verdict:
    """Holds the scores of a version against the gate and the version in use.

    What no question was asked about can't be held against a version, except edit success: a version whose edits
    were not asked for is not shown to know any.

    Args:
        scores: of the candidate.
        champion: of the version in use; None when there is none.
        gate: the thresholds.
    """
    checks = tuple([*_floors(scores, gate), *_upstream(scores, gate), *_regressions(scores, champion, gate)])
    if gate.false_routes is not None:
        checks += (_false_routes(scores, gate.false_routes),)
    if gate.seconds_per_question is not None:
        checks += (_at_most("seconds per question", scores.seconds_per_question, gate.seconds_per_question),)
    return Verdict(passed=all(check.passed for check in checks), checks=checks)


def _floors(scores: Scores, gate: GateSettings) -> Iterator[Check]:
    floors = {"edit_success": gate.success, "generality": gate.generality, "locality": gate.locality, "arr": gate.arr}
    for field, floor in floors.items():
        if floor is not None:
            yield _at_least(COMPARED[field], getattr(scores, field), floor, required=field == "edit_success")


def _upstream(scores: Scores, gate: GateSettings) -> Iterator[Check]:
    before, after = scores.upstream.before, scores.upstream.after
    if gate.upstream_loss is None:
        return
    if before is None or after is None:
        yield _unmeasured("upstream", gate.upstream_loss)
    elif scores.task == "causal":
        yield _at_most("upstream perplexity", after, before * (1 + gate.upstream_loss))
    else:
        yield _at_least("upstream", after, before * (1 - gate.upstream_loss))


def _regressions(scores: Scores, champion: Scores | None, gate: GateSettings) -> Iterator[Check]:
    if champion is None or gate.regression is None:
        return
    for field, name in COMPARED.items():
        then = getattr(champion, field)
        if then is not None:
            yield _at_least(f"{name} beside the champion", getattr(scores, field), then - gate.regression)


def _false_routes(scores: Scores, ceiling: float) -> Check:
    """Holds against a version only what is beyond chance: of few edits there are few distractors.

    The built-in example has 0.06 with the default settings, and 0.17 with keys by MiniLM and subjects (53 distractors
    a night, the mean of 12 seeds).
    """
    name, found = "false routes", scores.left_alone.get("distractor")
    if found is None:
        return _unmeasured(name, ceiling)
    passed = found.low <= ceiling + ROUNDING
    sure = "not surely" if passed else "surely"
    why = f"{name} is {found.led:.4g} (95% from {found.low:.4g}), {sure} more than {ceiling:.4g}"
    return Check(name=name, value=found.led, threshold=ceiling, passed=passed, why=why)


def _at_least(name: str, value: float | None, floor: float, required: bool = False) -> Check:
    if value is None:
        return _unmeasured(name, floor, passed=not required)
    passed = value >= floor - ROUNDING  # of NaN this is false
    why = f"{name} is {value:.4g}, {'at least' if passed else 'less than'} {floor:.4g}"
    return Check(name=name, value=value, threshold=floor, passed=passed, why=why)


def _at_most(name: str, value: float | None, ceiling: float) -> Check:
    if value is None:
        return _unmeasured(name, ceiling)
    passed = value <= ceiling + ROUNDING
    why = f"{name} is {value:.4g}, {'at most' if passed else 'more than'} {ceiling:.4g}"
    return Check(name=name, value=value, threshold=ceiling, passed=passed, why=why)


def _unmeasured(name: str, threshold: float, passed: bool = True) -> Check:
    why = f"{name} was not measured: nothing was asked that would show it"
    return Check(name=name, value=None, threshold=threshold, passed=passed, why=why)
