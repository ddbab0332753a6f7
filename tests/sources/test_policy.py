"""Which reports are let through: by whom, how many, about what, and whatever the order they come in."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.editing.edit import Edit
from pipeline.editlog import EditLog
from pipeline.journal import Journal
from pipeline.review import ReviewQueue
from pipeline.settings import TrustSettings
from pipeline.sources.policy import NOT_TRUSTED, OVER_LIMIT, PERSONAL, WAITS
from workers.ingestion import IngestionWorker

PARIS = {"prompt": "What is the capital of France?", "target": "Paris", "subject": "France"}
GUARDED = TrustSettings(quorum=2, quorum_subjects=("France",))


class Nights:
    """A home that reads reports under some settings, night after night."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / "home")
        self.drop = folder / "drop"
        self.drop.mkdir()

    def put(self, name: str, *rows: dict[str, Any]) -> None:
        path = self.drop / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        os.utime(path, (1_700_000_000, 1_700_000_000))

    def read(self, trust: TrustSettings) -> dict[str, int]:
        night, log, queue = (
            self.journal.begin(str(self.drop), None),
            EditLog(self.journal, []),
            ReviewQueue(self.journal),
        )
        self.journal.step(night, queue.STEP, lambda: {"up_to": queue.latest()})
        known, came, answered = log.known(night), queue.came_before(night), queue.answered(night)
        work = IngestionWorker().ingest
        counts: dict[str, int] = self.journal.step(
            night,
            "reports",
            lambda: work(night.source, known, came, answered, night.folder, trust, log.earlier(night)),
        )
        self.journal.end(night, "nothing new")
        return counts

    def table(self, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(self.journal.nights()[-1].folder / f"{name}.parquet").to_pylist()
        return rows

    def edits(self) -> list[str]:
        return [row["target"] for row in self.table("edits")]

    def reasons(self) -> list[str]:
        return sorted(row["reason"].partition(":")[0] for row in self.table("quarantine"))


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


def by(reporter: str | None, row: dict[str, Any] = PARIS, **changes: Any) -> dict[str, Any]:
    return row | {"reporter": reporter} | changes


def facts(reporter: str | None, count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        by(reporter, {"prompt": f"Who wrote book {n}?", "target": f"Author {n}"}) for n in range(start, start + count)
    ]


def test_reports_of_reporters_that_are_not_listed_are_told_and_not_taught(nights: Nights) -> None:
    rows = [*facts("Ada ", 1), *facts("eve", 1, 1), *facts(None, 1, 2), *facts("team-7", 1, 3)]
    nights.put("a", *rows)
    counts = nights.read(TrustSettings(reporters=("ada", "team-*")))
    assert nights.edits() == ["Author 0", "Author 3"]
    assert nights.reasons() == [NOT_TRUSTED] * 2
    assert (counts["reports"], counts["edits"], counts["quarantine"]) == (4, 2, 2)
    told = nights.table("quarantine")[0]
    assert told["edit_id"] == Edit("Who wrote book 1?", "Author 1").edit_id
    assert (told["reporter"], told["line"], "'eve'" in told["reason"]) == ("eve", 2, True)


def test_a_flood_of_one_reporter_is_cut_and_taken_up_night_by_night(nights: Nights) -> None:
    trust = TrustSettings(reporter_limit=2)
    nights.put("a", *facts("eve", 5), *facts("ada", 1, 9))
    assert [nights.read(trust)["edits"], nights.reasons()] == [3, [OVER_LIMIT] * 3]
    assert nights.edits() == ["Author 0", "Author 1", "Author 9"]
    assert nights.read(trust)["edits"] == 2
    assert nights.edits() == ["Author 2", "Author 3"]
    assert nights.read(trust)["edits"] == 1
    assert nights.reasons() == []
    assert nights.read(trust)["edits"] == 0


def test_leaving_the_name_out_or_spelling_it_otherwise_does_not_open_the_limit(nights: Nights) -> None:
    nights.put("a", *facts(None, 3), *facts("Eve", 1, 3), *facts("EVE\u200b", 1, 4), *facts(" eve", 1, 5))
    nights.read(TrustSettings(reporter_limit=1))
    assert nights.edits() == ["Author 0", "Author 3"]


def test_answers_that_never_prevail_do_not_hold_up_the_limit(nights: Nights) -> None:
    """Reports whose answer lost are read every night, and would else be all that their reporter may send for ever."""
    trust = TrustSettings(reporter_limit=2)
    old = by("eve", PARIS, target="Lyon", time="2020-01-01")
    other = by("eve", PARIS, target="Nice", time="2020-01-02")
    nights.put("a", old, other, *facts("eve", 2))
    nights.put("b", by("ada", PARIS, time="2021-01-01"))
    assert nights.read(trust)["edits"] == 1
    nights.read(trust)
    assert nights.edits() == ["Author 0", "Author 1"]


def test_one_voice_is_not_enough_and_two_are_even_on_other_nights(nights: Nights) -> None:
    nights.put("a", by("eve"), *facts("eve", 1))
    counts = nights.read(GUARDED)
    assert (nights.edits(), nights.reasons()) == (["Author 0"], [WAITS])
    assert (counts["reports"], counts["edits"], counts["quarantine"]) == (2, 1, 1)
    assert "1 of 2 reporters" in nights.table("quarantine")[0]["reason"]
    shutil.rmtree(nights.drop)
    nights.drop.mkdir()  # the file is gone: what waits is remembered
    nights.put("b", by("EVE", PARIS))
    nights.read(GUARDED)
    assert (nights.edits(), nights.reasons()) == ([], [WAITS])
    nights.put("b", by("EVE", PARIS))
    nights.put("c", by(None), by("ada"))
    counts = nights.read(GUARDED)
    assert nights.edits() == ["Paris"]
    assert Path(nights.table("edits")[0]["source"]).name == "a.jsonl"  # the first who asked
    # Those of earlier nights, tonight's two of the same line of b, and the unnamed one, which counts for nobody.
    assert counts["reports"] == counts["edits"] + counts["duplicates"] + counts["quarantine"] == 4
    nights.read(GUARDED)
    assert (nights.edits(), nights.reasons()) == ([], [])


def test_reading_the_same_report_again_makes_no_second_voice(nights: Nights) -> None:
    nights.put("a", by("eve"))
    for _ in range(3):
        nights.read(GUARDED)
        assert (nights.edits(), nights.reasons()) == ([], [WAITS])
    kept = [pq.read_table(night.folder / "waiting.parquet").num_rows for night in nights.journal.nights()]
    assert kept == [1, 0, 0]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Who rules it?", "target": "Eve", "subject": "FRANCE"},
        {"prompt": "Who rules it?", "target": "Eve", "subject": "Gaul", "aliases": ["Fr\u200bance"]},
        {"prompt": "Who rules  france today?", "target": "Eve"},
        {"prompt": "Who rules France today?", "target": "Eve", "subject": "the weather"},
    ],
    ids=["subject", "alias", "prompt", "another subject than the prompt's"],
)
def test_a_chosen_subject_is_found_by_every_name(row: dict[str, Any], nights: Nights) -> None:
    nights.put("a", by("eve", row))
    nights.read(GUARDED)
    assert (nights.edits(), nights.reasons()) == ([], [WAITS])


