"""Files and folders that are given, those that are not, and those that are of no use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.bench.material import Material, MaterialError, gather
from pipeline.bench.public import PublicError

OnDisk = Callable[[str, int], tuple[Path, Path, Path]]


def take(backbone: Path | None, edits: Path | None, locality: Path | None = None, seed: int = 0) -> Material:
    return gather(backbone, edits, locality, count=10, locality_count=5, seed=seed)


def test_edits_are_drawn_by_seed_with_all_that_comes_with_them(on_disk: OnDisk) -> None:
    model, edits, locality = on_disk("t5", 30)
    first, again, other = (take(model, edits, locality, seed) for seed in (0, 0, 1))
    assert first.edits == again.edits != other.edits
    assert len({edit.prompt for edit in first.edits}) == 10
    assert all(len(edit.rephrases) == len(edit.locality) == 1 for edit in first.edits)
    assert len(first.locality) == 5
    assert first.sources == (str(model), str(edits), str(locality))


def test_text_and_label_are_read_for_a_classifier(on_disk: OnDisk) -> None:
    model, edits, _ = on_disk("bert", 3)
    found = take(model, edits)
    assert {edit.target for edit in found.edits} == {"weather", "sport", "politics"}
    assert found.locality == ()


def test_what_the_backbone_cannot_take_is_passed_over_and_counted(on_disk: OnDisk) -> None:
    model, edits, _ = on_disk("bert", 2)
    rows = [{"text": "long " * 500, "label": "sport"}, {"text": "short", "label": "astrology"}]
    rows += [{"text": " what IS number 0 of the river?", "label": "food"}]  # the prompt of the first edit
    with edits.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    found = take(model, edits)
    assert (len(found.edits), found.refused) == (2, 2)


def test_locality_prompts_are_those_of_no_edit_that_can_be_read(on_disk: OnDisk) -> None:
    model, edits, locality = on_disk("gpt2", 2)
    rows = ["what is number 1 of the winter?", "long " * 500, "Another one."]
    locality.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in rows), encoding="utf-8")
    assert take(model, edits, locality).locality == ("Another one.",)


def test_without_anything_it_says_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELO_SHARED", str(tmp_path))
    with pytest.raises(MaterialError, match=r"--backbone DIR and a FILE of edits.*MELO_SHARED"):
        take(None, None)


def test_a_backbone_alone_is_not_enough(on_disk: OnDisk) -> None:
    with pytest.raises(MaterialError, match="give a FILE"):
        take(on_disk("t5", 1)[0], None)


@pytest.mark.parametrize(
    "line", ["{", "[1]", '{"target": "x"}', '{"prompt": "x"}', '{"prompt": "x", "target": "y", "locality": [{}]}']
)
def test_a_line_that_cannot_be_read_is_named(on_disk: OnDisk, line: str) -> None:
    model, edits, _ = on_disk("t5", 1)
    with edits.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(PublicError, match=r"line 2"):
        take(model, edits)


def test_a_file_without_a_usable_edit_is_refused_with_the_reason(on_disk: OnDisk) -> None:
    model, edits, _ = on_disk("bert", 1)
    edits.write_text('{"text": "x", "label": "astrology"}\n', encoding="utf-8")
    with pytest.raises(MaterialError, match="astrology"):
        take(model, edits)
    edits.write_text("\n", encoding="utf-8")
    with pytest.raises(PublicError, match="no rows"):
        take(model, edits)
