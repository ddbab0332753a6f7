"""Edits of several files as one stream: every part a like blend, and backlogs that a night reads in its order."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.bench.blend import GENERATED, backlogs, blend, in_proportion
from pipeline.bench.material import MaterialError
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit
from pipeline.sources import admit, read
from tests.editing.tiny import Family

MakeBackbone = Callable[[Family], Backbone]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two of 20 and of 10 edits, of which the second repeats a prompt of the first."""
    found = []
    for name, count in (("many", 20), ("few", 10)):
        rows = [{"prompt": f"What is {name} {i}?", "target": "green", "subject": f"{name} {i}"} for i in range(count)]
        rows += [{"prompt": "What is MANY 0?", "target": "Paris"}] if name == "few" else []
        found.append(tmp_path / f"{name}.jsonl")
        found[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return found


def test_every_beginning_holds_each_place_in_proportion() -> None:
    places = {name: [Edit(f"{name} {i}", "x") for i in range(count)] for name, count in (("a", 60), ("b", 30))}
    stream = in_proportion(places | {"c": [Edit("c", "x")]})
    assert [edit for name, edit in stream if name == "a"] == places["a"]
    for end in range(1, len(stream) + 1):
        names = Counter(name for name, _ in stream[:end])
        assert names["a"] == pytest.approx(end * 60 / 91, abs=1)
        assert names["b"] == pytest.approx(end * 30 / 91, abs=1)


def test_files_are_blended_by_seed_and_a_prompt_comes_once(backbone: MakeBackbone, files: list[Path]) -> None:
    model = backbone("t5")
    first, again, other = (blend(model, files, 12, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert Counter(name for name, _ in first.edits) == {"many": 8, "few": 4}
    whole = blend(model, files, 30, seed=0)
    assert Counter(name for name, _ in whole.edits) == {"many": 20, "few": 10}
    assert whole.refused == 0
    assert blend(model, [files[0], files[0]], 20, seed=0).edits[0][0] == "many"


def test_what_the_files_lack_is_made_up(backbone: MakeBackbone, files: list[Path]) -> None:
    found = blend(backbone("t5"), files, 200, seed=0)
    names = Counter(name for name, _ in found.edits)
    assert (names["many"], names["few"]) == (20, 10)
    assert names[GENERATED] + found.refused == 170  # the tiny tokenizer has no pieces for some answers
    assert names[GENERATED] > 0


def test_what_cannot_be_blended_is_refused(backbone: MakeBackbone, files: list[Path], tmp_path: Path) -> None:
    labelled = tmp_path / "labelled.jsonl"
    labelled.write_text(json.dumps({"text": "It rained.", "label": "weather"}))
    with pytest.raises(MaterialError, match=r"1 edits in .*labelled.jsonl, 10 wanted: none can be made up"):
        blend(backbone("bert"), [labelled], 10, seed=0)
    with pytest.raises(MaterialError, match=r"no edits in .*gone.jsonl: give --reports"):
        blend(backbone("t5"), [*files, tmp_path / "gone.jsonl"], 10, seed=0)


def test_a_night_reads_its_backlog_in_the_order_of_the_stream(
    backbone: MakeBackbone, files: list[Path], tmp_path: Path
) -> None:
    stream = blend(backbone("t5"), files, 12, seed=0)
    nights = backlogs(stream, [5, 12], tmp_path / "backlog")
    read_back = [admit((batch.reports for batch in read(str(night))), {}).edits for night in nights]
    prompts = [table["prompt"].to_pylist() for table in read_back]
    assert prompts[0] + prompts[1] == [edit.prompt for _, edit in stream.edits]
    assert len(prompts[0]) == 5
    assert read_back[0]["subject"].to_pylist() == [edit.subject for _, edit in stream.edits[:5]]
    assert {Path(source).stem for source in read_back[1]["source"].to_pylist()} == {"many", "few"}


def test_backlogs_are_kept_and_never_replaced_by_others(
    backbone: MakeBackbone, files: list[Path], tmp_path: Path
) -> None:
    stream, folder = blend(backbone("t5"), files, 12, seed=0), tmp_path / "backlog"
    nights = backlogs(stream, [5, 12], folder)
    (nights[1] / "few.jsonl").unlink()  # as a call that was stopped leaves it
    assert backlogs(stream, [5, 12], folder) == nights
    assert (nights[1] / "few.jsonl").is_file()
    with pytest.raises(MaterialError, match="backlog holds other reports than these"):
        backlogs(replace(stream, edits=stream.edits[::-1]), [5, 12], folder)
    with pytest.raises(MaterialError, match="backlog holds other reports than these"):
        backlogs(stream, [4, 12], folder)
    assert {night.name for night in folder.iterdir()} == {"000005", "000012"}
