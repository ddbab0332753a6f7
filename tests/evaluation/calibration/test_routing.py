"""Routing a trial's questions does what an edited model does, without any block."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.calibration.candidates import Candidate, keys_of
from pipeline.evaluation.calibration.keyed import whole
from pipeline.evaluation.calibration.routing import routed
from pipeline.evaluation.calibration.sweep import Radii, measured
from pipeline.evaluation.calibration.trial import Trial
from pipeline.settings import EditingSettings
from tests.editing.edited import new_model, teach, tiny
from tests.evaluation.calibration.conftest import apart


@pytest.mark.parametrize("gate", [False, True])
def test_routes_are_those_of_a_model_that_was_taught_the_same_edits(trial: Trial, gate: bool) -> None:
    backbone, settings = tiny("t5"), EditingSettings()
    layer = Candidate("encoder.block.1", "mean", None, gate)
    keys = keys_of(layer, backbone, settings, trial.prompts)
    reach = float(np.quantile(measured(trial, whole(trial, keys, gate=False)).free, 0.4))
    radii = Radii(reach, 1.5 * reach)
    found = routed(trial, whole(trial, keys, gate), radii, "keep")
    chosen = layer.settings(radii.free, radii.named)
    model = new_model("t5", edits_per_block=40, **chosen)
    try:
        teach(model, list(trial.edits))
        routes = model.route([question.prompt for question in trial.questions])
    finally:
        model.close()
    assert [route.edit_id for route in found.routes] == [route.edit_id for route in routes]
    assert found.led.tolist() == [route.block is not None for route in routes]
    assert 0 < found.led.sum() < len(found.led)


def test_right_is_what_has_the_label_that_is_asked_for(trial: Trial) -> None:
    keys = apart(trial.prompts)
    found = routed(trial, whole(trial, keys, False), Radii(1.5, None), "keep")
    rephrases = [place for place, question in enumerate(trial.questions) if question.kind == "rephrase"]
    assert found.right[rephrases].all()
    turned = keys.clone()
    turned[: len(trial.edits)] = keys[: len(trial.edits)].roll(1, 0)  # each lies where another one did
    astray = routed(trial, whole(trial, turned, False), Radii(1.5, None), "keep")
    assert astray.led[rephrases].all()
    assert not astray.right[rephrases].any()
