"""What a night tells: its events, one for each report and edit, and its figures in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline import events
from pipeline.editing.folder import RECORDS
from pipeline.evaluation.gate import GateSettings, judge
from pipeline.evaluation.scores import Change, LeftAlone, Scores
from pipeline.journal import Journal, Night
from pipeline.logs import NIGHT_LOG
from pipeline.metrics import NIGHTLY, OUTCOMES
from pipeline.registry.store import RegistryError
from pipeline.registry.tracking import Registered, Registry
from pipeline.settings import Settings
from pipeline.sources.reasons import CLASSES
from schemas.edits import EDITS
from schemas.reports import CONTRADICTIONS, DUPLICATES, QUARANTINE, REPORTS, REVIEW

NOW = datetime(2026, 1, 2, tzinfo=UTC)
EVIL = 'x\n{"event": "promoted"}'


class Shelf:
    """A registry with one version, or away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.away = False

    def champion(self) -> Registered:
        if self.away:
            raise RegistryError("the store is away")
        return Registered(7, "d" * 64, self.folder, {})


class Home:
    """A home, and nights of made-up steps in it."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(home=folder)
        self.journal = Journal(folder)
        self.base = self.version("base", {"old": "live", "gone": "live"})
        self.shelf = Shelf(self.journal.versions / self.base)

    def version(self, digest: str, states: dict[str, str]) -> str:
        folder = self.journal.versions / digest
        folder.mkdir(parents=True)
        pq.write_table(
            table(EDITS, [{"edit_id": edit, "state": state} for edit, state in states.items()]), folder / RECORDS
        )
        return digest

    def begin(self) -> Night:
        return self.journal.begin("file:///reports", self.base)

    def watched(self, night: Night) -> Any:
        return events.watched(self.settings, self.journal, cast(Registry, self.shelf), night)

    def step(self, night: Night, name: str, result: dict[str, Any]) -> None:
        self.journal.step(night, name, lambda: events.step(name, night, self.journal.versions, lambda _: result))

    def figures(self) -> dict[str, float]:
        """Samples by name and the values of their labels."""
        text = (self.journal.home / "metrics.prom").read_text()
        families = text_string_to_metric_families(text)
        return {" ".join([s.name, *s.labels.values()]): s.value for family in families for s in family.samples}


def table(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows with what their schema asks for and the test does not care about."""
    fill: dict[Any, Any] = {pa.string(): "-", pa.int64(): 1, pa.int32(): 1, pa.float32(): 0.0, pa.bool_(): False}
    usual = {
        f.name: None if f.nullable else NOW if pa.types.is_timestamp(f.type) else fill.get(f.type, []) for f in schema
    }
    return pa.Table.from_pylist([usual | row for row in rows], schema=schema)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    yield home
    home.journal.close()


def reports(night: Night) -> dict[str, int]:
    """A night's tables, one row of each kind."""
    refused = [{"reason": EVIL, "line": 3, "source": EVIL}, {"reason": "passed over: right", "line": 4, "source": "a"}]
    rows = {
        "edits": table(REPORTS, [{"edit_id": "new", "source": EVIL, "line": 1, "prompt": EVIL}]),
        "duplicates": table(DUPLICATES, [{"edit_id": "old", "source": "a", "line": 2, "of": "version"}]),
        "contradictions": table(CONTRADICTIONS, [{"dropped_edit_id": "lost", "kept_edit_id": "new"}]),
        "quarantine": table(QUARANTINE, refused),
        "review": table(REVIEW, [{"complaint_id": "c", "source": "a", "line": 5, "time": NOW, "metadata": "{}"}]),
    }
    for name, rows_of in rows.items():
        pq.write_table(rows_of, night.folder / f"{name}.parquet")
    return {name: rows_of.num_rows for name, rows_of in rows.items()} | {"reports": 6, "confirmed": 1}


def scores(locality: float) -> Scores:
    left = LeftAlone(unchanged=0.9, led=0.1, low=0.05, high=0.2)
    nothing: dict[str, Any] = dict.fromkeys(("generality", "arr", "routing_precision", "routing_recall"))
    return Scores(
        **nothing,
        task="seq2seq",
        counts={"edit": 2},
        not_askable=0,
        edit_success=1.0,
        locality=locality,
        upstream=Change(before=None, after=None),
        perplexity={"edit": Change(before=float("inf"), after=2.0)},
        f1={},
        left_alone={"distractor": left},
        by_age={},
        by_source={},
        seconds_per_question=0.01,
    )


def whole(home: Home, night: Night, locality: float = 1.0) -> None:
    """All steps of a night; the gate asks for a locality of 0.9."""
    found = scores(locality)
    verdict = judge(found, None, GateSettings())
    states = {"old": "replaced", "gone": "undone", "new": "live", "hard": "failed"}
    made = home.version(f"made-{night.number}", states)
    home.step(night, "reports", reports(night))
    home.step(night, "version", {"digest": made, "taught": 2, "seconds": 4.0, "refused": {"long": "too long"}})
    home.step(night, "scores", found.model_dump(mode="json"))
    home.step(night, "gate", verdict.model_dump(mode="json"))
    home.step(night, "promoted", {"promoted": verdict.passed})
    home.journal.end(night, "promoted" if verdict.passed else "kept back")


