"""One bad line never costs another, wherever lines are hard to tell apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sources.gathered import gather

GOOD = [("one", "a"), ("two", "b"), ("three", "c")]


@pytest.mark.parametrize(
    "bad",
    [
        '"a quote that is never closed,x',
        'x,"a quote that is never closed',
        '"closed" but not at the end,x',
        "too few",
        "one,two,many",
        "broken \udcff,x",
        '"broken \udcff\nover two lines",x',
        ",no prompt",
        "no target,",
        "x" * 1_000_001 + ",x",
        "x" * 200_000 + ",x",
        '"' + "a line in quotes\n" * 2_000 + ",x",
    ],
    ids=lambda bad: bad[:24].encode("ascii", "replace").decode(),
)
@pytest.mark.parametrize("quoted", [False, True], ids=["bare", "quoted"])
def test_a_bad_row_of_a_csv_costs_itself_alone(bad: str, quoted: bool, tmp_path: Path) -> None:
    good = [f'"{prompt}","{target}"' if quoted else f"{prompt},{target}" for prompt, target in GOOD]
    text = "\n".join(["prompt,target", good[0], bad, *good[1:], ""])
    (tmp_path / "a.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    found = gather(tmp_path)
    assert found.pairs == GOOD
    assert found.refused[0][0] == 3


def test_a_header_that_names_no_prompt_or_a_column_twice_refuses_every_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("who,what\none,a\ntwo,b\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("prompt,target,prompt\none,a,two\n", encoding="utf-8")
    (tmp_path / "c.csv").write_text('"prompt"x,target\none,a\n', encoding="utf-8")
    found = gather(tmp_path)
    assert found.reports == []
    assert [line for line, _ in found.refused] == [1, 2, 3, 2, 1, 2]
    assert "no column for the prompt" in found.refused[0][1] and "comes twice" in found.refused[3][1]


@pytest.mark.parametrize(
    "bad",
    [
        '{"prompt": "x", "target": "y"',
        '{"prompt": "x, "target": "y"}',
        '{"prompt": "x", "target": "y"}}',
        '{"prompt": "x", "rephrases": ["y"}',
        '{"prompt": "x", "rephrases": ["y", "target": "y"',
        '{"prompt": "x", "prompt": "y", "target": "z"}',
        '{"prompt": "x", "target": NaN}',
        '{"prompt": "\udcff", "target": "y"}',
        '"a text"',
        "[[[[]]]]",
        "[" * 50 + "]" * 50,
        "17",
        "nonsense",
        '{"prompt": "x", "target": "' + "y" * 1_000_001 + '"}',
    ],
    ids=lambda bad: bad[:40].encode("ascii", "replace").decode(),
)
@pytest.mark.parametrize(
    "layout", ["[\n%s\n]", "[%s]", "[\n  %s\n]", "%s"], ids=["column 0", "column 1", "indented", "bare"]
)
def test_a_bad_object_of_a_document_costs_itself_alone(bad: str, layout: str, tmp_path: Path) -> None:
    good = [f'{{"prompt": "{prompt}", "target": "{target}"}}' for prompt, target in GOOD]
    indent = {"[\n%s\n]": "", "[%s]": " ", "[\n  %s\n]": "  ", "%s": ""}[layout]
    text = layout % f",\n{indent}".join([good[0], bad, *good[1:]])
    (tmp_path / "a.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    found = gather(tmp_path)
    assert found.pairs == GOOD
    assert found.refused and found.refused[0][0] in (2, 3)


def test_what_stands_inside_a_broken_object_does_not_become_a_report(tmp_path: Path) -> None:
    bad = '{\n"prompt": "x",\n"locality": [\n{\n"prompt": "never",\n"target": "never"\n}\n]\n'
    (tmp_path / "a.json").write_text(f'[\n{{\n"prompt": "one",\n"target": "a"\n}},\n{bad},\n{{}}]', encoding="utf-8")
    found = gather(tmp_path)
    assert found.pairs == [("one", "a")]
    assert found.quarantine


def test_objects_that_never_end_are_given_up_after_some(tmp_path: Path) -> None:
    bad = '{"prompt": "x", "target": "y", "rephrases": ["z"'
    (tmp_path / "a.json").write_text("[\n " + ",\n ".join([bad] * 400) + "\n]", encoding="utf-8")
    found = gather(tmp_path)
    assert found.reports == []
    assert 0 < len(found.refused) <= 52


@pytest.mark.parametrize(
    "text", ["", " \n", "[", "[[", "{", '{"prompt": "a"', '[{"prompt": "one", "target": "a"}', '"', "[" * 9_000]
)
def test_a_document_that_is_not_whole_says_so(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    assert gather(tmp_path).refused[-1][1].startswith("cut short")


def test_a_document_without_rows_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(" [ ] ", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text("\n\n", encoding="utf-8")
    (tmp_path / "a.csv").write_text("prompt,target\n\n", encoding="utf-8")
    found = gather(tmp_path)
    assert (found.reports, found.quarantine) == ([], [])
