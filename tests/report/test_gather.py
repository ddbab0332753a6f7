"""A page holds what the night has stored, and what changed since the version before."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.editing.edit import Edit
from pipeline.evaluation.gate import GateSettings
from pipeline.journal import Journal, Night
from pipeline.report import write_page
from pipeline.report.gather import gather
from pipeline.report.page import SHOWN, Before, Refusal
from tests.report.nights import Told, asked, digest_of, edit_id, register, store


def test_what_became_of_edits_since_the_version_before(journal: Journal, nights: tuple[Night, Night]) -> None:
    page = gather(journal, nights[1])
    found = {
        what: [(row.prompt, row.target, row.right, row.why) for row in cut.rows] for what, cut in page.edits.items()
    }
    assert found == {
        "added": [("What is the capital?", "New Town", True, "")],
        "failed": [("Why?", "because", False, "the block says 'so'")],
        "replaced": [("What is the capital?", "Old Town", None, "by the answer New Town")],
        "no longer there": [("Where is it?", "here", None, "")],
    }
    assert page.before == Before(digest_of(journal, nights[0]), 4, 1)
    assert (page.live, page.passed) == (3, False)


def test_answers_are_compared_where_both_versions_were_asked(journal: Journal, nights: tuple[Night, Night]) -> None:
    page = gather(journal, nights[1])
    assert page.compared == 4  # derived questions are others every night, and new edits were not asked for
    assert [(row.prompt, row.before, row.now) for row in page.fixed.rows] == [("When was it?", "1848", "1847")]
    assert [(row.kind, row.prompt, row.expected, row.before, row.now) for row in page.broken.rows] == [
        ("reported in other words", "Who is the leader?", "Ann", "Ann", "Eve"),
        ("reported as not to change", "Who follows?", None, "Bob", "Cid"),
    ]


def test_failures_say_where_they_were_led_and_what_is_to_blame(journal: Journal, nights: tuple[Night, Night]) -> None:
    page = gather(journal, nights[1])
    assert [(failed.kind, failed.faults) for failed in page.failures] == [
        ("as reported", {"block": 1}),
        ("reported in other words", {"route": 1}),
        ("with a typing error", {"both": 1}),
    ]
    own, led_nowhere, _ = (failed.cut.rows[0] for failed in page.failures)
    assert (own.own, own.route.edit, own.said) == (True, "Why?", "so")
    assert (led_nowhere.own, led_nowhere.route.edit, led_nowhere.route.distance) == (False, None, 5.0)
    assert [(row.prompt, row.route.edit, row.changed) for row in page.misled.rows] == [
        ("Who follows?", "Who leads?", True),
        ("Who leads us?", "Who leads?", False),
    ]


def test_what_was_not_taken_is_told_by_reason(journal: Journal, nights: tuple[Night, Night]) -> None:
    page = gather(journal, nights[1])
    assert page.quarantine.rows == (
        Refusal("no target", 2, "drop/more.jsonl, line 7", "{"),
        Refusal("not JSON", 1, "drop/more.jsonl, line 7", "{"),
    )
    (dropped,) = page.contradictions.rows
    assert (dropped.kept, dropped.dropped) == ("Ann", "Tom")


def test_edits_that_the_model_cannot_take_are_named_by_their_prompt(journal: Journal) -> None:
    long, forgotten = Edit("A very long one?", "yes"), "0" * 32
    told = Told([], reported=[long], refused={long.edit_id: "too long", forgotten: "no tokens"})
    page = gather(journal, store(journal, told))
    assert [(row.reason, row.detail, row.place) for row in page.refused.rows] == [
        ("too long", "A very long one?", "drop/reports.jsonl, line 1"),
        ("no tokens", forgotten, "an earlier night"),
    ]


def test_a_first_version_has_none_before_it(journal: Journal, nights: tuple[Night, Night]) -> None:
    page = gather(journal, nights[0])
    assert (page.before, page.compared) == (None, None)
    assert list(page.edits) == ["added"]
    assert page.edits["added"].total == 4
    assert {measure.before for measure in page.measures} == {None}


def test_a_champion_of_another_home_is_compared_as_far_as_it_is_here(journal: Journal, nights: tuple[Night, Night],
                                                                     tmp_path: Path) -> None:  # fmt: skip
    other = Journal(tmp_path / "other")
    base = digest_of(journal, nights[0])
    other.take_in(base, journal.versions / base)
    page = gather(other, store(other, Told([{"prompt": "Who leads?", "target": "Ann"}]), base=base))
    other.close()
    assert page.before == Before(base, None, None)
    assert page.compared is None
    assert {what: cut.total for what, cut in page.edits.items()} == {"no longer there": 3}


def test_an_undo_names_what_it_took_back(journal: Journal, nights: tuple[Night, Night]) -> None:
    gone = edit_id("Who leads?", "Ann")
    edits = [{"prompt": "Who leads?", "target": "Ann", "state": "undone"}, {"prompt": "When was it?", "target": "1847"}]
    page = gather(journal, store(journal, Told(edits, source=f"undo:{gone}"), base=digest_of(journal, nights[0])))
    assert page.undone == (gone,)
    assert [row.prompt for row in page.edits["undone"].rows] == ["Who leads?"]
    assert page.commands[0].line == f"melo undo {gone}"


def test_the_page_is_the_same_when_the_night_is_gone_on_with(journal: Journal, nights: tuple[Night, Night]) -> None:
    file = write_page(journal, nights[1])
    first = file.read_bytes()
    register(journal, nights[1], 5, promoted=False)
    assert (write_page(journal, nights[1]), file.read_bytes()) == (nights[1].folder / "report.html", first)
    assert [step.name for step in gather(journal, nights[1]).steps][-1] == "the gate"


def test_tables_that_an_earlier_release_did_not_write_are_not_missed(
    journal: Journal, nights: tuple[Night, Night]
) -> None:
    for name in ("contradictions.parquet", "quarantine.parquet", "edits.parquet", "scope.png"):
        (nights[1].folder / name).unlink()
    (nights[0].folder / "answers.parquet").unlink()
    page = gather(journal, nights[1])
    assert (page.contradictions.total, page.quarantine.total, page.compared) == (0, 0, None)
    assert [figure.title for figure in page.figures] == ["Scores over edits", "Distances and radii", "Where edits fell"]


def test_long_lists_are_cut_and_counted(journal: Journal) -> None:
    rows = [asked(f"Who is number {n}?", "Ann", "Bob") for n in range(3000)]
    page = gather(journal, store(journal, Told([{"prompt": "Who?", "target": "Ann"}], rows)))
    (failed,) = page.failures
    assert (len(failed.cut.rows), failed.cut.total, failed.cut.more) == (SHOWN, 3000, 3000 - SHOWN)


@pytest.mark.parametrize(
    "password", ["https://user:secret@host/reports.jsonl", "https://host/reports.jsonl?key=secret"]
)
def test_passwords_of_a_source_are_not_shown(journal: Journal, password: str) -> None:
    page = gather(journal, store(journal, Told([], source=password, gate=GateSettings())))
    assert "secret" not in repr(page)
    assert page.source == "https://host/reports.jsonl"
