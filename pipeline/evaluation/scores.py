"""What the answers of a version come to."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import binomtest

from pipeline.editing.edit import normalise
from pipeline.evaluation.kinds import DERIVED, LEFT_ALONE, OTHERS, REWORDED, SAID
from pipeline.settings import Task

Row = Mapping[str, Any]

WORST = 10
"""One edit in so many is among the worst."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Change(_Frozen):
    """A measure of the backbone and of the version; None where nothing was asked that would show it."""

    before: float | None
    after: float | None


class Slice(_Frozen):
    """The edits of one age or source: how many were asked, and the shares that are right. None: nothing asked."""

    edits: int
    success: float | None
    generality: float | None
    locality: float | None
    reworded: float | None = Field(None, description="derived wordings that get the target")
    others: float | None = Field(None, description="derived questions of others answered as the backbone answers them")


class LeftAlone(_Frozen):
    """What became of questions of one kind that are the backbone's to answer."""

    unchanged: float = Field(description="share answered as the backbone answers them")
    led: float = Field(description="share led to a block: the false-route rate")
    low: float = Field(description="lower end of the 95% Wilson interval of that")
    high: float = Field(description="upper end")


class Scores(_Frozen):
    """The scores of a version. A share is between 0 and 1, and None where nothing was asked that would show it."""

    task: Task
    counts: dict[str, int] = Field(description="questions by kind, those not askable left out")
    not_askable: int = Field(description="questions that the model has no positions or no tokens for")
    edit_success: float | None = Field(description="edits whose target is said, by exact match")
    generality: float | None = Field(description="rephrases that get the target, by exact match")
    locality: float | None = Field(description="locality prompts answered as the backbone answers them")
    upstream: Change = Field(description="accuracy (classification), F1 (seq2seq) or perplexity (causal)")
    arr: float | None = Field(description="accuracy retention: of what the backbone had right, the share still right")
    perplexity: dict[str, Change] = Field(description="by kind, of a causal model: exp of the mean nll; low is good")
    f1: dict[str, Change] = Field(description="by kind, mean over questions; empty for a classifier")
    reworded: dict[str, float] = Field({}, description="by kind of derived wording: share that gets the target")
    left_alone: dict[str, LeftAlone] = Field({}, description="by kind of what no edit is about, derived or reported")
    oracle: dict[str, float] = Field({}, description="by kind: share that gets the target from the edit's own block")
    worst_tenth: float | None = Field(
        None, description="of all edits' shares of own questions that came out right, the mean of the worst tenth"
    )
    routing_precision: float | None = Field(description="of questions with a block, those of that block's label")
    routing_recall: float | None = Field(description="of edits and rephrases, those with a block of their label")
    by_age: dict[str, Slice] = Field(description="versions since an edit was learned (0, 1, 2-3, 4-7, ...) -> slice")
    by_source: dict[str, Slice] = Field(description="source of the edit -> slice")
    seconds_per_question: float | None = Field(description="the version's time to answer, routing included")
    size: int | None = Field(None, description="bytes of the version: blocks, index and records")

    @property
    def bytes_per_edit(self) -> float | None:
        """What an edit takes of that; None where none was asked."""
        edits = self.counts.get("edit")
        return self.size / edits if self.size and edits else None

    def flat(self) -> dict[str, float]:
        """Every measured number under a name of its own, slices left out: what a tracker of metrics takes."""
        named: dict[str, float | None] = {f"questions_{kind}": count for kind, count in self.counts.items()}
        for name in ("edit_success", "generality", "locality", "arr", "routing_precision", "routing_recall"):
            named[name] = getattr(self, name)
        changes = {"upstream": self.upstream}
        changes |= {f"perplexity_{kind}": change for kind, change in self.perplexity.items()}
        changes |= {f"f1_{kind}": change for kind, change in self.f1.items()}
        for name, change in changes.items():
            named[f"{name}_before"], named[f"{name}_after"] = change.before, change.after
        named |= {f"right_{kind}": share for kind, share in self.reworded.items()}
        for kind, left in self.left_alone.items():
            named |= {f"unchanged_{kind}": left.unchanged, f"false_routes_{kind}": left.led}
            named |= {f"false_routes_{kind}_low": left.low, f"false_routes_{kind}_high": left.high}
        named |= {f"oracle_{kind}": share for kind, share in self.oracle.items()} | {"worst_tenth": self.worst_tenth}
        named |= {"not_askable": self.not_askable, "seconds_per_question": self.seconds_per_question}
        named |= {"bytes": self.size, "bytes_per_edit": self.bytes_per_edit}
        return {name: float(value) for name, value in named.items() if value is not None}


