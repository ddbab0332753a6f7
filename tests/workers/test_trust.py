"""Whole nights with edits that end and reporters that are not trusted any more, and the trail that they leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from pipeline import journal as journal_module
from pipeline.cli import app
from pipeline.editing.edit import Edit
from pipeline.editing.model import EditedModel
from pipeline.run import RunResult
from tests.workers.conftest import SERVERS
from tests.workers.nights import FACTS, do, write
from tests.workers.two_nodes import TwoNodes

(FIRST, SECOND, THIRD, FOURTH, FIFTH) = FACTS.items()


@dataclass
class Story:
    """Three nights an hour apart, by the journal's clock."""

    home: Path
    backbone: Path
    nights: list[RunResult] = field(default_factory=list)

    def edits(self, night: int) -> dict[str, str]:
        table = pq.read_table(self.home / "versions" / str(self.nights[night - 1].digest) / "edits.parquet")
        return dict(zip(table["prompt"].to_pylist(), table["state"].to_pylist(), strict=True))

    def melo(self, patch: pytest.MonkeyPatch, *arguments: str) -> Result:
        patch.setenv("MELO_HOME", str(self.home))
        patch.setenv("MELO_BACKBONE", str(self.backbone))
        patch.setenv("COLUMNS", "200")
        return CliRunner().invoke(app, list(arguments))


def line(fact: tuple[str, str], reporter: str, **more: Any) -> str:
    return json.dumps({"prompt": fact[0], "target": fact[1], "reporter": reporter} | more)


def ident(fact: tuple[str, str]) -> str:
    return Edit(*fact).edit_id


@pytest.fixture(scope="module")
def story(cluster: TwoNodes, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    start = datetime.now(UTC)
    told = Story(folder / "home", backbone)
    with pytest.MonkeyPatch.context() as patch:
        for name in SERVERS:
            patch.delenv(name, raising=False)
        first = write(
            folder / "first.jsonl",
            {},
            line(FIRST, "eve"),
            line(SECOND, "eve"),
            line(SECOND, "ada"),
            line(THIRD, "ada", valid_until=(start + timedelta(minutes=30)).isoformat()),
            line(FOURTH, "ada", valid_until=(start + timedelta(minutes=90)).isoformat()),
        )
        second = write(folder / "second.jsonl", {}, line(FIFTH, "eve"))
        for hours, source in enumerate((first, second, second)):
            now = (start + timedelta(hours=hours)).isoformat(timespec="milliseconds")
            patch.setattr(journal_module, "_now", lambda now=now: now)
            told.nights.append(do(told.home, source, backbone))
    yield told


def test_an_edit_whose_time_is_over_leaves_with_the_next_version(story: Story) -> None:
    _, second, third = story.nights
    assert all(night.promoted for night in story.nights)
    assert set(story.edits(1).values()) == {"live"}
    assert (second.expired, second.counts["edits"]) == (1, 1)  # in one version with what is new
    assert story.edits(2) == story.edits(1) | {THIRD[0]: "expired", FIFTH[0]: "live"}
    assert (third.expired, third.counts["edits"]) == (1, 0)  # and in one of its own without
    assert story.edits(3) == story.edits(2) | {FOURTH[0]: "expired"}
    assert third.scores is not None
    assert (third.scores.counts["edit"], third.scores.edit_success) == (3, 1.0)
    model = EditedModel.load(story.home / "versions" / str(third.digest), index="memory")
    assert [route.block is None for route in model.route([THIRD[0], FOURTH[0], FIFTH[0]])] == [True, True, False]
    assert model.generate([FIRST[0], SECOND[0], FIFTH[0]]) == [FIRST[1], SECOND[1], FIFTH[1]]


def test_the_trail_of_an_edit_leads_from_its_reports_to_what_serves_it(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = json.loads(story.melo(monkeypatch, "edits", "show", ident(SECOND)[:10], "--json").stdout)
    told = [(one["night"], one["line"], one["reporter"], one["became"]) for one in found["reports"]]
    assert told == [(1, 2, "eve", "first"), (1, 3, "ada", "duplicate")]
    assert [(one["number"], one["state"], one["gate"]) for one in found["versions"]] == [
        (number, "live", "passed") for number in (1, 2, 3)
    ]
    periods = found["champion"]
    assert [one["version"] for one in periods] == [1, 2, 3]
    assert [one["until"] for one in periods] == [periods[1]["since"], periods[2]["since"], None]
    assert (found["record"]["state"], found["record"]["action"]) == ("live", "add")

    ended = json.loads(story.melo(monkeypatch, "edits", "show", ident(THIRD), "--json").stdout)
    assert [(one["number"], one["state"]) for one in ended["versions"]] == [(1, "live"), (2, "expired"), (3, "expired")]
    assert [(one["how"], one["night"]) for one in ended["endings"]] == [("expired", 2)]
    assert [one["version"] for one in ended["champion"]] == [1]
    screen = " ".join(story.melo(monkeypatch, "edits", "show", ident(THIRD)).stdout.split())  # lines break by the path
    for words in (
        "first.jsonl, line 4, by ada",
        "version 2 (night 2): expired, gate passed",
        "expired on night 2",
        "valid until",
    ):
        assert words in screen, screen


def test_a_version_leads_back_to_its_reports(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads(story.melo(monkeypatch, "edits", "--version", "1", "--json").stdout)
    assert {row["prompt"]: len(row["reports"]) for row in rows} == {
        fact[0]: 2 if fact == SECOND else 1 for fact in (FIRST, SECOND, THIRD, FOURTH)
    }
    screen = story.melo(monkeypatch, "edits", "--version", "2").stdout
    assert f"{ident(FIFTH)[:12]}  live      {FIFTH[0]} -> {FIFTH[1]}\n    night 2: " in screen, screen
    assert "expired   " in story.melo(monkeypatch, "edits").stdout
    assert story.melo(monkeypatch, "edits", "--version", "9").exit_code == 1
    for beginning in ("zz", ""):
        assert story.melo(monkeypatch, "edits", "show", beginning).exit_code == 2


def test_what_rests_on_a_reporter_alone_is_taken_back(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    assert story.melo(monkeypatch, "undo").exit_code == 2
    assert story.melo(monkeypatch, "undo", "abc", "--reporter", "eve").exit_code == 2
    nobody = story.melo(monkeypatch, "undo", "--reporter", "mallory")
    assert nobody.exit_code == 2 and "no live edit" in nobody.stderr
    done = story.melo(monkeypatch, "undo", "--reporter", " EVE")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line for line in lines if "  goes" in line] == [
        f"{ident(fact)[:12]}  goes      {fact[0]} -> {fact[1]}" for fact in (FIRST, FIFTH)
    ]
    stays = next(number for number, line in enumerate(lines) if "  stays" in line)
    assert ident(SECOND)[:12] in lines[stays] and "reported by ada, too" in lines[stays + 1]
    rows = {row["prompt"]: row["state"] for row in json.loads(story.melo(monkeypatch, "edits", "--json").stdout)}
    assert [rows[fact[0]] for fact in FACTS.items()] == ["undone", "live", "expired", "expired", "undone"]
    found = json.loads(story.melo(monkeypatch, "edits", "show", ident(FIRST), "--json").stdout)
    (ending,) = found["endings"]
    assert (ending["how"], ending["night"]) == ("undone", 4)
    assert ending["why"] == "it rests on the reporter  EVE alone"
