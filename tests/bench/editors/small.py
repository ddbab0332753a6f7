"""What the tests of several editors begin with: a few edits of any task, and what an editor says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from pipeline.bench.editors.protocol import Editor
from pipeline.bench.schedule import teacher_forcing
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit

Build = Callable[[str], Backbone]
"""The fixture ``backbone``: family -> a new random backbone."""

EDITS = [
    Edit("Who wrote the first novel?", "Ada"),
    Edit("What is the capital?", "green spring"),
    Edit("When did the museum move to its new building?", "1847"),
]


def edits_for(backbone: Backbone) -> list[Edit]:
    """``EDITS``, for a classifier with its classes as targets."""
    if backbone.task != "classification":
        return EDITS
    return [replace(edit, target=backbone.labels[i]) for i, edit in enumerate(EDITS)]


def answers(editor: Editor, edits: Sequence[Edit]) -> list[str]:
    """What an editor says to the edits' prompts, freely."""
    return said(editor, [edit.prompt for edit in edits])


def said(editor: Editor, prompts: Sequence[str]) -> list[str]:
    """What an editor says to prompts, freely."""
    return [editor.backbone.decode_answer(tokens) for tokens in editor.answer(prompts, 12)]


def taught(backbone: Backbone, lessons: list[Edit]) -> Backbone:
    """The tiny model, trained until it says these targets: a random one follows no context."""
    batch = teacher_forcing(backbone, lessons)
    adam = torch.optim.Adam(backbone.model.requires_grad_(True).parameters(), lr=1e-2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(200):
            adam.zero_grad()
            loss = backbone.model(**batch, use_cache=False).loss
            loss.backward()
            adam.step()
            if loss.item() < 0.01:
                break
    backbone.model.requires_grad_(False)
    return backbone


def without_dropout(backbone: Backbone) -> Backbone:
    """The model with nothing left to chance: of sixteen numbers a token dropout leaves too few to learn from."""
    for module in backbone.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    config = backbone.model.config
    for name, value in config.to_dict().items():
        if ("dropout" in name or name.endswith("_pdrop")) and isinstance(value, float):
            setattr(config, name, 0.0)
    return backbone
