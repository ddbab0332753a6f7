"""Routing by what is asked of the subjects that a prompt names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from pipeline.editing.clauses import Clause
from pipeline.editing.edit import Edit, Route
from pipeline.editing.encoders import CONTEXT_WEIGHT, SentenceKeys
from pipeline.editing.folder import METRIC, CheckpointError
from pipeline.editing.metric import Metric
from pipeline.editing.model import EditedModel
from pipeline.editing.recipe import RecipeError
from pipeline.editing.routing import Sought, deepest
from tests.editing.edited import new_model, teach, tiny
from tests.editing.tiny import tiny_encoder

MOTHER, FATHER = "Who is the mother of Ada Byron?", "Who is the father of Ada Byron?"
OTHER = "Who is the mother of Bo Lee?"
EDITS = [
    Edit(MOTHER, "Anne", subject="Ada Byron", aliases=("Lady Lovelace",)),
    Edit(FATHER, "George", subject="Ada Byron"),
    Edit(OTHER, "Sue", subject="Bo Lee"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def metric_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("metric") / "metric.safetensors"
    directions = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    path.write_bytes(Metric(torch.zeros(16), directions).content)
    return path


def ids(routes: Sequence[Route]) -> list[str | None]:
    return [route.edit_id for route in routes]


def test_what_is_asked_of_one_subject_is_nothing_to_another_and_the_name_is_no_part_of_it(folder: str) -> None:
    model = new_model("gpt2", encoder=folder, subjects=True)
    try:
        teach(model, EDITS)
        mother, father, other = (edit.edit_id for edit in EDITS)
        prompts = [MOTHER, FATHER, OTHER, "Who is the mother of Ada Bryon?", "Who is the mother of Lady Lovelace?"]
        assert ids(model.route(prompts)) == [mother, father, other, mother, mother]
        assert [route.distance for route in model.route(prompts)] == [0.0] * 5
        assert model.route(["Who is the mother of Carl Gauss?", "What is it?"]) == [Route(), Route()]
        assert model.generate([MOTHER, FATHER]) == ["Anne", "George"]
        teach(model, [Edit(MOTHER, "Jane"), Edit("Is it so?", "no")])  # without a subject, yet of the same prompt
        assert model.records[mother].state == "replaced"
        assert model.generate([MOTHER, "Is it so?", OTHER]) == ["Jane", "no", "Sue"]
    finally:
        model.close()


def test_the_contexts_of_one_question_are_edits_of_their_own(folder: str) -> None:
    model = new_model("t5", encoder=folder, subjects=True)
    ask = "In {}. Who is the mayor of Oslo?"
    edits = [Edit(ask.format(year), name, subject="Oslo") for year, name in ((1990, "Ann"), (2000, "Per"))]
    try:
        teach(model, edits)
        assert ids(model.route([ask.format(1990), ask.format(2000)])) == [edit.edit_id for edit in edits]
    finally:
        model.close()


def test_a_not_turns_what_is_asked(folder: str) -> None:
    model = new_model("t5", encoder=folder, subjects=True, subject_radius=1.9)
    asked, turned = "Which city is in Norway?", "Which city is not in Norway?"
    try:
        teach(model, [Edit(asked, "Oslo", subject="Norway")])
        assert [route.block is None for route in model.route([asked, turned])] == [False, True]
    finally:
        model.close()


def test_sentences_are_read_once_and_what_names_nothing_not_at_all(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = new_model("t5", encoder=folder, subjects=True)
    read: list[str] = []
    try:
        teach(model, EDITS)
        assert isinstance(model.encoder, SentenceKeys)
        asked = model.encoder.asked

        def watched(clauses: Sequence[Clause]) -> torch.Tensor:
            read.extend(clause.asks for clause in clauses)
            return asked(clauses)

        monkeypatch.setattr(model.encoder, "asked", watched)
        monkeypatch.setattr(model.encoder, "of", None)
        for _ in range(2):
            routes = model.route([OTHER, "Hi! Who is the mother of Bo Lee?", "Who is it?", MOTHER])
            assert ids(routes) == [EDITS[2].edit_id, EDITS[2].edit_id, None, EDITS[0].edit_id]
        assert read == ["Who is the mother of ?"]
        assert routes[0].distance == pytest.approx(0.0, abs=1e-5)
        assert routes[1].distance == pytest.approx(CONTEXT_WEIGHT, abs=1e-5)
    finally:
        model.close()


def test_who_has_warmed_up_reads_the_wordings_of_live_edits_no_more(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = new_model("t5", encoder=folder, subjects=True)
    reworded, undone = "Whom did Ada Byron call mother?", "Where did Bo Lee live?"
    try:
        teach(taught, [Edit(MOTHER, "Anne", (reworded,), subject="Ada Byron"), Edit(undone, "Oslo", subject="Bo Lee")])
        taught.undo([Edit(undone, "Oslo").edit_id])
        taught.save(tmp_path / "version")
    finally:
        taught.close()
    model = EditedModel.load(tmp_path / "version", backbone=tiny("t5"), index="memory")
    try:
        assert isinstance(model.encoder, SentenceKeys)
        asked, read = model.encoder.asked, list[str]()

        def watched(clauses: Sequence[Clause]) -> torch.Tensor:
            read.extend(clause.asks for clause in clauses)
            return asked(clauses)

        monkeypatch.setattr(model.encoder, "asked", watched)
        expected = model.route([MOTHER, reworded])
        assert len(read) == 2
        model.encoder._remembered.clear()
        read.clear()
        assert list(model.warm_up()) == [None]
        assert sorted(read) == ["Who is the mother of ?", "Whom did call mother?"]
        assert model.route([MOTHER, reworded]) == expected
        assert len(read) == 2
        model.route(["Where did Ada Byron live?"])
        assert len(read) == 3
    finally:
        model.close()


def test_where_keys_are_of_whole_prompts_there_is_nothing_to_warm_up() -> None:
    model = new_model("t5")
    try:
        teach(model, EDITS)
        assert list(model.warm_up()) == []
    finally:
        model.close()


def test_the_cluster_that_a_prompt_lies_deepest_in_answers() -> None:
    sought = [Sought(0, [""]), Sought(0, ["a"]), Sought(2, ["b"]), Sought(2, ["c"])]
    near, deep = Route(1, 1, 0.2, 0.25, "near"), Route(2, 2, 0.5, 1.0, "deep")
    outside, none = Route(None, 3, 1.1, 1.0), Route()
    assert deepest(sought, [near, deep, none, outside], 3) == [deep, none, outside]
    assert deepest(sought, [outside, near, outside, deep], 3) == [near, none, deep]


def test_a_version_carries_its_metric(folder: str, metric_file: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(metric_file.read_bytes())
    model = new_model("gpt2", encoder=folder, subjects=True, metric=moved)
    try:
        teach(model, EDITS)
        expected = model.route([MOTHER, OTHER, "Whose mother is Ada Byron?"])
        digest = model.save(tmp_path / "version")
    finally:
        model.close()
    moved.unlink()
    loaded = EditedModel.load(tmp_path / "version", backbone=tiny("gpt2"), index="memory")
    try:
        assert loaded.route([MOTHER, OTHER, "Whose mother is Ada Byron?"]) == expected
        assert loaded.save(tmp_path / "again") == digest
    finally:
        loaded.close()
    content = bytearray((tmp_path / "version" / METRIC).read_bytes())
    content[-1] ^= 1
    (tmp_path / "version" / METRIC).write_bytes(content)
    with pytest.raises(CheckpointError, match="was changed"):
        EditedModel.load(tmp_path / "version", backbone=tiny("gpt2"), index="memory")


def test_an_encoders_metric_is_of_clauses(metric_file: Path) -> None:
    with pytest.raises(RecipeError, match="expected both"):
        new_model("gpt2", metric=metric_file, encoder="x")
