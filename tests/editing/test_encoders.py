"""Keys by a sentence encoder: the same model otherwise, tied to the encoder that it was made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.editing.backbone import Backbone
from pipeline.editing.clauses import Clause
from pipeline.editing.edit import Edit
from pipeline.editing.encoders import CONTEXT_WEIGHT, SentenceKeys
from pipeline.editing.folder import CheckpointError
from pipeline.editing.loading import from_objects
from pipeline.editing.model import EditedModel
from pipeline.editing.sentences import MINILM, EncoderError, SentenceEncoder, depth
from pipeline.settings import EditingSettings
from schemas.manifest import EncoderEntry
from tests.editing.tiny import LABELS, Family, task_of, tiny_backbone, tiny_encoder

PROMPTS = ["Who wrote the first novel?", "When did the museum move?", "My favourite colour has always been"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


def tiny(family: Family) -> Backbone:
    return from_objects(*tiny_backbone(family), task_of(family), f"tiny-{family}")


def edited(family: Family, **settings: Any) -> EditedModel:
    return EditedModel.from_backbone(tiny(family), settings=EditingSettings(iterations=80, **settings), index="memory")


def edits_of(family: Family) -> list[Edit]:
    targets = LABELS[:3] if task_of(family) == "classification" else ("Ada", "1847", "green")
    return [Edit(prompt, target) for prompt, target in zip(PROMPTS, targets, strict=True)]


def test_keys_are_the_encoders(folder: Path) -> None:
    keys, expected = SentenceKeys(str(folder), CPU), SentenceEncoder(folder, CPU).embed(PROMPTS)
    assert torch.equal(keys.of(PROMPTS), expected)
    assert not keys.apart
    assert len(keys.of([])) == 0


def test_a_clause_has_a_key_of_what_it_asks_and_a_little_of_its_context(folder: Path) -> None:
    keys = SentenceKeys(str(folder), CPU, apart=True)
    alone, other, before, after = keys.of_clauses(
        [
            Clause("Who wrote it?", ""),
            Clause("Who wrote it?", "In 1990."),
            Clause("Who wrote it?", "In 2000."),
            Clause("When did it end?", "In 2000."),
        ]
    )
    assert alone.shape == keys.of(PROMPTS)[0].shape
    assert torch.dist(alone, other).item() == pytest.approx(CONTEXT_WEIGHT)
    assert 0.01 < torch.dist(other, before) < 2 * CONTEXT_WEIGHT < torch.dist(before, after)


@pytest.mark.parametrize("family", ["bert", "t5", "gpt2"])
def test_a_model_is_edited_and_answers_by_its_encoders_keys(family: Family, folder: Path) -> None:
    model, edits = edited(family, encoder=str(folder)), edits_of(family)
    assert all(outcome.learned for outcome in model.edit(edits))
    assert model.clusters.width == 16
    assert model.generate(PROMPTS) == [edit.target for edit in edits]
    assert [route.edit_id for route in model.route(PROMPTS)] == [edit.edit_id for edit in edits]
    forced = model.forced(PROMPTS, [edit.target for edit in edits])
    assert forced.said == forced.wanted
    if family == "bert":
        return
    ids, mask = model.backbone.pad(model.backbone.tokenize_prompts(PROMPTS), side=model.backbone.padding_side)
    sequences = model.generate(ids, mask, max_new_tokens=8)  # the prompts are read out of the tokens
    first = ids.shape[1] if family == "gpt2" else 0
    answers = [model.backbone.decode_answer(row) for row in sequences[:, first:].tolist()]
    assert answers == [edit.target for edit in edits]


def test_a_version_is_tied_to_its_encoder_wherever_that_lies(folder: Path, tmp_path: Path) -> None:
    lying = tiny_encoder(tmp_path / "encoder")
    model, edits = edited("gpt2", encoder=str(lying)), edits_of("gpt2")
    model.edit(edits)
    digest = model.save(tmp_path / "version")
    loaded = EditedModel.load(tmp_path / "version", backbone=tiny("gpt2"), index="memory")
    assert loaded.generate(PROMPTS) == [edit.target for edit in edits]
    assert loaded.save(tmp_path / "again") == digest
    elsewhere = edited("gpt2", encoder=str(tiny_encoder(tmp_path / "elsewhere")))
    elsewhere.edit(edits)
    assert elsewhere.save(tmp_path / "same") == digest
    tiny_encoder(lying, seed=1)  # another one in its place
    with pytest.raises(CheckpointError, match="bring the encoder that it was made with"):
        EditedModel.load(tmp_path / "version", backbone=tiny("gpt2"), index="memory")


def test_encoders_are_told_apart_by_weights_and_tokenizer(folder: Path, tmp_path: Path) -> None:
    digest = SentenceEncoder(folder, CPU).digest
    assert SentenceEncoder(tiny_encoder(tmp_path / "same"), CPU).digest == digest
    assert SentenceEncoder(tiny_encoder(tmp_path / "other", seed=1), CPU).digest != digest
    _, tokenizer = tiny_backbone("bert")
    tokenizer.add_tokens(["zebra"])
    tokenizer.save_pretrained(tiny_encoder(tmp_path / "tokenizer"))
    assert SentenceEncoder(tmp_path / "tokenizer", CPU).digest != digest


def test_minilm_goes_by_its_name(minilm: Path) -> None:
    named, lying = SentenceEncoder(MINILM, CPU), SentenceEncoder(minilm, CPU)
    assert named.reference == MINILM
    assert named.digest == lying.digest
    hamlet, author, war = named.embed(["Who wrote Hamlet?", "Who is the author of Hamlet?", "When did the war end?"])
    assert hamlet @ author > 0.8 > 0.3 > hamlet @ war


def test_an_encoder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="No sentence encoder at"):
        edited("gpt2", encoder=str(tmp_path))


def test_of_an_encoder_the_lowest_layers_may_do(folder: Path, tmp_path: Path) -> None:
    whole, cut = SentenceEncoder(folder, CPU), SentenceEncoder(folder, CPU, layers=1)
    assert SentenceEncoder(folder, CPU, layers=2).digest == whole.digest != cut.digest
    assert depth(str(folder)) == 2
    assert cut.parameters < whole.parameters
    batch = whole._tokenizer(PROMPTS[:1], return_tensors="pt")
    states = whole._model(**batch, output_hidden_states=True).hidden_states[1]
    assert torch.allclose(cut.embed(PROMPTS[:1]), torch.nn.functional.normalize(states.mean(1), dim=1), atol=1e-6)
    with pytest.raises(EncoderError, match=r"asks for 3 layers of .* which has 2"):
        SentenceEncoder(folder, CPU, layers=3)
    with pytest.raises(EncoderError, match="No sentence encoder"):
        depth(str(tmp_path))


def test_a_version_knows_how_much_of_its_encoder_is_run(folder: Path, tmp_path: Path) -> None:
    model = edited("gpt2", encoder=str(folder), encoder_layers=1)
    try:
        model.edit(edits_of("gpt2"))
        said, digest = model.generate(PROMPTS, max_new_tokens=4), model.save(tmp_path / "version")
    finally:
        model.close()
    loaded = EditedModel.load(tmp_path / "version", backbone=tiny("gpt2"), index="memory")
    try:
        cut = SentenceEncoder(folder, CPU, layers=1)
        cut.embed(PROMPTS)
        assert loaded.encoder.entry == EncoderEntry(reference=str(folder), digest=cut.digest)
        assert loaded.generate(PROMPTS, max_new_tokens=4) == said
        assert loaded.save(tmp_path / "again") == digest
    finally:
        loaded.close()