def test_each_report_and_each_edit_is_an_event(home: Home) -> None:
    night = home.begin()
    with home.watched(night):
        whole(home, night)
    found = [json.loads(line) for line in (night.folder / NIGHT_LOG).read_text().splitlines()]
    assert {line["night"] for line in found} == {1}
    told = [
        (line["event"], line.get("step"), line.get("edit_id")) for line in found if not line["event"].startswith("step")
    ]
    assert told == [
        ("begun", None, None),
        ("admitted", "reports", "new"),
        ("duplicate", "reports", "old"),
        ("contradicted", "reports", "lost"),
        ("quarantined", "reports", None),
        ("quarantined", "reports", None),
        ("to be reviewed", "reports", None),
        ("replaced", "version", "old"),
        ("undone", "version", "gone"),
        ("learned", "version", "new"),
        ("not learned", "version", "hard"),
        ("refused", "version", "long"),
        ("passed", "gate", None),
        ("promoted", "promoted", None),
        ("ended", None, None),
    ]
    refused = [(line["reason"], line["source"]) for line in found if line["event"] == "quarantined"]
    assert refused == [("row", EVIL), ("confirmed", "a")]
    assert {line["event"] for line in found if line["event"].startswith("step")} == {"step begun", "step ended"}


def test_a_step_that_has_ended_is_not_told_again(home: Home) -> None:
    night = home.begin()
    for _ in range(2):
        with home.watched(night):
            home.step(night, "reports", reports(night))
    lines = [json.loads(line) for line in (night.folder / NIGHT_LOG).read_text().splitlines()]
    assert [line["event"] for line in lines].count("admitted") == 1
    assert [line["event"] for line in lines].count("begun") == 2


def test_the_figures_of_a_night(home: Home) -> None:
    night = home.begin()
    with home.watched(night):
        whole(home, night)
    found = home.figures()
    wanted = {
        "melo_night_number": 1,
        "melo_night_outcome promoted": 1,
        "melo_night_outcome failed": 0,
        "melo_night_reports": 6,
        "melo_night_reports_became edits": 1,
        "melo_night_reports_became quarantine": 2,
        "melo_night_quarantined row": 1,
        "melo_night_quarantined confirmed": 1,
        "melo_night_quarantined cut short": 0,
        "melo_night_edits_taught": 2,
        "melo_night_edits_refused": 1,
        "melo_night_teaching_seconds": 4,
        "melo_night_gate_passed": 1,
        "melo_night_kept_back_in_a_row": 0,
        "melo_score candidate locality": 1,
        "melo_score champion false_routes_distractor": 0.1,
        "melo_gate_check false routes": 0.1,
        "melo_gate_threshold locality": 0.9,
        "melo_champion_version": 7,
        "melo_champion_edits": 2,
        "melo_review_waiting": 1,
        "melo_review_oldest_timestamp_seconds": NOW.timestamp(),
    }
    assert {name: found.get(name) for name in wanted} == wanted
    assert found["melo_night_last_success_timestamp_seconds"] == found["melo_night_ended_timestamp_seconds"]
    assert found["melo_night_step_seconds version"] >= 0
    assert {name.split()[0] for name in found} == {metric.name for metric in NIGHTLY}
    assert {name.split(" ", 1)[1] for name in found if name.startswith("melo_night_quarantined")} == set(CLASSES)
    assert {name.split(" ", 1)[1] for name in found if name.startswith("melo_night_outcome")} == set(OUTCOMES)
    assert EVIL not in (home.journal.home / "metrics.prom").read_text()


def test_nights_that_are_kept_back_add_up_and_the_champions_scores_stay(home: Home) -> None:
    for locality in (1.0, 0.5, 0.6):
        night = home.begin()
        with home.watched(night):
            whole(home, night, locality)
    found = home.figures()
    assert (found["melo_night_kept_back_in_a_row"], found["melo_night_gate_passed"]) == (2, 0)
    assert (found["melo_score champion locality"], found["melo_score candidate locality"]) == (1.0, 0.6)
    lines = [json.loads(line) for line in (night.folder / NIGHT_LOG).read_text().splitlines()]
    (judged,) = [line for line in lines if line["event"] == "not passed"]
    assert "locality is 0.6" in judged["reasons"][0]
    assert [line["event"] for line in lines].count("kept back") == 1


@pytest.mark.parametrize(("ends", "outcome"), [(True, "failed"), (False, "stopped")])
def test_a_night_that_fails_or_stops_leaves_its_figures_too(home: Home, ends: bool, outcome: str) -> None:
    home.shelf.away = True
    night = home.begin()
    with pytest.raises(ValueError, match="no luck"), home.watched(night):
        if ends:
            home.journal.end(night, "failed: no luck")
        raise ValueError("no luck")
    found = home.figures()
    assert found[f"melo_night_outcome {outcome}"] == 1
    assert "melo_champion_version" not in found  # what is not known is not told
    assert "melo_night_last_success_timestamp_seconds" not in found
    lines = {line["event"]: line for line in map(json.loads, (night.folder / NIGHT_LOG).read_text().splitlines())}
    assert lines[outcome]["level"] == "error"
    assert lines[outcome]["exception"][0]["exc_value"] == "no luck"


def test_the_file_can_lie_elsewhere_and_a_full_disk_fails_no_night(home: Home, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    for place in (tmp_path / "collector" / "melo.prom", blocked / "melo.prom"):
        home.settings = home.settings.model_copy(update={"metrics_file": place})
        night = home.begin()
        with home.watched(night):
            home.journal.end(night, "nothing new")
    assert [file.name for file in (tmp_path / "collector").iterdir()] == ["melo.prom"]  # and no scratch beside it
    assert "could not be written" in (night.folder / NIGHT_LOG).read_text()
