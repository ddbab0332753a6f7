"""Scores stand beside what the gate asks of them and beside those of the version before."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.evaluation.gate import Check, GateSettings, Verdict, judge
from pipeline.evaluation.scores import interval, summarise
from pipeline.report.measures import Demand, Measure, kinds_left_alone, kinds_said, measures
from pipeline.settings import Task
from tests.evaluation.tables import answers
from tests.report.nights import asked


def found(
    *rows: dict[str, Any], task: Task = "seq2seq", before: tuple[dict[str, Any], ...] = (), **gate: float | None
) -> dict[str, Measure]:
    """Measures of some answers by their names, in order."""
    table = answers(*rows)
    scores, then = summarise(table, task, 100), summarise(answers(*before), task, 100) if before else None
    return {row.name: row for row in measures(scores, judge(scores, then, GateSettings(**gate)), then, table)}


def test_a_score_has_its_interval_its_demands_and_the_one_before() -> None:
    right = [asked(f"{n}?", "yes", "yes") for n in range(4)]
    row = found(*right[:3], asked("3?", "yes", "no"), before=tuple(right), success=0.5)["edit success"]
    assert (row.value, row.before, row.failed) == (0.75, 1.0, True)
    assert (row.low, row.high) == interval(3, 4)
    floor, beside = row.demands
    assert floor == Demand(0.5, ceiling=False, beside=False, passed=True, why="edit success is 0.75, at least 0.5")
    assert (beside.threshold, beside.beside, beside.passed) == (0.98, True, False)


def test_what_fails_comes_first_then_what_is_asked_for() -> None:
    led = {"kind": "distractor", "prompt": "?", "block": 0, "answer": "a", "base_answer": "b"}
    rows = found(asked("a?", "yes", "yes"), *[led] * 20, arr=None, upstream_loss=None)
    assert list(rows)[:3] == ["false routes", "edit success", "locality"]
    (ceiling,) = rows["false routes"].demands
    assert (ceiling.ceiling, ceiling.passed) == (True, False)
    assert rows["locality"].value is None and not rows["locality"].failed  # asked for, and nothing shows it
    assert "generality" not in rows  # neither asked for nor measured


@pytest.mark.parametrize(
    ("task", "name", "value", "has_interval"),
    [("classification", "upstream", 0.5, True), ("seq2seq", "upstream", 0.25, False),
     ("causal", "upstream perplexity", 1.0, False)],
)  # fmt: skip
def test_the_backbones_own_task_is_measured_its_way(task: Task, name: str, value: float, has_interval: bool) -> None:
    own = {"kind": "upstream", "expected": "x", "f1": 0.25, "base_f1": 0.5, "base_exact_match": 1.0} | {
        "nll": 0.0,
        "base_nll": 0.0,
    }
    rows = found(*({"prompt": f"{n}?", "exact_match": float(n)} | own for n in range(2)), task=task)
    assert (rows[name].value, rows[name].low is not None) == (value, has_interval)
    (demand,) = rows[name].demands
    assert demand.ceiling == (task == "causal")


def test_a_check_without_words_of_its_own_is_shown_all_the_same() -> None:
    table = answers(asked("a?", "yes", "yes"))
    scores = summarise(table, "seq2seq")
    check = Check(name="something new", value=3.0, threshold=2.0, passed=False, why="it is 3, less than 2 is asked")
    first, *_ = measures(scores, Verdict(passed=False, checks=(check,)), None, table)
    assert (first.name, first.value, first.failed) == ("something new", 3.0, True)


def test_bars_of_numbers_without_an_upper_end_leave_room() -> None:
    assert Measure("upstream perplexity", "", 8.0, before=4.0, unit="number").scale == 10.0
    assert Measure("bytes per edit", "", None, unit="bytes").scale > 0


def test_kinds_of_questions_are_told_apart() -> None:
    typo = asked("a?", "yes", "no", kind="typo", wording="aa?", oracle_exact_match=1.0)
    led = {"kind": "negated", "prompt": "not a?", "block": 0, "answer": "a", "base_answer": "a"}
    now = summarise(answers(asked("a?", "yes", "yes"), typo, led), "seq2seq")
    before = summarise(answers(asked("a?", "yes", "no")), "seq2seq")
    first, second = kinds_said(now, before)
    assert (first.name, first.asked, first.share, first.before, first.also) == ("as reported", 1, 1.0, 0.0, 1.0)
    assert (second.name, second.share, second.before, second.also) == ("with a typing error", 0.0, None, 1.0)
    (third,) = kinds_left_alone(now, before)
    assert (third.name, third.share, third.also, third.before) == ('with a "not"', 1.0, 1.0, None)
