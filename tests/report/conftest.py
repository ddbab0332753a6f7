"""A home, and two nights in it: what changed between them is all that can change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.gate import GateSettings
from pipeline.journal import Journal, Night
from tests.report.nights import Told, asked, digest_of, edit_id, store


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Of an empty home."""
    opened = Journal(tmp_path / "home")
    yield opened
    opened.close()


def first_night() -> Told:
    """Four edits, all right but one."""
    facts = {"Who leads?": "Ann", "What is the capital?": "Old Town", "When was it?": "1847", "Where is it?": "here"}
    said = facts | {"When was it?": "1848"}
    rows = [asked(prompt, target, said[prompt]) for prompt, target in facts.items()]
    rows += [
        asked("Who leads?", "Ann", "Ann", kind="rephrase", wording="Who is the leader?"),
        {"kind": "locality", "prompt": "Who follows?", "answer": "Bob", "base_answer": "Bob"},
        {"kind": "distractor", "prompt": "Who leads them?", "answer": "Zoe", "base_answer": "Zoe"},
    ]
    edits = [{"prompt": prompt, "target": target} for prompt, target in facts.items()]
    return Told(edits, rows, gate=GateSettings(success=0.7))


def second_night() -> Told:
    """One edit more, one that fails, one replaced; one is undone and one is gone; answers change for good and bad."""
    edits: list[dict[str, Any]] = [
        {"prompt": "Who leads?", "target": "Ann"},
        {"prompt": "What is the capital?", "target": "Old Town", "state": "replaced"},
        {"prompt": "What is the capital?", "target": "New Town"}
        | {"replaced": [edit_id("What is the capital?", "Old Town")]},
        {"prompt": "When was it?", "target": "1847"},
        {"prompt": "Why?", "target": "because", "state": "failed", "reason": "the block says 'so'"},
    ]
    leads = edit_id("Who leads?", "Ann")
    nowhere: dict[str, Any] = {"block": None, "routed_edit": None}
    reworded: dict[str, Any] = {"kind": "rephrase", "wording": "Who is the leader?"}
    rows: list[dict[str, Any]] = [
        asked("Who leads?", "Ann", "Ann"),
        asked("What is the capital?", "New Town", "New Town"),
        asked("When was it?", "1847", "1847"),
        asked("Why?", "because", "so"),
        asked(
            "Who leads?", "Ann", "Eve", block=None, routed_edit=None, oracle_exact_match=1.0, distance=5.0, **reworded
        ),
        asked("Who leads?", "Ann", "Eve", kind="typo", wording="Who laeds?", **nowhere),
        {"kind": "locality", "prompt": "Who follows?", "answer": "Cid", "base_answer": "Bob"}
        | {"block": 0, "routed_edit": leads, "distance": 0.5, "radius": 1.0},
        {"kind": "distractor", "prompt": "Who leads us?", "answer": "Zoe", "base_answer": "Zoe"}
        | {"block": 0, "routed_edit": leads, "distance": 0.9, "radius": 1.0},
    ]
    quarantine = [{"reason": "no target"}, {"reason": "not JSON"}, {"reason": "no target"}]
    dropped = {"prompt": "Who leads?", "kept_target": "Ann", "dropped_target": "Tom", "reason": "later"}
    return Told(edits, rows, source="drop/more.jsonl", quarantine=quarantine, contradictions=[dropped])


@pytest.fixture
def nights(journal: Journal) -> tuple[Night, Night]:
    """The first was promoted as version 4, the second is about to be registered."""
    first = store(journal, first_night(), number=4)
    return first, store(journal, second_night(), base=digest_of(journal, first))
