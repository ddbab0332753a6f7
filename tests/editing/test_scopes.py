"""An edit with a subject applies to prompts that name it, and to no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.editing.edit import Edit
from pipeline.editing.index import Place
from pipeline.editing.loading import from_objects
from pipeline.editing.model import EditedModel
from pipeline.settings import EditingSettings
from tests.editing.tiny import tiny_backbone

ADA = Edit("When did Ada Brown move?", "1847", subject="Ada Brown")
BOB = Edit("When did Bob Green move?", "1901", subject="Bob Green")
BORN = Edit("Where was Ada Brown born?", "Paris", rephrases=("In which city was Ada Brown born?",))
OPEN = Edit("My favourite colour has always been", "green")


def edited(edits: list[Edit], index: Place = "memory", **settings: Any) -> EditedModel:
    backbone = from_objects(*tiny_backbone("gpt2"), "causal", "tiny-gpt2")
    made = EditingSettings(iterations=80, **({"subjects": True} | settings))
    model = EditedModel.from_backbone(backbone, settings=made, index=index)
    assert all(outcome.learned for outcome in model.edit(edits))
    return model


def led(model: EditedModel, *prompts: str) -> list[str | None]:
    names = {edit.edit_id: edit.target for edit in (ADA, BOB, BORN, OPEN)}
    return [names[route.edit_id] if route.edit_id else None for route in model.route(prompts)]


@pytest.mark.parametrize("home", ["memory", "edge"])
def test_a_prompt_is_led_to_edits_about_what_it_names(home: str, tmp_path: Path) -> None:
    index: Place = "memory" if home == "memory" else tmp_path
    model = edited([ADA, BOB, BORN, OPEN], index, subject_radius=1e6)
    assert led(model, ADA.prompt, BOB.prompt, BORN.prompt, OPEN.prompt) == ["1847", "1901", "Paris", "green"]
    said = ["tell me: bob greene", "BOB GREEN, when did he move", "When did Carl White move?"]
    assert led(model, *said) == ["1901", "1901", None]
    assert model.generate([BOB.prompt, ADA.prompt]) == ["1901", "1847"]
    nobody = ["When did Carl White move?", "When did they move?"]
    assert model.generate(nobody) == edited([]).generate(nobody)
    model.close()


def test_what_is_undone_is_named_no_more_and_a_loaded_model_names_the_same(tmp_path: Path) -> None:
    model = edited([ADA, BOB, OPEN], subject_radius=1e6)
    model.undo([BOB.edit_id])
    assert led(model, "where is Bob Green now?", "where is Ada Brown now?") == [None, "1847"]
    digest = model.save(tmp_path / "version")
    backbone = from_objects(*tiny_backbone("gpt2"), "causal", "tiny-gpt2")
    loaded = EditedModel.load(tmp_path / "version", backbone=backbone, index="memory")
    assert led(loaded, "where is Bob Green now?", "where is Ada Brown now?") == [None, "1847"]
    assert loaded.save(tmp_path / "again") == digest


def test_a_prompt_that_names_an_alias_is_led_to_the_subject_while_an_edit_has_it(tmp_path: Path) -> None:
    known = Edit(BOB.prompt, BOB.target, subject="Robert Green", aliases=("Bob Green", "Bobby"))
    model = edited([ADA, known], subject_radius=1e6)
    asked = ["where is Bobby now?", "where is Robert Green now?", known.prompt]
    assert led(model, *asked) == ["1901"] * 3
    model.save(tmp_path / "version")
    backbone = from_objects(*tiny_backbone("gpt2"), "causal", "tiny-gpt2")
    loaded = EditedModel.load(tmp_path / "version", backbone=backbone, index="memory")
    assert led(loaded, *asked) == ["1901"] * 3
    left = Edit("In which year has Robert Green left?", "1901", subject="Robert Green")
    model.edit([left])
    asked = ["In which year has Bobby left?", "In which year has Rob Green left?", left.prompt]
    assert [route.edit_id for route in model.route(asked)] == [left.edit_id, None, left.edit_id]
    model.undo([known.edit_id])
    assert [route.edit_id for route in model.route(asked)] == [None, None, left.edit_id]


def test_a_longer_subject_takes_queries_but_no_edits_own_prompt() -> None:
    short = Edit("When did Ada Brown Smith move?", "1847", subject="Ada Brown")
    model = edited([short], subject_radius=1e6)
    asked = ["where is Ada Brown Smith now?", "where is Ada Brown now?", short.prompt]
    assert [route.edit_id for route in model.route(asked)] == [short.edit_id] * 3
    longer = Edit("Where was Ada Brown Smith born?", "Paris", subject="Ada Brown Smith")
    model.edit([longer])
    assert [route.edit_id for route in model.route(asked)] == [longer.edit_id, short.edit_id, short.edit_id]


def test_without_the_setting_subjects_are_passed_over() -> None:
    model = edited([ADA, BOB], subjects=False)
    assert model.clusters.subjects == {}
    assert led(model, ADA.prompt, BOB.prompt) == ["1847", "1901"]


def test_token_ids_are_read_as_texts() -> None:
    model = edited([ADA, BOB], subject_radius=1e6)
    backbone = model.backbone
    ids, mask = backbone.pad(backbone.tokenize_prompts([ADA.prompt, "When did Carl White move?"]), side="left")
    sequences = model.generate(ids, mask, max_new_tokens=8)
    answers = [backbone.decode_answer(row) for row in sequences[:, ids.shape[1] :].tolist()]
    assert answers[0] == "1847"
    assert answers[1] == backbone.decode_answer(
        edited([]).generate(ids, mask, max_new_tokens=8)[1, ids.shape[1] :].tolist()
    )
