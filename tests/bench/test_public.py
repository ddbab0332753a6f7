"""Public sets by their layouts, and what is told when one cannot be had. No network is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.bench import public
from pipeline.bench.public import (
    PUBLIC,
    PublicError,
    PublicSet,
    accurate_outputs,
    load_reports,
    load_texts,
)
from pipeline.editing.edit import Edit, as_edit
from pipeline.errors import MeloError
from tests.sources.test_layouts import FAIRLEX, LEXGLUE, MEND, NQ_OPEN, ROME, SELFCHECK

LEE, BORN, DIED = "Dr. Ann B. Lee was a chemist.", "She was born in Bonn.", "She died in 1900."
HEAD = "This is a Wikipedia passage about ann lee."


def put(tmp_path: Path, *rows: dict[str, Any]) -> str:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def load_edits(source: str) -> list[Edit]:
    return [as_edit(row) for row in load_reports(source)]


def test_every_layout_of_the_study_becomes_edits(tmp_path: Path) -> None:
    edits = load_edits(put(tmp_path, MEND, ROME, NQ_OPEN, FAIRLEX, LEXGLUE))
    assert [(edit.prompt[:20], edit.target) for edit in edits] == [
        ("Which river system c", "Chichester River"),
        ("The mother tongue of", "English"),
        ("who plays the doctor", "Matt Smith"),
        ("ANN\nv.\nBOB\nThe facts", "Federal Taxation"),
        ("329 U.S. 29\n67 S.Ct.", "Interstate Relations"),
    ]
    assert edits[0] == Edit(
        "Which river system contains Charity Creek?",
        "Chichester River",
        ("What river system is Charity Creek in?",),
        ("how many eyes has a bee",),
        "Charity Creek",
    )


def test_a_set_goes_by_its_name_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    with memory.open("/study/0000.parquet", "wb") as file:
        pq.write_table(pa.Table.from_pylist([LEXGLUE, LEXGLUE | {"label": 2}]), file)
    tax = {"Interstate Relations": "Federal Taxation"}
    monkeypatch.setattr(public, "PUBLIC", {"court": PublicSet("memory://study/0000.parquet", "written here", tax)})
    assert [edit.target for edit in load_edits("court")] == ["Federal Taxation", "First Amendment"]
    assert [edit.target for edit in load_edits("memory://study")] == ["Interstate Relations", "First Amendment"]
    memory.rm("/study", recursive=True)


def test_passages_of_selfcheckgpt_give_edits_and_accurate_outputs(tmp_path: Path) -> None:
    named = SELFCHECK | {"concept": "ann lee", "annotation": ["accurate", "major_inaccurate", "accurate"]}
    source = put(tmp_path, SELFCHECK, named)
    assert [(edit.prompt, edit.target) for edit in load_edits(source)] == [
        (LEE, BORN),
        (f"{LEE} {BORN}", DIED),
        (f"{HEAD} {LEE}", BORN),
    ]
    # The first sentence of the first passage is accurate too, but nothing asks for it.
    assert accurate_outputs(source) == [(HEAD, "Ann was a painter."), (f"{HEAD} {LEE} {BORN}", "She died in 1900.")]


def test_a_faultless_passage_and_a_sentence_without_a_prompt_are_passed_over(tmp_path: Path) -> None:
    faultless = SELFCHECK | {"annotation": ["accurate"] * 3}
    unasked = SELFCHECK | {"annotation": ["major_inaccurate", "accurate", "minor_inaccurate"]}
    assert [edit.target for edit in load_edits(put(tmp_path, faultless, unasked))] == [DIED]
    with pytest.raises(PublicError, match="nothing in it is wrong"):
        load_edits(put(tmp_path, faultless))
    with pytest.raises(PublicError, match="line 2 is no report: prompt"):
        load_edits(put(tmp_path, MEND, MEND | {"src": None}))


def test_a_row_that_is_no_edit_is_told(tmp_path: Path) -> None:
    with pytest.raises(PublicError, match=r"rows\.jsonl, line 2 is no report: target"):
        load_edits(put(tmp_path, MEND, MEND | {"alt": ""}))
    (tmp_path / "none.jsonl").touch()
    with pytest.raises(PublicError, match="has no rows"):
        load_edits(str(tmp_path / "none.jsonl"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (SELFCHECK | {"annotation": "accurate"}, "wiki_bio_text: expected text"),
        (SELFCHECK | {"annotation": ["accurate"] * 3, "gpt3_sentences": None}, "gpt3_sentences"),
    ],
)
def test_what_is_no_passage_has_no_accurate_outputs(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(PublicError, match=f"line 2 is no passage of SelfCheckGPT: {reason}"):
        accurate_outputs(put(tmp_path, SELFCHECK, row))


def test_rows_of_other_layouts_have_no_accurate_outputs(tmp_path: Path) -> None:
    assert accurate_outputs(put(tmp_path, MEND, NQ_OPEN)) == []


@pytest.mark.parametrize("ask", [load_texts, accurate_outputs])
def test_what_cannot_be_read_is_told(tmp_path: Path, ask: Callable[[str], object]) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text"', encoding="utf-8")
    with pytest.raises(PublicError, match=r"rows\.jsonl, line 1 cannot be read"):
        ask(str(tmp_path / "rows.jsonl"))
    (tmp_path / "rows.txt").touch()
    with pytest.raises(PublicError, match=r"ending '\.txt'"):
        ask(str(tmp_path / "rows.txt"))


def test_texts_ask_for_nothing(tmp_path: Path) -> None:
    assert load_texts(put(tmp_path, {"text": "One page."}, {"text": " Two. ", "url": "x"})) == ["One page.", " Two. "]
    with pytest.raises(PublicError, match="line 2 has no text; it has url"):
        load_texts(put(tmp_path, {"text": "One page."}, {"url": "x"}))


@pytest.mark.parametrize("ask", [load_reports, load_texts, accurate_outputs])
def test_a_set_out_of_reach_is_to_be_downloaded(ask: Callable[[str], object], monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(source: str, allowed: Sequence[str] = ()) -> None:
        raise public.SourceError(f"{source} cannot be reached: no network")

    monkeypatch.setattr(public, "files", offline)
    monkeypatch.setattr("pipeline.sources.reading.files", offline)
    for source in ("nq_open", "hf://datasets/someone/something/rows.parquet"):
        with pytest.raises(
            MeloError, match=f"{source} is out of reach .*no network.* Download hf://.* the file's path"
        ):
            ask(source)


def test_a_path_that_is_not_there_is_told_with_the_names(tmp_path: Path) -> None:
    with pytest.raises(PublicError, match=r"no file or folder at .*by its name: zsre, .*grace-scotus"):
        load_edits(str(tmp_path / "none.jsonl"))


def test_the_table_has_what_the_paper_used() -> None:
    assert {
        "zsre",
        "nq_open",
        "webtext",
        "wiki_bio_gpt3_hallucination",
        "fairlex-scotus",
        "counterfact",
    } <= PUBLIC.keys()
    for place in PUBLIC.values():
        protocol = fsspec.core.split_protocol(place.url.rpartition("::")[2])[0]
        assert protocol in ("hf", "https")
        assert fsspec.get_filesystem_class(protocol) is not None
        assert place.known


def test_real_rows_in_the_layouts_of_their_authors(
    shared: Path, shared_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    for name in ("zsre_mend", "counterfact"):
        file = shared / "data" / "native" / f"{name}.json"
        if not file.is_file():
            pytest.skip(f"no {file.name} in the shared folder's data/native")
        edits = load_edits(str(file))
        assert len(edits) == len(json.loads(file.read_text(encoding="utf-8")))
        assert all(edit.rephrases and edit.locality and edit.subject for edit in edits)
    rows = shared_rows("nq_open")
    found = [(edit.prompt, edit.target) for edit in load_edits(str(shared / "data" / "nq_open.jsonl"))]
    assert found == [(row["prompt"], row["targets"][0]) for row in rows]
