"""The right edits are found and told, nothing is told where none is near, and the latest prevails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertModel

from pipeline.bench.editors.encoding import OwnStates
from pipeline.bench.editors.protocol import Editor, Prior
from pipeline.bench.editors.rag import Rag, RagSettings
from pipeline.editing.edit import Edit
from pipeline.editing.forced import teacher_forced
from pipeline.editing.sentences import EncoderError, SentenceEncoder
from pipeline.evaluation.generation import backbone_answers
from tests.bench.editors.small import Build, taught
from tests.editing.tiny import tiny_encoder

EDITS = [
    Edit("What is the capital of France?", "Lyon"),
    Edit("Who wrote the first novel in the series?", "Ada"),
    Edit("When did the old museum move?", "1847"),
    Edit("My sister's favourite colour has always been", "green"),
]


def told(question: str, *facts: Edit) -> str:
    return "".join(f"New Fact: {fact.prompt} {fact.target}\n" for fact in facts) + f"Prompt: {question}"


def asked(editor: Editor, prompts: list[str]) -> list[str]:
    """What the model is asked for each prompt."""
    found = {row: text for part in editor.parts(prompts) for row, text in zip(part.rows, part.prompts, strict=True)}
    return [found[row] for row in range(len(prompts))]


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return tiny_encoder(tmp_path / "encoder")


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_an_edit_is_said_by_a_model_that_reads_its_context(backbone: Build, family: str) -> None:
    facts = [*EDITS, Edit(EDITS[1].prompt, "Ben"), Edit(EDITS[0].prompt, "Rome")]
    lessons = [Edit(edit.prompt, "none") for edit in EDITS]
    model = taught(backbone(family), lessons + [Edit(told(fact.prompt, fact), fact.target) for fact in facts])
    digest = model.digest
    editors = [Rag(model, Prior(), RagSettings(nearest=1, threshold=0.999)) for _ in range(2)]
    prompts = [edit.prompt for edit in EDITS]
    for editor in editors:
        editor.edit(EDITS[:2])
        editor.edit(EDITS[2:])
    answers = [editor.answer(prompts, 8) for editor in editors]
    assert answers[0] == answers[1]
    assert [model.decode_answer(tokens) for tokens in answers[0]] == [edit.target for edit in EDITS]
    editors[0].edit([Edit(prompts[1], "Ben")])  # the latest edit of the same prompt prevails
    assert model.decode_answer(editors[0].answer(prompts, 8)[1]) == "Ben"
    forced = editors[1].forced(prompts, [edit.target for edit in EDITS])
    assert forced.said == forced.wanted
    assert replace(model).digest == digest  # computed anew


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_where_nothing_is_near_the_backbone_answers(backbone: Build, encoder: Path, family: str) -> None:
    model = backbone(family)
    prompts = ["Who?", "What is the capital of the northern province?", "The treaty was signed"]
    editor = Rag(model, Prior(encoder=encoder), RagSettings(threshold=1.01))  # nearer than any two texts can be
    for edits in ([], EDITS):
        editor.edit(edits)
        assert [part.prompts for part in editor.parts(prompts)] == [prompts]
        assert editor.answer(prompts, 9) == backbone_answers(model, model.tokenize_prompts(prompts), 9)
        found, right = editor.forced(prompts, ["a", "b", "c"]), teacher_forced(model, prompts, ["a", "b", "c"])
        assert torch.equal(found.nll, right.nll) and found.said == right.said


def test_the_nearest_edits_are_told_and_the_nearest_stands_next_to_the_question(backbone: Build, minilm: Path) -> None:
    editor = Rag(backbone("t5"), Prior(encoder=minilm), RagSettings(threshold=-1.0))
    paris, country = Edit("What is the capital of France?", "Paris"), Edit("Which country is Lyon in?", "France")
    editor.edit([EDITS[2], country, EDITS[0], EDITS[3]])
    editor.edit([paris])
    question = "France has which capital?"
    third = editor.facts([question])[0][2]
    assert third not in (paris, country)
    assert asked(editor, [question]) == [told(question, third, country, paris)]
    usual = Rag(editor.backbone, editor.prior)
    usual.edit([EDITS[2], paris, EDITS[3]])
    assert asked(usual, [question, "How many eyes has a bee?"]) == [told(question, paris), "How many eyes has a bee?"]


def test_rephrases_of_real_questions_find_their_edit(
    backbone: Build, minilm: Path, shared_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    rows, others = shared_rows("zsre_edits", 60), [row["prompt"] for row in shared_rows("nq_known", 60)]
    editor = Rag(backbone("t5"), Prior(encoder=minilm))
    editor.edit([Edit(row["prompt"], row["target"]) for row in rows])
    found = editor.facts([row["rephrases"][0] for row in rows])
    right = sum(bool(facts) and facts[0].prompt == row["prompt"] for facts, row in zip(found, rows, strict=True))
    assert right >= 0.9 * len(rows)
    assert sum(map(bool, editor.facts(others))) <= 0.05 * len(others)


def test_what_does_not_fit_is_left_out_the_farthest_first(backbone: Build) -> None:
    model = backbone("gpt2")
    editor = Rag(model, Prior(), RagSettings(threshold=-1.0))
    edits = [Edit(f"What is {word}?", "long " * 9 + "end") for word in ("first", "second", "third")]
    editor.edit(edits)
    facts = editor.facts(["What is second?"])[0]
    assert len(facts) == 3 and facts[0] == edits[1]
    limit = model.max_prompt_tokens
    counts = [len(model.tokenizer(told("What is second?", *reversed(facts[:n])))["input_ids"]) for n in (1, 2, 3)]
    assert limit is not None and counts[0] <= limit < counts[2]
    kept = sum(count <= limit for count in counts)
    assert asked(editor, ["What is second?"]) == [told("What is second?", *reversed(facts[:kept]))]
    assert len(editor.answer(["What is second?"], limit - counts[0])[0]) <= limit - counts[0]


def test_vectors_are_means_over_real_tokens_alone(backbone: Build, encoder: Path) -> None:
    model = backbone("gpt2")
    texts = ["a", "What is the capital of the northern province?", "The treaty was signed in the spring of 1847."]
    for read in (OwnStates(model), SentenceEncoder(encoder, model.device)):
        together = read.embed(texts)
        assert torch.allclose(together, torch.cat([read.embed([text]) for text in texts]), atol=1e-5)
        assert torch.allclose(together.norm(dim=1), torch.ones(3), atol=1e-5)
    (ids,) = model.tokenize_prompts(texts[1:2])
    states = model.model.transformer(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0)
    assert torch.allclose(OwnStates(model).embed(texts)[1], states / states.norm(), atol=1e-5)


def test_a_text_beyond_the_encoders_positions_is_cut(backbone: Build, encoder: Path) -> None:
    read = SentenceEncoder(encoder, backbone("gpt2").device)
    long = "a b " * 200
    assert torch.equal(read.embed([long]), read.embed([long + "c"]))


def test_an_encoder_leaves_the_random_numbers_as_they_are(backbone: Build, encoder: Path) -> None:
    before = torch.random.get_rng_state()
    Rag(backbone("t5"), Prior(encoder=encoder))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_encoder_that_is_not_there_is_told(backbone: Build, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="No sentence encoder at"):
        Rag(backbone("t5"), Prior(encoder=tmp_path / "none"))


def test_its_size_counts_vectors_tokens_and_an_encoder(backbone: Build, encoder: Path) -> None:
    model = backbone("t5")
    texts = [text for edit in EDITS for text in (edit.prompt, edit.target)]
    tokens = sum(len(model.tokenizer.tokenize(text)) for text in texts)
    own, other = Rag(model, Prior()), Rag(model, Prior(encoder=encoder))
    for editor in (own, other):
        editor.edit(EDITS)
        editor.edit(EDITS[:1])
    parameters = BertModel.from_pretrained(encoder, add_pooling_layer=False).num_parameters()
    assert own.size() == 4 * model.model.config.d_model + tokens
    assert other.size() == 4 * 16 + tokens + parameters


def test_a_classifier_reads_no_context() -> None:
    assert "context" in (Rag.ruled_out("classification") or "")
