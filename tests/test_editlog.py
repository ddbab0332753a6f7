"""What every night is to teach, whatever was kept back, replaced, undone or rolled back before it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import journal as journal_module
from pipeline.editing.edit import Edit
from pipeline.editlog import UNDO, EditLog
from pipeline.journal import Journal, Night
from pipeline.registry.promotions import Promotion
from schemas.edits import EDITS
from schemas.reports import DUPLICATES, REPORTS
from workers.trainer import edits_of

START = datetime(2026, 1, 1, tzinfo=UTC)


class Home:
    """A journal whose nights begin an hour apart, and versions that have records and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder)
        self.moves: list[Promotion] = []

    def night(
        self, base: str | None, *edits: tuple[str, str], source: str = "drop", until: datetime | None = None
    ) -> Night:
        """A night that has read its reports, valid until a time: line after line of a file of its own."""
        night = self.journal.begin(source, base)
        begun = datetime.fromisoformat(night.begun)
        rows: list[dict[str, Any]] = [
            {"edit_id": ident(*edit), "prompt": edit[0], "target": edit[1], "rephrases": [], "locality": []}
            | {
                "aliases": [],
                "source": f"{night.number}.jsonl",
                "line": line,
                "time": begun - timedelta(minutes=1),
                "valid_until": until,
                "metadata": "{}",
            }
            for line, edit in enumerate(edits, start=1)
        ]
        pq.write_table(pa.Table.from_pylist(rows, REPORTS), night.folder / "edits.parquet")
        pq.write_table(DUPLICATES.empty_table(), night.folder / "duplicates.parquet")
        return night

    def again(self, night: Night, edit: tuple[str, str], until: datetime | None) -> None:
        """A report of a night that asks for a known edit, valid until a time."""
        row = {"edit_id": ident(*edit), "source": f"{night.number}.jsonl", "line": 9, "of": "version"}
        rows = [row | {"reported": START, "valid_until": until}]
        pq.write_table(pa.Table.from_pylist(rows, DUPLICATES), night.folder / "duplicates.parquet")

    def makes(self, night: Night, digest: str, states: dict[tuple[str, str], str], **refused: str) -> None:
        """The version that came of a night; ``replaced`` edits were replaced by the last one."""
        gone = [ident(*edit) for edit, state in states.items() if state == "replaced"]
        rows = [
            {"edit_id": ident(*edit), "prompt": edit[0], "target": edit[1], "state": state, "replaced": []}
            | {"rephrases": [], "locality": [], "aliases": [], "version": 1, "steps": 1, "learned": True, "reason": ""}
            for edit, state in states.items()
        ]
        rows[-1]["replaced"] = gone
        folder = self.journal.versions / digest
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, EDITS), folder / "edits.parquet")
        self.journal.step(night, "version", lambda: {"digest": digest, "refused": refused})
        self.journal.step(night, "registered", lambda: {"number": night.number})
        self.journal.end(night, "ended")

    def moved(self, kind: Any, source: int, target: int, after: Night) -> None:
        when = datetime.fromisoformat(after.begun) + timedelta(minutes=30)
        self.moves.append(Promotion(kind, source, target, when, "somebody", "why", {}))

    def taught(self, night: Night) -> list[tuple[str, str]]:
        table = EditLog(self.journal, self.moves).to_teach(night)
        return list(zip(table["prompt"].to_pylist(), table["target"].to_pylist(), strict=True))

    def aside(self, night: Night) -> dict[str, list[tuple[str, int]]]:
        known = EditLog(self.journal, self.moves).known(night)
        return {edit: sorted(how.places) for edit, how in known.items() if how is not None}


def ident(prompt: str, target: str) -> str:
    return Edit(prompt, target).edit_id


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    hours = count()
    monkeypatch.setattr(journal_module, "_now", lambda: (START + timedelta(hours=next(hours))).isoformat())
    made = Home(tmp_path)
    yield made
    made.journal.close()


A, B, C = ("Who?", "Me"), ("Who?", "You"), ("Why?", "So")


def test_the_first_night_teaches_its_edits_in_order(home: Home) -> None:
    night = home.night(None, C, A)
    assert home.taught(night) == [C, A]
    assert EditLog(home.journal, []).known(night) == {}


def test_what_the_gate_kept_back_is_taught_again_and_reported_again_in_vain(home: Home) -> None:
    home.makes(home.night(None, A), "one", {A: "live"})
    night = home.night(None, C)
    assert home.taught(night) == [A, C]
    assert EditLog(home.journal, []).known(night) == {ident(*A): None}


def test_what_the_base_knows_or_failed_to_learn_is_not_taught_again(home: Home) -> None:
    home.makes(home.night(None, A, C), "one", {A: "live", C: "failed"})
    assert home.taught(home.night("one")) == []


def test_what_the_model_cannot_take_is_never_taught(home: Home) -> None:
    home.makes(home.night(None, A, C), "one", {A: "live"}, **{ident(*C): "too long"})
    night = home.night("one", B)
    assert home.taught(night) == [B]
    assert EditLog(home.journal, []).refused() == {ident(*C): "too long"}


def test_what_was_replaced_is_taught_when_it_is_admitted_again(home: Home) -> None:
    home.makes(home.night(None, A), "one", {A: "live"})
    home.makes(home.night("one", B), "two", {A: "replaced", B: "live"})
    night = home.night("two")
    assert home.taught(night) == []
    assert home.aside(night) == {ident(*A): [("1.jsonl", 1)]}
    assert home.taught(home.night("two", A)) == [A]


