"""The choice: keys that separate are taken before keys that don't, and rates are those of the other half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.editing.backbone import Backbone
from pipeline.evaluation.calibration import choice
from pipeline.evaluation.calibration.candidates import Candidate
from pipeline.evaluation.calibration.choice import Calibrated, calibrate
from pipeline.evaluation.calibration.trial import CalibrationError
from pipeline.settings import EditingSettings
from pipeline.telling import QUIET
from tests.editing.edited import tiny
from tests.evaluation.calibration.conftest import COUNTRIES, EDITS, alike, apart
from tests.evaluation.tables import reports

MADE = {"alike": alike, "apart": apart}


def half_apart(prompts: list[str]) -> torch.Tensor:
    """As ``apart``, but every rephrase about a country whose name ends in "a" lies 30 farther off."""
    keys = apart(prompts)
    ends = [prompt.startswith(("Name", "How old")) and prompt.rstrip("?.").endswith("a") for prompt in prompts]
    far = torch.tensor(ends)
    keys[:, -2] += 30.0 * far
    return keys


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Name of a key layer -> what makes its keys, in place of the backbone."""
    makers: dict[str, Any] = dict(MADE)

    def keys_of(candidate: Candidate, backbone: Backbone, settings: EditingSettings, prompts: Sequence[str]) -> Any:
        return makers[str(candidate.key_layer)](list(prompts))

    def candidates(*_: Any) -> list[Candidate]:
        return [Candidate(name, "last", None, False) for name in makers]

    monkeypatch.setattr(choice, "keys_of", keys_of)
    monkeypatch.setattr(choice, "candidates", candidates)
    return makers


def run(table: pa.Table, wanted: float = 0.01, bound: Sequence[str] | None = None) -> Calibrated:
    traffic = [f"How long does it take to boil {n} eggs?" for n in range(20)]
    return calibrate(tiny("t5"), table, traffic, wanted, wanted, EditingSettings(), (), bound, QUIET.track)


def test_what_separates_is_chosen_without_a_gate_that_it_does_not_need(table: pa.Table, made: dict[str, Any]) -> None:
    found = run(table).result
    assert found.choice is not None
    assert found.choice.name == "apart, last token"
    assert found.choice.found["rephrase"].share == found.choice.choosing_recall == 1.0
    assert found.choice.led["distractor"].share == found.choice.led["relation"].share == 0.0
    assert found.choice.led["distractor"].high < 0.15
    assert [bound.kind for bound in found.bounds if not bound.bounded] == []
    assert found.choice.settings["subjects"] is False
    assert 1.0 < found.choice.settings["radius"] < 4.0
    assert found.own_negatives is not None
    assert found.own_negatives.inside == 0
    assert {route.kind for route in found.false_routes} <= {"negated"}  # in these keys a "not" does not count
    others = {tried.name: tried.choosing_recall for tried in found.candidates}
    assert others["alike, last token"] == 0.0


def test_what_finds_less_is_chosen_where_the_rest_would_be_paid_for_by_more_that_goes_astray(
    table: pa.Table, made: dict[str, Any]
) -> None:
    def careless(prompts: list[str]) -> torch.Tensor:
        """Of countries with an "r" it can't be told what is asked of them, at any distance."""
        told = torch.tensor([not any("r" in name and name in prompt for name in COUNTRIES) for prompt in prompts])
        keys = apart(prompts)
        keys[:, len(COUNTRIES) : -1] *= told[:, None]
        return keys

    def careful(prompts: list[str]) -> torch.Tensor:
        """Rephrases about countries whose name ends in "n" lie too far off."""
        keys = apart(prompts)
        keys[:, -2] *= torch.tensor([30.0 if prompt.rstrip("?.").endswith("n") else 1.0 for prompt in prompts])
        return keys

    made.clear()
    made |= {"careless": careless, "careful": careful}
    found = run(table, wanted=1.0).result
    more, less = (next(each for each in found.candidates if each.name == f"{name}, last token") for name in made)
    assert more.holds
    assert more.choosing_recall == 1.0 > less.choosing_recall
    assert more.gain < less.gain
    assert found.choice == less


def test_rates_are_counted_in_the_half_that_had_no_part_in_the_choice(table: pa.Table, made: dict[str, Any]) -> None:
    made.clear()
    made["half"] = half_apart
    calibrated = run(table)
    found, trial = calibrated.result.choice, calibrated.trial
    assert found is not None
    asked = [question for question in trial.questions if question.kind == "rephrase" and not question.choosing]
    near = [question for question in asked if not question.prompt.rstrip("?.").endswith("a")]
    assert 0 < len(near) < len(asked)
    assert found.found["rephrase"].asked == len(asked)
    assert found.found["rephrase"].share == pytest.approx(len(near) / len(asked))
    assert found.found["rephrase"].low < found.found["rephrase"].share < found.found["rephrase"].high


