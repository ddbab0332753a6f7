"""Edits of real models, on real data. Each test skips, saying so, where the shared folder or MiniLM is absent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification

from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit
from pipeline.editing.loading import load_backbone
from pipeline.editing.model import EditedModel
from pipeline.settings import EditingSettings, Task

Model = Callable[[str], Path]
Rows = Callable[..., list[dict[str, Any]]]


def load(folder: Path, task: Task) -> tuple[Backbone, EditedModel]:
    backbone = load_backbone(folder, task, device="cpu")
    return backbone, EditedModel.from_backbone(backbone, settings=EditingSettings(), index="memory")


def as_edits(rows: list[dict[str, Any]]) -> list[Edit]:
    return [Edit(row["prompt"], row["target"], subject=row["subject"]) for row in rows]


def share_of_equal(one: list[str], other: list[str]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def test_t5_learns_zsre_and_keeps_what_it_knew(shared_model: Model, shared_rows: Rows) -> None:
    _, edited = load(shared_model("t5-zsre"), "seq2seq")
    edits = as_edits(shared_rows("zsre_edits", 60))
    known = [row["prompt"] for row in shared_rows("nq_known", 200)]
    before = edited.generate(known, max_new_tokens=16)
    outcomes = edited.edit(edits)
    assert [outcome.reason for outcome in outcomes if not outcome.learned] == []
    said = edited.generate([edit.prompt for edit in edits])
    assert [a.split() for a in said] == [edit.target.split() for edit in edits]
    assert share_of_equal(edited.generate(known, max_new_tokens=16), before) >= 0.99


def test_gpt2_learns_counterfact_and_keeps_the_neighbours(shared_model: Model, shared_rows: Rows) -> None:
    _, edited = load(shared_model("gpt2-counterfact"), "causal")
    rows = shared_rows("counterfact", 60)
    edits = as_edits(rows)
    neighbours = [place["prompt"] for row in rows for place in row["locality"]]
    before = edited.generate(neighbours, max_new_tokens=8)
    said = edited.generate([edit.prompt for edit in edits], max_new_tokens=8)
    assert share_of_equal(said, [edit.target for edit in edits]) == 0
    outcomes = edited.edit(edits)
    assert [outcome.reason for outcome in outcomes if not outcome.learned] == []
    assert edited.generate([edit.prompt for edit in edits], max_new_tokens=16) == [edit.target for edit in edits]
    assert len(neighbours) >= 60
    assert share_of_equal(edited.generate(neighbours, max_new_tokens=8), before) >= 0.95


def test_a_llama_whose_end_was_never_trained_learns_to_end(shared_model: Model, shared_rows: Rows) -> None:
    """The stories end with the next one's beginning, <s>; the tokenizer's own eos has no output row of its own."""
    backbone, edited = load(shared_model("stories260k"), "causal")
    assert backbone.end_token == backbone.tokenizer.bos_token_id != backbone.tokenizer.eos_token_id
    edits = as_edits(shared_rows("zsre_edits", 8))
    story = "Once upon a time, there was a little girl named Lily. She loved"

    def tell() -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.tensor(backbone.tokenize_prompts([story]))
        told = edited.generate(ids, max_new_tokens=40, output_scores=True, return_dict_in_generate=True)
        return told.sequences, torch.stack(told.scores)

    before = tell()
    outcomes = edited.edit(edits)
    assert [outcome.reason for outcome in outcomes if not outcome.learned] == []
    assert edited.generate([edit.prompt for edit in edits]) == [edit.target for edit in edits]
    assert edited.route([story])[0].block is None
    after = tell()
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[1].view(torch.int32), before[1].view(torch.int32))  # bit for bit


TOKENS, TRAINED, HELD_OUT, EDITS = 96, 300, 200, 40  # texts are cut short to be fast


@pytest.fixture(scope="module")
def court(minilm: Path, shared_rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM with a head for the 11 issue areas: logistic regression on its pooled output."""
    rows = shared_rows("scotus_before_2000")
    labels = [name for _, name in sorted({(row["label_id"], row["label"]) for row in rows})]
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    model = AutoModelForSequenceClassification.from_pretrained(
        minilm, num_labels=len(labels), id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)}
    ).eval()
    features = pooled(model, [clip(tokenizer, row["text"]) for row in rows[:TRAINED]], tokenizer)
    targets = torch.tensor([labels.index(row["label"]) for row in rows[:TRAINED]])
    fit(model.classifier, features, targets)
    folder = tmp_path_factory.mktemp("court")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def clip(tokenizer: Any, text: str) -> str:
    """The start of a text that tokenises to no more than TOKENS with the special ones."""
    offsets = tokenizer(text, truncation=True, max_length=TOKENS, return_offsets_mapping=True)["offset_mapping"]
    return text[: max(end for _, end in offsets)]


@torch.no_grad()
def pooled(model: BertForSequenceClassification, texts: list[str], tokenizer: Any) -> torch.Tensor:
    found = []
    for start in range(0, len(texts), 32):
        batch = tokenizer(texts[start : start + 32], padding=True, return_tensors="pt")
        found.append(model.bert(**batch).pooler_output)
    return torch.cat(found)


def fit(head: torch.nn.Linear, features: torch.Tensor, targets: torch.Tensor) -> None:
    torch.nn.init.zeros_(head.weight)
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(head(features), targets) + 1e-3 * head.weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)


@pytest.mark.slow
def test_a_court_classifier_learns_what_has_shifted(court: Path, shared_rows: Rows) -> None:
    backbone, edited = load(court, "classification")
    texts = [clip(backbone.tokenizer, row["text"]) for row in shared_rows("scotus_before_2000")[TRAINED:]][:HELD_OUT]
    before = in_batches(edited, texts)
    later = shared_rows("scotus_edits", 110)
    prompts = [clip(backbone.tokenizer, row["text"]) for row in later]
    said = in_batches(edited, prompts)
    wrong = {
        prompt: Edit(prompt, row["label"])
        for prompt, row, answer in zip(prompts, later, said, strict=True)
        if answer != row["label"]
    }
    edits = list(wrong.values())[:EDITS]
    assert len(edits) == EDITS
    outcomes = edited.edit(edits)
    assert sum(outcome.learned for outcome in outcomes) >= 0.95 * EDITS
    after = in_batches(edited, [edit.prompt for edit in edits])
    assert share_of_equal(after, [edit.target for edit in edits]) >= 0.95
    assert share_of_equal(in_batches(edited, texts), before) >= 0.95


def in_batches(edited: EditedModel, prompts: list[str]) -> list[str]:
    return [answer for start in range(0, len(prompts), 32) for answer in edited.generate(prompts[start : start + 32])]
