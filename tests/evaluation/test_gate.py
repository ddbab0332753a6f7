"""The gate: passed, failed with its reasons, and what it does where nothing was measured."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.evaluation import GateSettings, Scores, Verdict, judge, summarise
from pipeline.evaluation.scores import Change, LeftAlone
from tests.evaluation.conftest import Asked
from tests.evaluation.tables import answers

EVERYTHING = GateSettings(
    success=0.9,
    generality=0.8,
    locality=0.9,
    arr=0.95,
    upstream_loss=0.1,
    false_routes=0.1,
    regression=0.02,
    seconds_per_question=0.5,
)


def scored(**changed: Any) -> Scores:
    good = {
        "edit_success": 0.97,
        "generality": 0.85,
        "locality": 0.99,
        "arr": 0.98,
        "upstream": Change(before=0.6, after=0.6),
        "left_alone": {"distractor": LeftAlone(unchanged=0.9, led=0.12, low=0.08, high=0.2)},
        "seconds_per_question": 0.1,
    }
    return summarise(answers(), "seq2seq").model_copy(update=good | changed)


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_good_scores_pass_every_check() -> None:
    verdict = judge(scored(), scored(), EVERYTHING)
    assert verdict.passed and verdict.reasons == ()
    assert [check.name for check in verdict.checks] == [
        "edit success",
        "generality",
        "locality",
        "ARR",
        "upstream",
        "edit success beside the champion",
        "generality beside the champion",
        "locality beside the champion",
        "ARR beside the champion",
        "false routes",
        "seconds per question",
    ]


@pytest.mark.parametrize(
    ("changed", "name", "reason"),
    [
        ({"edit_success": 0.89}, "edit success", "edit success is 0.89, less than 0.9"),
        ({"generality": 0.5}, "generality", "generality is 0.5, less than 0.8"),
        ({"locality": 0.8}, "locality", "locality is 0.8, less than 0.9"),
        ({"arr": float("nan")}, "ARR", "ARR is nan, less than 0.95"),
        ({"upstream": Change(before=0.6, after=0.5)}, "upstream", "upstream is 0.5, less than 0.54"),
        (
            {"left_alone": {"distractor": LeftAlone(unchanged=0.9, led=0.16, low=0.11, high=0.2)}},
            "false routes",
            "false routes is 0.16 (95% from 0.11), surely more than 0.1",
        ),
        ({"seconds_per_question": 0.6}, "seconds per question", "seconds per question is 0.6, more than 0.5"),
        ({"edit_success": None}, "edit success", "edit success was not measured: nothing was asked that would show it"),
    ],
)
def test_one_bad_score_fails_with_its_reason(changed: dict[str, Any], name: str, reason: str) -> None:
    verdict = judge(scored(**changed), None, EVERYTHING)
    assert not verdict.passed
    assert failed(verdict) == [name]
    assert verdict.reasons == (reason,)


def test_staying_behind_the_champion_is_forgiven_up_to_the_tolerance() -> None:
    champion = scored(edit_success=0.99, locality=1.0)
    assert judge(scored(), champion, EVERYTHING).passed  # 0.97 is 0.99 - 0.02 to rounding
    worse = judge(scored(edit_success=0.96), champion, EVERYTHING)
    assert failed(worse) == ["edit success beside the champion"]
    assert judge(scored(edit_success=0.96), champion, GateSettings(regression=None)).passed


def test_perplexity_may_rise_and_not_fall_by_the_loss() -> None:
    gate = GateSettings(success=None, upstream_loss=0.1)
    causal = {"task": "causal"}
    assert judge(scored(**causal, upstream=Change(before=20.0, after=22.0)), None, gate).passed
    assert judge(scored(**causal, upstream=Change(before=20.0, after=5.0)), None, gate).passed
    verdict = judge(scored(**causal, upstream=Change(before=20.0, after=22.5)), None, gate)
    assert verdict.reasons == ("upstream perplexity is 22.5, more than 22",)


def test_what_was_not_asked_for_or_not_measured_is_not_held_against_a_version() -> None:
    silent = GateSettings.model_validate(dict.fromkeys(GateSettings.model_fields))
    assert judge(scored(edit_success=0.0), scored(), silent).checks == ()
    nothing = scored(generality=None, locality=None, arr=None, upstream=Change(before=None, after=None), left_alone={})
    verdict = judge(nothing, scored(), EVERYTHING)
    assert verdict.passed
    assert sum("not measured" in check.why for check in verdict.checks) == 8
    first = judge(scored(), scored(generality=None), EVERYTHING)  # the champion had none to compare with
    assert "generality beside the champion" not in [check.name for check in first.checks]


def test_the_default_gate_lets_a_model_through_that_knows_its_edits(asked: Asked) -> None:
    scores = summarise(asked.answers, asked.model.backbone.task)
    assert judge(scores, None, GateSettings()).passed
    spoilt = scores.model_copy(update={"edit_success": 2 / 3})
    assert not judge(spoilt, None, GateSettings()).passed


def test_verdicts_travel_as_json_and_thresholds_are_checked() -> None:
    verdict = judge(scored(arr=0.5), scored(), EVERYTHING)
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
    for wrong in ({"success": 1.1}, {"seconds_per_question": 0}, {"succes": 0.9}):
        with pytest.raises(ValidationError):
            GateSettings.model_validate(wrong)


def test_settings_can_name_the_gate_without_importing_anything_heavy() -> None:
    program = (
        "import sys; from pipeline.evaluation import GateSettings; GateSettings(); "
        "print(sorted({'torch', 'transformers', 'pyarrow', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout == "[]\n"