def test_what_was_undone_is_taught_when_it_is_admitted_again(home: Home) -> None:
    home.makes(home.night(None, A, C), "one", {A: "live", C: "live"})
    home.makes(home.night("one", source=UNDO + ident(*A)), "two", {A: "undone", C: "live"})
    night = home.night("two")
    assert home.taught(night) == []
    assert home.aside(night) == {ident(*A): [("1.jsonl", 1)]}
    assert home.taught(home.night("two", A)) == [A]


def test_what_was_rolled_back_is_not_taught_behind_ones_back(home: Home) -> None:
    home.makes(home.night(None, A), "one", {A: "live"})
    second = home.night("one", C)
    home.makes(second, "two", {A: "live", C: "live"})
    home.moved("rollback", 2, 1, after=second)
    night = home.night("one", B)
    assert home.taught(night) == [B]
    assert home.aside(night) == {ident(*C): [("2.jsonl", 1)]}
    assert home.taught(home.night("one", C)) == [B, C]


def test_a_version_that_was_rolled_back_and_promoted_again_has_nothing_set_aside(home: Home) -> None:
    home.makes(home.night(None, A), "one", {A: "live"})
    second = home.night("one", C)
    home.makes(second, "two", {A: "live", C: "live"})
    home.moved("rollback", 2, 1, after=second)
    night = home.night("two", B)
    assert home.taught(night) == [B]
    assert home.aside(night) == {}


def test_a_version_is_to_know_what_it_was_neither_freed_from_nor_replaced(home: Home) -> None:
    home.makes(home.night(None, A, C), "one", {A: "live", C: "failed"})
    home.makes(home.night("one", B), "two", {A: "replaced", C: "failed", B: "live"})
    table = EditLog(home.journal, []).to_be_known(home.journal.versions / "two")
    assert table["edit_id"].to_pylist() == [ident(*C), ident(*B)]


def test_a_version_from_another_home_is_known_and_asked_by_its_records(home: Home, tmp_path: Path) -> None:
    home.makes(home.night(None, A, C), "one", {A: "live", C: "undone"})
    new = Home(tmp_path / "new")
    new.journal.take_in("one", home.journal.versions / "one")
    new.journal.take_in("one", home.journal.versions / "one")
    night = new.night("one", B)
    assert EditLog(new.journal, []).known(night) == {ident(*A): None}
    assert new.taught(night) == [B]
    asked = EditLog(new.journal, []).to_be_known(new.journal.versions / "one")
    assert asked.schema.equals(REPORTS)
    assert asked["edit_id"].to_pylist() == [ident(*A)]
    new.journal.close()


def test_what_an_earlier_format_wrote_is_taught_without_aliases(home: Home, tmp_path: Path) -> None:
    old = home.night(None, A)
    home.makes(old, "one", {A: "live"})
    kept_back = home.night("one", C)
    version = home.journal.versions / "one"
    for file in (old.folder / "edits.parquet", kept_back.folder / "edits.parquet", version / "edits.parquet"):
        table = pq.read_table(file).drop_columns(["aliases"])
        pq.write_table(table.replace_schema_metadata({"format": "1"}), file)
    log = EditLog(home.journal, [])
    taught = log.to_teach(home.night("one", B))
    assert taught.schema.equals(REPORTS)
    assert edits_of(taught) == [Edit(*C), Edit(*B)]
    new = Home(tmp_path / "new")
    new.journal.take_in("one", version)
    assert edits_of(EditLog(new.journal, []).to_be_known(new.journal.versions / "one")) == [Edit(*A)]
    new.journal.close()


SOON, LATE = START + timedelta(minutes=90), START + timedelta(hours=90)


def test_what_is_not_valid_any_more_is_taken_out_and_not_taught(home: Home) -> None:
    home.makes(home.night(None, A, C, until=SOON), "one", {A: "live", C: "failed"})
    night = home.night("one", B)
    log = EditLog(home.journal, [])
    assert log.expired(night) == [ident(*A), ident(*C)]
    assert home.taught(night) == [B]
    assert log.known(night) == {}  # a report of them that is valid still asks for them anew
    home.makes(night, "two", {A: "expired", C: "expired", B: "live"})
    later = home.night("two")
    assert (log.expired(later), home.taught(later)) == ([], [])
    table = log.to_be_known(home.journal.versions / "two")
    assert table["edit_id"].to_pylist() == [ident(*B)]
    anew = home.night("two", A, until=LATE)
    assert (log.expired(anew), home.taught(anew)) == ([], [A])


def test_what_the_gate_kept_back_is_not_taught_when_its_time_is_over(home: Home) -> None:
    home.makes(home.night(None, A, until=SOON), "one", {A: "live"})
    assert home.taught(home.night(None, C)) == [C]


def test_what_is_reported_anew_the_very_night_stays(home: Home) -> None:
    home.makes(home.night(None, A, until=SOON), "one", {A: "live"})
    night = home.night("one", A, until=LATE)
    assert (EditLog(home.journal, []).expired(night), home.taught(night)) == ([], [])


@pytest.mark.parametrize(("until", "goes"), [(LATE, False), (None, False), (START, True)])
def test_the_report_that_holds_longest_counts(home: Home, until: datetime | None, goes: bool) -> None:
    first = home.night(None, A, until=SOON)
    home.again(first, A, until)
    home.makes(first, "one", {A: "live"})
    assert EditLog(home.journal, []).expired(home.night("one")) == ([ident(*A)] if goes else [])


def test_duplicates_of_an_earlier_format_prolong_nothing(home: Home) -> None:
    first = home.night(None, A, until=SOON)
    home.again(first, A, None)
    file = first.folder / "duplicates.parquet"
    pq.write_table(pq.read_table(file).select(["edit_id", "source", "line", "of"]), file)
    home.makes(first, "one", {A: "live"})
    assert EditLog(home.journal, []).expired(home.night("one")) == [ident(*A)]
