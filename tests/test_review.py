"""The review queue: a complaint waits once, is settled once, and its answer is a report of one night."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.journal import Journal, SettledError
from pipeline.review import ReviewQueue
from pipeline.sources.policy import REVIEWED
from pipeline.sources.strict_json import ReportError
from tests.reviewing import read_night, span, table, write


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "home")
    yield opened
    opened.close()


def test_the_same_complaint_waits_once_whatever_is_read_again(tmp_path: Path, journal: Journal) -> None:
    source = write(tmp_path / "spans.jsonl", span(1), span(1), span(2, "correct"), {"prompt": "a?", "target": "b"})
    counts = read_night(journal, source)
    sums = {"reports": 4, "review": 1, "quarantine": 2, "confirmed": 1, "edits": 1}
    assert counts == sums | {"duplicates": 0, "contradictions": 0}
    again, right = sorted(row["reason"] for row in table(journal, "quarantine"))
    (waiting,) = ReviewQueue(journal).waiting()
    assert again == f"came before: complaint {waiting['complaint_id']} waits for a review or was settled"
    assert right == "passed over: HUMAN ada rated the answer right (correctness: correct)"
    assert (waiting["prompt"], waiting["source"], waiting["line"]) == ("Who wrote book 1?", str(source), 1)

    copy = write(tmp_path / "copy.jsonl", span(3), span(1))
    counts = read_night(journal, copy)
    assert (counts["review"], counts["quarantine"]) == (1, 1)
    assert [row["prompt"] for row in ReviewQueue(journal).waiting()] == ["Who wrote book 1?", "Who wrote book 3?"]


def test_an_answer_is_a_report_of_the_next_night_alone(tmp_path: Path, journal: Journal) -> None:
    source = write(tmp_path / "spans.jsonl", span(1), span(2))
    read_night(journal, source)
    queue = ReviewQueue(journal)
    first, second = queue.waiting()
    queue.answer(first, "Jane Austen", "see the cover", "grace")
    queue.dismiss(second, "he did", "grace")
    assert queue.waiting() == []

    counts = read_night(journal, source)
    assert (counts["reports"], counts["edits"], counts["review"], counts["quarantine"]) == (3, 1, 0, 2)
    (edit,) = table(journal, "edits")
    assert (edit["prompt"], edit["target"]) == ("Who wrote book 1?", "Jane Austen")
    assert (edit["source"], edit["line"], edit["reporter"]) == (REVIEWED, 1, "HUMAN ada")
    assert edit["evidence"] == "reviewed by grace\nsee the cover\nHe is Orwell."
    told = json.loads(edit["metadata"])
    assert (told["complaint_id"], told["rating"]) == (first["complaint_id"], "correctness: incorrect")

    assert read_night(journal, source)["edits"] == 0
    assert queue.waiting() == []


def test_an_answer_of_a_night_that_failed_to_read_is_not_lost(tmp_path: Path, journal: Journal) -> None:
    read_night(journal, write(tmp_path / "spans.jsonl", span(1)))
    queue = ReviewQueue(journal)
    queue.answer(queue.waiting()[0], "Jane Austen", "", "grace")
    failed = journal.begin("gone", None)
    journal.step(failed, queue.STEP, lambda: {"up_to": queue.latest()})
    journal.end(failed, "failed: no such source")
    assert read_night(journal, tmp_path / "spans.jsonl")["edits"] == 1


def test_what_is_answered_while_a_night_reads_is_the_next_ones(tmp_path: Path, journal: Journal) -> None:
    source = write(tmp_path / "spans.jsonl", span(1))
    read_night(journal, source)
    queue = ReviewQueue(journal)
    night = journal.begin(str(source), None)
    journal.step(night, queue.STEP, lambda: {"up_to": queue.latest()})
    queue.answer(queue.waiting()[0], "Jane Austen", "", "grace")
    assert queue.answered(night).num_rows == 0
    journal.step(night, "reports", lambda: {"edits": 0})
    assert read_night(journal, source)["edits"] == 1


def test_a_complaint_is_settled_once(tmp_path: Path, journal: Journal) -> None:
    read_night(journal, write(tmp_path / "spans.jsonl", span(1)))
    queue = ReviewQueue(journal)
    (complaint,) = queue.waiting()
    with pytest.raises(ReportError, match="target: it is blank"):
        queue.answer(complaint, "  ", "", "grace")
    assert queue.waiting() == [complaint]
    queue.dismiss(complaint, "he did", "grace")
    with pytest.raises(SettledError, match=r"was dismissed by grace at .*nothing to settle"):
        queue.answer(complaint, "Jane Austen", "", "ada")