def summarise(answers: pa.Table, task: Task, size: int | None = None) -> Scores:
    """The scores of all answers of a version.

    Derived questions have scores of their own and move no other.

    Args:
        answers: schema ``ANSWERS``, of all questions; slices of it are to be joined first.
        task: of the backbone; it decides what its own score upstream is.
        size: of the version, bytes.
    """
    every = answers.to_pylist()
    askable = [row for row in every if row["answer"] is not None]
    rows = [row for row in askable if row["kind"] not in DERIVED]
    kinds: defaultdict[str, list[Row]] = defaultdict(list)
    for row in askable:
        kinds[row["kind"]].append(row)
    in_order = [kind for kind in ("edit", "rephrase", "locality", "upstream") if kind in kinds]
    f1 = {kind: _change(kinds[kind], "f1") for kind in in_order if task != "classification"}
    perplexity = {kind: _perplexity(kinds[kind]) for kind in in_order if task == "causal"}
    nothing = Change(before=None, after=None)
    own = {
        "classification": _change(kinds["upstream"], "exact_match"),
        "seq2seq": f1.get("upstream", nothing),
        "causal": perplexity.get("upstream", nothing),
    }
    precision, recall = _routing(rows)
    return Scores(
        task=task,
        counts={kind: len(kinds[kind]) for kind in (*in_order, *DERIVED) if kind in kinds},
        not_askable=len(every) - len(askable),
        edit_success=_mean(kinds["edit"], "exact_match"),
        generality=_mean(kinds["rephrase"], "exact_match"),
        locality=_agreement(kinds["locality"]),
        upstream=own[task],
        arr=_mean([row for row in rows if row["base_exact_match"] == 1.0], "exact_match"),
        perplexity=perplexity,
        f1=f1,
        reworded=_shares(kinds, REWORDED, "exact_match"),
        left_alone={kind: _left_alone(kinds[kind]) for kind in LEFT_ALONE if kinds[kind]},
        oracle=_shares(kinds, SAID, "oracle_exact_match"),
        worst_tenth=_worst_tenth(askable),
        routing_precision=precision,
        routing_recall=recall,
        by_age=_sliced(_by_age(askable)),
        by_source=_sliced(
            (row["source"], row) for row in sorted(_of_edits(askable), key=lambda row: row["source"] or "")
        ),
        seconds_per_question=_mean(rows, "seconds"),
        size=size,
    )


def failures(answers: pa.Table) -> pa.Table:
    """The answers that speak against a version: wordings of edits not said, and other prompts answered anew.

    Args:
        answers: schema ``ANSWERS``.

    Returns:
        Those rows of it.
    """
    taught = pc.is_in(answers["kind"], pa.array(SAID))
    wrong = pc.equal(pc.coalesce(answers["exact_match"], 1.0), 0.0)
    changed = pc.not_equal(answers["answer"], answers["base_answer"])
    return answers.filter(pc.coalesce(pc.if_else(taught, wrong, changed), False))


def interval(hits: int, asked: int) -> tuple[float, float]:
    """The 95% Wilson interval of a share; ``asked`` is at least 1."""
    found = binomtest(hits, asked).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)


def _of_edits(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row["edit_id"] is not None]


