"""Radii from distances: as much recall as a share of false routes allows, and not a question more."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.evaluation.calibration.keyed import whole
from pipeline.evaluation.calibration.sweep import Radii, choose, curve, first_too_many, measured, recall
from pipeline.evaluation.calibration.trial import Trial
from tests.evaluation.calibration.conftest import COUNTRIES, alike, apart


@pytest.mark.parametrize(("wanted", "distance"), [(0.0, 1.0), (0.24, 1.0), (0.25, 2.0), (0.5, 5.0), (0.75, 7.0)])
def test_the_first_question_that_would_be_one_too_many(wanted: float, distance: float) -> None:
    assert first_too_many(np.array([5.0, 1.0, 7.0, 2.0]), wanted) == distance
    assert first_too_many(np.array([]), wanted) == math.inf


def test_distances_are_those_to_the_nearest_edit_that_a_question_may_reach(trial: Trial) -> None:
    keys = apart(trial.prompts)
    free, gated = measured(trial, whole(trial, keys, gate=False)), measured(trial, whole(trial, keys, gate=True))
    n = len(trial.edits)
    for place, question in enumerate(trial.questions):
        all_apart = [torch.dist(keys[n + place], key).item() for key in keys[:n]]
        named = [d for d, subject in zip(all_apart, trial.subjects, strict=True) if subject in trial.naming[place]]
        assert free.free[place] == pytest.approx(min(all_apart), rel=1e-6)
        assert gated.named[place] == pytest.approx(min(named, default=math.inf), rel=1e-6)
        assert (free.named[place], gated.free[place]) == (math.inf, math.inf)
        if question.kind == "rephrase":
            assert free.free_right[place]
            assert gated.named_right[place]
    assert (free.share_free, gated.share_free) == (1.0, 0.0)


def test_the_radius_lies_half_way_between_the_last_rephrase_and_the_first_distractor(trial: Trial) -> None:
    distances = measured(trial, whole(trial, apart(trial.prompts), gate=False))
    nearest = distances.free[trial.of("distractor", True)].min()
    radii = choose(trial, distances, {"distractor": 0.0})
    assert radii.named is None
    assert radii.free == pytest.approx((1.0 + nearest) / 2)
    assert recall(trial, distances, radii) == 1.0
    gated = choose(trial, measured(trial, whole(trial, apart(trial.prompts), gate=True)), {"distractor": 0.0})
    assert gated.free is None
    assert gated.named is not None


def test_a_wider_share_of_false_routes_never_costs_recall_and_is_kept(trial: Trial) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(trial.prompts), len(COUNTRIES) + 4, generator=generator)
    keys = apart(trial.prompts) + noise
    for gate in (False, True):
        distances = measured(trial, whole(trial, keys, gate))
        found = []
        for wanted in (0.0, 0.02, 0.1, 0.3):
            radii = choose(trial, distances, {"distractor": wanted, "relation": wanted})
            found.append(recall(trial, distances, radii))
            factor, _ = distances.reach(radii)
            for kind in ("distractor", "relation"):
                assert np.mean(factor[trial.of(kind, True)] <= 1) <= wanted
        assert found == sorted(found)
        assert found[-1] > 0


def test_edits_without_a_subject_take_their_part_of_the_false_routes(trial: Trial) -> None:
    half = tuple("" if place % 2 else subject for place, subject in enumerate(trial.subjects))
    some = Trial(trial.edits, trial.held_out, half, trial.questions, trial.naming)
    keys = apart(trial.prompts)
    keys += 0.5 * torch.randn(keys.shape, generator=torch.Generator().manual_seed(1))
    distances = measured(some, whole(some, keys, gate=True))
    assert 0.4 < distances.share_free < 0.6
    radii = choose(some, distances, {"distractor": 0.1})
    asked = some.of("distractor", True)
    assert radii.free is not None
    assert radii.named is not None
    free = np.mean(distances.free[asked] <= radii.free)
    assert free <= 0.1 * distances.share_free
    assert np.mean((distances.free[asked] <= radii.free) | (distances.named[asked] <= radii.named)) <= 0.1


def test_no_farther_than_it_pays(trial: Trial) -> None:
    """Of two rephrases the farther one lies behind a crowd of distractors, which the wanted share would let through."""
    distances = measured(trial, whole(trial, apart(trial.prompts), gate=False))
    rephrases, others = trial.of("rephrase", True), trial.of("distractor", True)
    free = np.full_like(distances.free, 9.0)
    free[rephrases], free[rephrases[0]], free[others[: len(others) // 2]] = 1.0, 4.0, 3.0
    crowded = replace(distances, free=free)
    assert choose(trial, crowded, {"distractor": 0.9}).free == pytest.approx((1.0 + 3.0) / 2)
    free[others] = 9.0
    assert choose(trial, crowded, {"distractor": 0.9}).free == pytest.approx((4.0 + 9.0) / 2)
    free[others], free[rephrases] = 3.0, 4.0
    assert choose(trial, crowded, {"distractor": 1.0}) == Radii()


def test_the_curve_rises_from_the_nearest_questions_to_all_within_reach(trial: Trial) -> None:
    distances = measured(trial, whole(trial, apart(trial.prompts), gate=False))
    false, found = curve(trial, distances, choose(trial, distances, {"distractor": 0.0}))
    assert np.all(np.diff(false) >= 0)
    assert np.all(np.diff(found) >= 0)
    assert found[false == 0].max() == 1.0
    assert false[-1] == 1.0
    nothing = curve(trial, measured(trial, whole(trial, alike(trial.prompts), gate=False)), Radii())
    assert [len(series) for series in nothing] == [0, 0]