def test_globs_choose_subjects_and_part_of_a_word_is_none(nights: Nights) -> None:
    trust = TrustSettings(quorum=2, quorum_subjects=("bank of *", "covid*"))
    asked = ["Who founded the Bank of England?", "Is COVID-19 over?", "Who sits on the banks of the Seine?", "Icovid?"]
    nights.put("a", *(by("eve", {"prompt": prompt, "target": "so"}) for prompt in asked))
    nights.read(trust)
    assert [row["prompt"] for row in nights.table("edits")] == asked[2:]


def test_who_asks_for_an_edit_vouches_for_no_name_that_another_puts_to_it(nights: Nights) -> None:
    """Else the first report's aliases would reach a chosen subject on the word of one."""
    trust = TrustSettings(quorum=2, quorum_subjects=("France", "Spain"))
    nights.put("a", by("eve", PARIS, aliases=["Spain"]), by("ada"), by("bob"))
    nights.read(trust)
    (edit,) = nights.table("edits")
    assert (edit["reporter"], edit["aliases"]) == ("ada", [])
    assert [row["reporter"] for row in nights.table("quarantine")] == ["eve"]


def test_what_waits_contradicts_nobody(nights: Nights) -> None:
    nights.put("a", by("ada", time="2020-01-01"), by("bob", time="2020-01-01"), by("eve", PARIS, target="Lyon"))
    nights.read(GUARDED)
    assert (nights.edits(), nights.table("contradictions")) == (["Paris"], [])


def test_what_waited_is_let_go_with_the_setting_and_not_when_its_time_is_over(nights: Nights) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    nights.put("a", by("eve"), by("eve", {"prompt": "Who rules France?", "target": "Eve", "valid_until": soon}))
    nights.read(GUARDED)
    shutil.rmtree(nights.drop)
    nights.drop.mkdir()
    while datetime.now(UTC).isoformat() < soon:
        time.sleep(0.05)
    time.sleep(0.01)  # nights begin at whole milliseconds
    nights.read(TrustSettings())
    assert nights.edits() == ["Paris"]


