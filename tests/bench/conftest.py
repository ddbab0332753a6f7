"""Tiny backbones on disk, and edits for them, as a user would have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipeline.editing.backbone import Backbone
    from tests.editing.tiny import Family

WORDS = ("river", "winter", "bridge", "museum", "treaty", "orchard", "harbour", "lantern")


@pytest.fixture
def backbone() -> Callable[[Family], Backbone]:
    """Family -> a new random backbone."""

    def build(family: Family) -> Backbone:
        from pipeline.editing.loading import from_objects
        from tests.editing.tiny import task_of, tiny_backbone

        model, tokenizer = tiny_backbone(family)
        return from_objects(model, tokenizer, task_of(family), f"tiny {family}")

    return build


@pytest.fixture
def on_disk(tmp_path: Path) -> Callable[[Family, int], tuple[Path, Path, Path]]:
    """Family and number of edits -> folder of a backbone, file of edits, file of locality prompts."""

    def write(family: Family, count: int) -> tuple[Path, Path, Path]:
        from tests.editing.tiny import LABELS, task_of, tiny_backbone

        model, tokenizer = tiny_backbone(family)
        model.save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        rows: list[dict[str, object]] = []
        for i in range(count):
            question = f"What is number {i} of the {WORDS[i % len(WORDS)]}?"
            if task_of(family) == "classification":
                rows.append({"text": question, "label": LABELS[i % len(LABELS)]})
            else:
                near = [{"prompt": f"Who saw the {WORDS[i % len(WORDS)]} in {1800 + i}?", "target": "nobody"}]
                rows.append({"prompt": question, "target": f"{i * i}", "rephrases": [f"Number {i}?"], "locality": near})
        edits, locality = tmp_path / "edits.jsonl", tmp_path / "locality.jsonl"
        edits.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        locality.write_text(
            "".join(json.dumps({"prompt": f"When was the {word} built?"}) + "\n" for word in WORDS), encoding="utf-8"
        )
        return tmp_path / "model", edits, locality

    return write