def test_false_routes_are_listed_and_where_clusters_lead_too_many_astray_radii_shrink(
    table: pa.Table, made: dict[str, Any]
) -> None:
    made["noise"] = lambda prompts: torch.randn(len(prompts), 3, generator=torch.Generator().manual_seed(0))
    calibrated = run(table, wanted=0.2)
    result, trial = calibrated.result, calibrated.trial
    for attempt, tried in zip(calibrated.attempts, result.candidates, strict=True):
        if attempt.routed is not None and tried.holds:
            for bound in result.bounds:
                if bound.bounded:
                    assert attempt.routed.led[trial.of(bound.kind, choosing=True)].mean() <= 0.2
    made.pop("apart")
    astray = run(table, wanted=0.2)
    assert astray.result.choice is not None
    for route in astray.result.false_routes:
        assert route.distance >= 0
    kinds = {route.kind for route in astray.result.false_routes}
    assert kinds == {kind for kind, rate in astray.result.choice.led.items() if rate.share and kind != "distractor"}


def test_a_further_kind_that_would_cost_most_of_the_recall_is_not_bounded_unless_it_is_asked_for(
    made: dict[str, Any],
) -> None:
    made.clear()
    again = {f"{edit.prompt} Why?": edit.prompt for edit in EDITS}
    edits = [replace(edit, locality=(prompt,)) for edit, prompt in zip(EDITS, again, strict=True)]
    made["again"] = lambda prompts: apart([again.get(prompt, prompt) for prompt in prompts])
    found = run(reports(edits)).result
    assert {bound.kind: bound.recall for bound in found.bounds if not bound.bounded} == {"locality": 0.0}
    assert found.choice is not None
    assert found.choice.led["locality"].share == found.choice.found["rephrase"].share == 1.0
    demanded = run(reports(edits), bound=["locality"]).result
    assert [bound.bounded for bound in demanded.bounds] == [True]
    assert demanded.choice is None


def test_where_only_the_subject_counts_it_is_told_what_would_be_reached_without_the_bound(
    table: pa.Table, made: dict[str, Any]
) -> None:
    made.clear()

    def same_for_all_that_is_asked(prompts: list[str]) -> torch.Tensor:
        keys = apart(prompts)
        keys[:, len(COUNTRIES) : len(COUNTRIES) + 2] = 0
        return keys

    made["subject"] = same_for_all_that_is_asked
    strict = run(table).result
    assert strict.choice is None
    assert strict.own_negatives is None
    assert "--bound distractor_unedited leaves 1.000" in strict.notes[-1]
    found = run(table, bound=["distractor_unedited"]).result
    assert found.choice is not None
    assert found.choice.found["rephrase"].share == found.choice.led["relation"].share == 1.0
    assert found.choice.led["distractor_unedited"].share == 0.0
    assert found.own_negatives is not None
    assert found.own_negatives.inside == found.own_negatives.edits > 0


def test_what_is_not_shown_is_told(table: pa.Table, made: dict[str, Any]) -> None:
    few = next(note for note in run(table).result.notes if "shows in" in note)
    assert "a share of 0.01 shows in 300 questions" in few
    assert "distractor" in few
    bare = reports([edit.__class__(edit.prompt, edit.target, edit.rephrases) for edit in EDITS])
    notes = calibrate(tiny("t5"), bare, (), 0.2, 0.2, EditingSettings(), (), None, QUIET.track).result.notes
    assert any(note.startswith("locality was not measured") for note in notes)
    assert any(note.startswith("traffic was not measured") for note in notes)
    with pytest.raises(CalibrationError, match="no question of traffic came"):
        calibrate(tiny("t5"), table, (), 0.2, 0.2, EditingSettings(), (), ["traffic"], QUIET.track)


def test_the_real_thing_ends_on_a_tiny_backbone_and_the_same_twice(table: pa.Table) -> None:
    first, second = (
        calibrate(tiny("gpt2"), table, (), 0.05, 0.05, EditingSettings(), (), None, QUIET.track).result
        for _ in range(2)
    )
    assert first == second
    assert {tried.settings["encoder"] for tried in first.candidates} <= {None, "minilm"}
    assert len(first.candidates) >= 8
    assert all(np.isfinite(rate.share) for tried in first.candidates for rate in tried.led.values())
