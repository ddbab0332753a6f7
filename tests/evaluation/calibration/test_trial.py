"""The trial: half of the edits inside, questions of known kinds about them, and each edit's in one half."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.editing.edit import Edit, normalise
from pipeline.evaluation.calibration.trial import EDITED, UNEDITED, CalibrationError, Trial, make_trial
from tests.editing.edited import tiny
from tests.evaluation.calibration.conftest import COUNTRIES, EDITS
from tests.evaluation.tables import reports


def test_edits_are_parted_and_all_questions_of_one_fall_into_the_same_half(trial: Trial) -> None:
    assert len(trial.edits) + trial.held_out == len(EDITS)
    assert min(len(trial.edits), trial.held_out) > len(EDITS) // 4
    halves: dict[int, set[bool]] = {}
    for question in trial.questions:
        if question.edit is not None:
            halves.setdefault(question.edit, set()).add(question.choosing)
    assert all(len(half) == 1 for half in halves.values())
    assert {half for own in halves.values() for half in own} == {True, False}
    assert {question.edit for question in trial.questions if question.kind == "rephrase"} == set(
        range(len(trial.edits))
    )


def test_distractors_are_told_apart_by_whether_an_edit_inside_is_about_their_subject(trial: Trial) -> None:
    inside = set(trial.subjects)
    assert inside < set(COUNTRIES)
    for kind, about in ((EDITED, inside), (UNEDITED, set(COUNTRIES) - inside)):
        asked = [question for question in trial.questions if question.kind == kind]
        assert asked
        for question in asked:
            assert question.edit is not None
            named = {country for country in COUNTRIES if country in question.prompt}
            assert named <= about
            assert named != {trial.subjects[question.edit]}
    both = len(trial.of("distractor", True)) + len(trial.of("distractor", False))
    assert both == sum(question.kind in (EDITED, UNEDITED) for question in trial.questions)


def test_nothing_that_is_to_be_left_alone_is_taught_by_any_edit_and_nothing_is_asked_twice(trial: Trial) -> None:
    taught = {normalise(text) for edit in EDITS for text in (edit.prompt, *edit.rephrases)}
    asked = [(question.kind, normalise(question.prompt)) for question in trial.questions]
    assert not {prompt for kind, prompt in asked if kind not in ("rephrase", "typo", "wrapped")} & taught
    assert len(asked) == len(set(asked))
    assert [question.prompt for question in trial.questions if question.kind == "traffic"] == ["How do I boil an egg?"]
    assert sum(question.kind == "locality" for question in trial.questions) == 1


def test_what_a_question_names_is_what_the_gate_finds_in_it(trial: Trial) -> None:
    for question, named in zip(trial.questions, trial.naming, strict=True):
        if question.kind in ("rephrase", "wrapped", "relation"):
            assert question.edit is not None
            assert named == [trial.subjects[question.edit]]
        if question.kind in (UNEDITED, "unrelated", "traffic"):
            assert not named


def test_the_order_of_reports_makes_no_difference(trial: Trial, table: pa.Table) -> None:
    turned = make_trial(tiny("t5"), table.take(list(reversed(range(len(EDITS))))), [], 0.05)
    traffic = [question for question in trial.questions if question.kind == "traffic"]
    assert {q.prompt for q in turned.questions} == {q.prompt for q in trial.questions} - {q.prompt for q in traffic}


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        (EDITS[:39], "39 edits came"),
        ([Edit(edit.prompt, edit.target) for edit in EDITS], "48 have no rephrase"),
        ([Edit(f"why {'so ' * n}late", "so", (f"how {'so ' * n}late",)) for n in range(48)], "of 48 others no subject"),
    ],
)
def test_too_little_is_refused_and_what_is_needed_is_told(edits: list[Edit], said: str) -> None:
    with pytest.raises(CalibrationError, match=said) as error:
        make_trial(tiny("t5"), reports(edits), [], 0.05)
    assert "at least 40" in str(error.value)


def test_edits_that_ask_all_subjects_the_same_leave_no_distractor_and_that_is_told() -> None:
    one_form = [Edit(f"What is the capital of {name}?", "so", (f"Name the capital of {name}.",)) for name in COUNTRIES]
    with pytest.raises(CalibrationError, match="no distractor"):
        make_trial(tiny("t5"), reports(one_form), [], 0.05)
