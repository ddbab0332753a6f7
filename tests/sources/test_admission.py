"""Who becomes an edit: duplicates, contradictions, and what the model knows."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.editing.edit import Edit
from pipeline.sources import Admission, Aside, admit
from schemas.reports import CONTRADICTIONS, DUPLICATES, REPORTS


def report(prompt: str, target: str, day: int = 1, line: int = 1, source: str = "a.jsonl") -> dict[str, Any]:
    return {
        "edit_id": Edit(prompt, target).edit_id,
        "prompt": prompt,
        "target": target,
        "rephrases": [],
        "aliases": [],
        "locality": [],
        "source": source,
        "line": line,
        "time": datetime(2026, 1, day, tzinfo=UTC),
        "metadata": "{}",
    }


def admitted(
    *rows: dict[str, Any],
    known: Collection[str] = (),
    aside: Mapping[str, Aside] = MappingProxyType({}),
    size: int = 2,
) -> Admission:
    batches = [pa.RecordBatch.from_pylist(list(rows[i : i + size]), schema=REPORTS) for i in range(0, len(rows), size)]
    found = admit(iter(batches), dict.fromkeys(known) | dict(aside))
    schemas = (found.edits.schema, found.duplicates.schema, found.contradictions.schema)
    assert schemas == (REPORTS, DUPLICATES, CONTRADICTIONS)
    return found


def asked(found: Admission) -> list[tuple[str, str]]:
    return [(row["prompt"], row["target"]) for row in found.edits.to_pylist()]


def test_nothing_comes_of_nothing() -> None:
    found = admitted()
    assert (found.edits.num_rows, found.duplicates.num_rows, found.contradictions.num_rows) == (0, 0, 0)


def test_a_report_that_says_the_same_again_is_a_duplicate_of_the_first() -> None:
    found = admitted(
        report("Who?", "Me", 3, 9), report("who? ", "ME", 2, 5), report("Why?", "So", 1), report("Who?", "me", 4)
    )
    assert asked(found) == [("Why?", "So"), ("who? ", "ME")]
    assert found.duplicates.select(["line", "of"]).to_pylist() == [
        {"line": 9, "of": "a.jsonl:5"},
        {"line": 1, "of": "a.jsonl:5"},
    ]
    assert found.contradictions.num_rows == 0


def test_what_the_model_knows_is_a_duplicate_of_the_version() -> None:
    known = frozenset({Edit("Who?", "Me").edit_id, "another"})
    found = admitted(report("Who?", "Me", line=4), report("Why?", "So"), report("Who?", "Me", line=8), known=known)
    assert asked(found) == [("Why?", "So")]
    assert [(row["line"], row["of"]) for row in found.duplicates.to_pylist()] == [(4, "version"), (8, "version")]


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (report("Who?", "Me", 2), report("who?", "You", 3), "later"),
        (report("Who?", "Me", line=3), report("who?", "You", line=4), "same time, later line"),
        (
            report("Who?", "Me", line=3, source="a"),
            report("who?", "You", line=1, source="b"),
            "same time, later source",
        ),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_contradictions_are_settled_by_time_then_source_and_line(
    first: dict[str, Any], second: dict[str, Any], reason: str, swapped: bool
) -> None:
    found = admitted(*((second, first) if swapped else (first, second)))
    assert asked(found) == [("who?", "You")]
    assert found.duplicates.num_rows == 0
    assert found.contradictions.to_pylist() == [
        {
            "prompt": "who?",
            "kept_edit_id": second["edit_id"],
            "kept_target": "You",
            "dropped_edit_id": first["edit_id"],
            "dropped_target": "Me",
            "reason": reason,
            "dropped_source": first["source"],
            "dropped_line": first["line"],
            "dropped_reporter": None,
        }
    ]


def test_who_says_it_again_has_the_last_word() -> None:
    found = admitted(report("Who?", "Me", 1), report("Who?", "You", 2), report("Who?", "me", 3))
    assert asked(found) == [("Who?", "Me")]
    assert found.contradictions["dropped_target"].to_pylist() == ["You"]
    assert found.duplicates["of"].to_pylist() == ["a.jsonl:1"]


def test_what_the_model_knows_can_have_the_last_word_or_lose_it() -> None:
    known = frozenset({Edit("Who?", "Me").edit_id})
    kept = admitted(report("Who?", "You", 1), report("Who?", "Me", 2), known=known)
    assert asked(kept) == []
    assert kept.contradictions["dropped_target"].to_pylist() == ["You"]
    assert kept.duplicates["of"].to_pylist() == ["version"]
    lost = admitted(report("Who?", "You", 2), report("Who?", "Me", 1), known=known)
    assert asked(lost) == [("Who?", "You")]
    assert lost.contradictions["dropped_target"].to_pylist() == ["Me"]
    assert lost.duplicates.num_rows == 0


reports = st.lists(
    st.builds(
        report,
        st.sampled_from(["p", "P ", "q", "r"]),
        st.sampled_from(["x", "X", "y"]),
        st.integers(1, 3),
        st.integers(1, 9),
    ),
    max_size=14,
    unique_by=lambda row: (row["time"], row["line"]),
)


@settings(deadline=None)
@given(
    reports, st.sets(st.sampled_from([Edit("p", "x").edit_id, Edit("q", "y").edit_id])), st.randoms(), st.integers(1, 5)
)
def test_every_report_ends_in_one_place_whatever_the_order(
    rows: list[dict[str, Any]], known: set[str], order: random.Random, size: int
) -> None:
    found = admitted(*rows, known=known)
    ends = found.edits.num_rows + found.duplicates.num_rows + found.contradictions.num_rows
    assert ends == len(rows)
    ids = found.edits["edit_id"].to_pylist()
    assert len(set(ids)) == len(ids) and not known & set(ids)
    assert len({Edit(prompt, "").edit_id for prompt, _ in asked(found)}) == len(ids)
    order.shuffle(rows)
    again = admitted(*rows, known=known, size=size)
    assert again == found


def test_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected .*edit_id"):
        admit([pa.RecordBatch.from_pylist([{"prompt": "a"}])], {})


ASIDE = {Edit("Who?", "Me").edit_id: Aside(datetime(2026, 1, 5, tzinfo=UTC), frozenset({("a.jsonl", 4)}))}


@pytest.mark.parametrize(
    ("row", "anew"),
    [
        (report("Who?", "Me", day=5, source="b.jsonl"), False),
        (report("Who?", "Me", day=9, line=4), False),
        (report("Who?", "Me", day=6, line=5), True),
        (report("Who?", "Me", day=6, line=4, source="b.jsonl"), True),
    ],
    ids=["older", "read before", "another line", "another file"],
)
def test_what_was_set_aside_is_admitted_again_when_it_is_reported_anew(row: dict[str, Any], anew: bool) -> None:
    read_again = report("Who?", "Me", day=1, line=4)
    found = admitted(read_again, row, aside=ASIDE)
    assert asked(found) == ([("Who?", "Me")] if anew else [])
    assert sorted(found.duplicates["line"].to_pylist()) == ([4] if anew else sorted([4, row["line"]]))


def test_what_was_set_aside_contradicts_nothing() -> None:
    found = admitted(report("Who?", "You", day=1), report("Who?", "Me", day=4), aside=ASIDE)
    assert asked(found) == [("Who?", "You")]
    assert found.contradictions.num_rows == 0
    anew = admitted(report("Who?", "You", day=1), report("Who?", "Me", day=6), aside=ASIDE)
    assert asked(anew) == [("Who?", "Me")]
    assert anew.contradictions["dropped_target"].to_pylist() == ["You"]
