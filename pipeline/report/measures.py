"""The scores of a version as a person compares them: with the version before, and with what the gate asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.gate import Check, Verdict
from pipeline.evaluation.kinds import DERIVED
from pipeline.evaluation.scores import LeftAlone, Scores, interval
from pipeline.screens import OTHERS, WORDINGS

BESIDE = " beside the champion"
"""Ends the names of checks that compare with the version before."""
CEILINGS = ("false routes", "upstream perplexity", "seconds per question")
"""Checks whose threshold is not to be passed; that of all others is to be reached."""


@dataclass(frozen=True, slots=True)
class Demand:
    """A check of the gate beside the measure that it is of.

    Attributes:
        threshold: what was asked for, in the measure's own unit.
        ceiling: at most that; else at least.
        beside: it comes from the version before.
        passed, why: the verdict and its sentence.
    """

    threshold: float
    ceiling: bool
    beside: bool
    passed: bool
    why: str


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of a version.

    Attributes:
        name: as the gate and the terminal call it.
        what: it says, in a few words.
        value, before: of the version, and of the one before; None where it was not measured.
        low, high: 95% interval of ``value``, for shares of counted questions.
        unit: share, number, seconds or bytes.
        demands: what the gate asks of it; none: nothing.
    """

    name: str
    what: str
    value: float | None
    before: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = "share"
    demands: tuple[Demand, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the gate holds it against the version."""
        return not all(demand.passed for demand in self.demands)

    @property
    def scale(self) -> float:
        """What a full bar stands for."""
        if self.unit == "share":
            return 1.0
        numbers = [self.value, self.before, *(demand.threshold for demand in self.demands)]
        return 1.25 * max((number for number in numbers if number), default=1.0)


@dataclass(frozen=True, slots=True)
class Kind:
    """What became of one kind of question.

    Attributes:
        name: as a person calls it.
        asked: how many.
        share, low, high: that is right, or that is led to an edit, with its 95% interval.
        before: the same of the version before.
        also: the share that is right with the edit's own block, or that is answered as the backbone answers.
    """

    name: str
    asked: int
    share: float
    low: float
    high: float
    before: float | None
    also: float | None


def measures(scores: Scores, verdict: Verdict, before: Scores | None, answers: pa.Table) -> tuple[Measure, ...]:
    """Every score that was measured or is asked for, those that fail first.

    Args:
        scores, verdict: of the version.
        before: scores of the version that was edited.
        answers: schema ``ANSWERS``: how many questions a share is of, where the scores do not tell.
    """
    demands: dict[str, list[Demand]] = {}
    checks: dict[str, Check] = {}
    for check in verdict.checks:
        name = check.name.removesuffix(BESIDE)
        demand = Demand(check.threshold, name in CEILINGS, name != check.name, check.passed, check.why)
        demands.setdefault(name, []).append(demand)
        checks.setdefault(name, check)
    found = {measure.name: measure for measure in _measures(scores, before, answers)}
    for name in [name for name in demands if name not in found]:  # a check that has no words here is shown, too
        found[name] = Measure(name, "", checks[name].value, unit="number")
    made = [replace(measure, demands=tuple(demands.get(name, ()))) for name, measure in found.items()]
    kept = [measure for measure in made if measure.value is not None or measure.demands]
    return tuple(sorted(kept, key=lambda measure: (not measure.failed, not measure.demands)))


def _measures(scores: Scores, before: Scores | None, answers: pa.Table) -> Iterator[Measure]:
    """All that there are, whether they were measured or not; in the order of a page."""
    known, routed = _denominators(answers)
    counts = scores.counts

    def then(field: str) -> float | None:
        return None if before is None else getattr(before, field)

    def share(name: str, field: str, what: str, asked: int | None = None) -> Measure:
        return _share(name, what, getattr(scores, field), then(field), asked)

    yield share("edit success", "edit_success", "edits whose right answer is said", counts.get("edit"))
    yield share("generality", "generality", "reported rewordings that get it", counts.get("rephrase"))
    yield share("locality", "locality", "prompts reported as not to change that did not", counts.get("locality"))
    yield share("ARR", "arr", "of what the backbone had right, still right", known)
    yield _false_routes(scores.left_alone.get("distractor"), before)
    yield _upstream(scores, before)
    if "edit" in scores.perplexity:
        was = None if before is None or "edit" not in before.perplexity else before.perplexity["edit"].after
        what = "of the right answers; low is good"
        yield Measure("perplexity of edits", what, scores.perplexity["edit"].after, was, unit="number")
    asked = counts.get("edit", 0) + counts.get("rephrase", 0)
    yield share("worst tenth of edits", "worst_tenth", "their own questions that come out right")
    yield share("routing precision", "routing_precision", "of questions led to a block, those that ask for it", routed)
    yield share("routing recall", "routing_recall", "edits and rewordings led to a block of theirs", asked)
    seconds = scores.seconds_per_question, then("seconds_per_question")
    yield Measure("seconds per question", "to answer, routing included", *seconds, unit="seconds")
    size = scores.bytes_per_edit, then("bytes_per_edit")
    yield Measure("bytes per edit", "of the version on disk", *size, unit="bytes")


def _false_routes(left: LeftAlone | None, before: Scores | None) -> Measure:
    name, what = "false routes", "questions of an edit's form about another subject, led to an edit"
    then = None if before is None else before.left_alone.get("distractor")
    was = None if then is None else then.led
    return Measure(name, what, None, was) if left is None else Measure(name, what, left.led, was, left.low, left.high)


def _upstream(scores: Scores, before: Scores | None) -> Measure:
    now, was = scores.upstream.after, None if before is None else before.upstream.after
    own = scores.upstream.before
    what = "the backbone's own task" if own is None else f"the backbone's own task; itself it has {own:.4g}"
    if scores.task == "causal":
        return Measure("upstream perplexity", f"{what}; low is good", now, was, unit="number")
    asked = scores.counts.get("upstream") if scores.task == "classification" else None  # F1 is no share of questions
    return _share("upstream", what, now, was, asked)


def _share(name: str, what: str, value: float | None, before: float | None, asked: int | None) -> Measure:
    low, high = (None, None) if value is None or not asked else interval(round(value * asked), asked)
    return Measure(name, what, value, before, low, high)


def _denominators(answers: pa.Table) -> tuple[int, int]:
    """Questions that the backbone had right, and those that were led to a block; derived ones are left out."""
    own = pc.invert(pc.is_in(answers["kind"], pa.array(DERIVED)))
    rows = answers.filter(pc.and_(own, pc.is_valid(answers["answer"])))
    return pc.sum(pc.equal(rows["base_exact_match"], 1.0)).as_py() or 0, len(rows) - rows["block"].null_count


def kinds_said(scores: Scores, before: Scores | None) -> tuple[Kind, ...]:
    """Kinds of questions that an edit is to answer."""
    now, then = _right(scores), {} if before is None else _right(before)
    rows = [(kind, name, now[kind]) for kind, name in WORDINGS.items() if kind in now]
    return tuple(
        Kind(name, asked, share, *interval(round(share * asked), asked), then.get(kind), scores.oracle.get(kind))
        for kind, name, share in rows
        if (asked := scores.counts.get(kind, 0))
    )


def kinds_left_alone(scores: Scores, before: Scores | None) -> tuple[Kind, ...]:
    """Kinds of questions that no edit is about."""
    then = {} if before is None else before.left_alone
    return tuple(
        Kind(
            name,
            scores.counts.get(kind, 0),
            left.led,
            left.low,
            left.high,
            then[kind].led if kind in then else None,
            left.unchanged,
        )
        for kind, name in OTHERS.items()
        if (left := scores.left_alone.get(kind)) is not None
    )


def _right(scores: Scores) -> Mapping[str, float]:
    shares = {"edit": scores.edit_success, "rephrase": scores.generality} | scores.reworded
    return {kind: share for kind, share in shares.items() if share is not None}