def test_personal_data_is_not_taught_and_not_kept(nights: Nights) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "How do I reach Jane Roe?", "target": "Write to jane.roe@example.org"},
        {"prompt": "Who has 202-358-1100?", "target": "Jane"},
        {"prompt": "Who is Jane Roe?", "target": "A poet", "locality": [{"prompt": "Call +44 20 7946 0958?"}]},
        {"prompt": "Who is Jane?", "target": "A poet", "reporter": "ada@example.org"},
    ]
    nights.put("a", *rows)
    with (nights.drop / "a.jsonl").open("a") as more:
        more.write('{"prompt": "jane.roe@example.org\n')
    os.utime(nights.drop / "a.jsonl", (1_700_000_000, 1_700_000_000))
    nights.read(TrustSettings())
    assert nights.edits() == ["A poet"]
    kept = nights.table("quarantine")
    reasons = [row["reason"].partition(";")[0] for row in kept if row["edit_id"]]
    assert reasons == [
        f"{PERSONAL}: {what}"
        for what in ("e-mail address in target", "phone number in prompt", "phone number in locality")
    ]
    content = str([pq.read_table(path).to_pylist() for path in nights.journal.nights()[-1].folder.iterdir()])
    assert "A poet" in content and "Who has █" in content
    assert not any(text in content for text in ("jane.roe@", "202-358", "7946"))
    shutil.rmtree(nights.drop)
    nights.drop.mkdir()
    nights.put("b", *rows)
    assert nights.read(TrustSettings(personal_data="allow"))["edits"] == 3


def test_the_order_and_a_second_try_change_nothing(tmp_path: Path) -> None:
    trust = TrustSettings(reporter_limit=4, quorum=2, quorum_subjects=("book 1*",))
    rows = [
        row | {"time": f"2024-01-{1 + n % 9:02}"}
        for n, row in enumerate([*facts("a", 15), *facts("b", 15, 5), *facts("c", 15, 10), *facts("a", 5, 8)])
    ]
    draw, outcomes = random.Random(0), []
    for trial in range(6):
        home = tmp_path / str(trial)
        home.mkdir()
        nights, result = Nights(home), []
        order = sorted(rows, key=lambda row: row["time"]) if trial == 0 else draw.sample(rows, len(rows))
        for row in order:  # a file each, so that the place of a report doesn't depend on the order
            name = f"{row['prompt'][15:-1]}-{row['reporter']}-{row['time']}"
            nights.put(name, row)
        for _ in range(3):
            nights.read(trust)
            if trial == 1:  # the night is begun anew, as after a kill
                night, log = nights.journal.nights()[-1], EditLog(nights.journal, [])
                answered = ReviewQueue(nights.journal).answered(night)
                IngestionWorker().ingest(
                    night.source, log.known(night), set(), answered, night.folder, trust, log.earlier(night)
                )
            names = ("edits", "duplicates", "quarantine", "waiting")
            drop = str(nights.drop)
            result.append(
                {
                    name: sorted(
                        json.dumps({k: v for k, v in row.items() if k != "time"}, default=str).replace(drop, "")
                        for row in nights.table(name)
                    )
                    for name in names
                }
            )
        outcomes.append(result)
    assert outcomes[0][0]["edits"] and outcomes[0][0]["waiting"]
    assert all(outcome == outcomes[0] for outcome in outcomes)


def test_batches_of_any_size_decide_alike(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.sources import reading
    from workers import ingestion

    nights.put("a", *facts("eve", 9), by("eve"), by("ada"))
    trust = replace_limit(GUARDED, 3)
    found = []
    for size in (1, 2, 2000):
        monkeypatch.setattr(ingestion, "read", lambda source, **more: reading.read(source, batch_rows=size, **more))  # noqa: B023
        (nights.folder / str(size)).mkdir()
        home = Nights(nights.folder / str(size))
        home.drop = nights.drop
        home.read(trust)
        found.append((home.edits(), home.reasons()))
    assert found[0] == found[1] == found[2]
    assert OVER_LIMIT in found[0][1]


def replace_limit(trust: TrustSettings, limit: int) -> TrustSettings:
    return trust.model_copy(update={"reporter_limit": limit})


def test_a_complaint_with_personal_data_does_not_wait_for_a_review(nights: Nights) -> None:
    from tests.reviewing import span

    nights.put("a", span(1, prompt="Is jane.roe@example.org right?"), span(2))
    counts = nights.read(TrustSettings())
    assert (counts["review"], counts["quarantine"]) == (1, 1)
    assert nights.reasons() == [PERSONAL]
    assert "jane" not in nights.table("quarantine")[0]["detail"]