def _mean(rows: Iterable[Row], column: str) -> float | None:
    values = [row[column] for row in rows if row[column] is not None]
    return math.fsum(values) / len(values) if values else None


def _change(rows: Sequence[Row], column: str) -> Change:
    return Change(before=_mean(rows, f"base_{column}"), after=_mean(rows, column))


def _perplexity(rows: Sequence[Row]) -> Change:
    before, after = _mean(rows, "base_nll"), _mean(rows, "nll")
    return Change(before=_exp(before), after=_exp(after))


def _exp(nll: float | None) -> float | None:
    return None if nll is None else math.exp(min(nll, 700.0))  # beyond it a float is infinite, which JSON can't say


def _agreement(rows: Sequence[Row]) -> float | None:
    return sum(map(_as_before, rows)) / len(rows) if rows else None


def _shares(kinds: Mapping[str, Sequence[Row]], names: Iterable[str], column: str) -> dict[str, float]:
    """The mean of a column by kind, those left out that nothing was measured of."""
    means = {kind: _mean(kinds.get(kind, ()), column) for kind in names}
    return {kind: mean for kind, mean in means.items() if mean is not None}


def _left_alone(rows: Sequence[Row]) -> LeftAlone:
    led, unchanged = sum(row["block"] is not None for row in rows), _agreement(rows)
    assert unchanged is not None  # who has no row is not asked for
    low, high = interval(led, len(rows))
    return LeftAlone(unchanged=unchanged, led=led / len(rows), low=low, high=high)


def _worst_tenth(rows: Iterable[Row]) -> float | None:
    right: defaultdict[str, list[bool]] = defaultdict(list)
    for row in _of_edits(rows):
        right[row["edit_id"]].append(row["exact_match"] == 1.0 if row["kind"] in SAID else _as_before(row))
    shares = sorted(sum(own) / len(own) for own in right.values())
    worst = shares[: math.ceil(len(shares) / WORST)]
    return math.fsum(worst) / len(worst) if worst else None


def _as_before(row: Row) -> bool:
    return bool(row["answer"] == row["base_answer"])


def _routing(rows: Sequence[Row]) -> tuple[float | None, float | None]:
    """Precision and recall. A rephrase may be led to another edit's key: what counts is that it has the same label."""
    labels = {row["edit_id"]: normalise(row["expected"]) for row in rows if row["kind"] in SAID}
    routed = sum(row["block"] is not None for row in rows)
    taught = [row for row in rows if row["kind"] in SAID]
    hits = sum(
        row["block"] is not None and labels.get(row["routed_edit"]) == normalise(row["expected"]) for row in taught
    )
    return (hits / routed if routed else None), (hits / len(taught) if taught else None)


def _by_age(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """Questions of edits with the age of their edit, the youngest first, in steps that double."""
    dated = [row for row in _of_edits(rows) if row["version"] is not None]
    newest = max((row["version"] for row in dated), default=0)
    return [(_age(newest - row["version"]), row) for row in sorted(dated, key=lambda row: -row["version"])]


def _age(versions: int) -> str:
    first = 1 << (versions.bit_length() - 1) if versions else 0
    return str(versions) if versions < 2 else f"{first}-{2 * first - 1}"


def _sliced(named: Iterable[tuple[str | None, Row]]) -> dict[str, Slice]:
    groups: defaultdict[str, defaultdict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for name, row in named:
        groups[name or "unknown"][row["kind"]].append(row)
    return {
        name: Slice(
            edits=len(kinds["edit"]),
            success=_mean(kinds["edit"], "exact_match"),
            generality=_mean(kinds["rephrase"], "exact_match"),
            locality=_agreement(kinds["locality"]),
            reworded=_mean([row for kind in REWORDED for row in kinds[kind]], "exact_match"),
            others=_agreement([row for kind in OTHERS for row in kinds[kind]]),
        )
        for name, kinds in groups.items()
    }
