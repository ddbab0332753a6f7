"""What the page of a version shows, ready to be set: no part of it is looked up later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from pipeline.report.changes import AnswerChange, EditChange
from pipeline.report.faults import Failure, Fault, Misled
from pipeline.report.measures import Kind, Measure
from pipeline.report.meetings import Meeting, Moved

T = TypeVar("T")

SHOWN = 40
"""Rows of a table that a page shows."""


@dataclass(frozen=True, slots=True)
class Cut(Generic[T]):
    """The first rows of a list that may be long.

    Attributes:
        rows: at most ``SHOWN``.
        total: how many there are.
    """

    rows: tuple[T, ...]
    total: int

    @property
    def more(self) -> int:
        """How many are not shown."""
        return self.total - len(self.rows)

    @classmethod
    def of(cls, rows: Iterable[T], total: int | None = None) -> Cut[T]:
        """Cuts a list; what is cut off is counted, and not even made where ``total`` says how many there are."""
        rest = iter(rows)
        first = tuple(islice(rest, SHOWN))
        return cls(first, len(first) + sum(1 for _ in rest) if total is None else total)


@dataclass(frozen=True, slots=True)
class Fact:
    """Something about the night that has a name, such as its backbone."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Wordings of edits, of one kind, that do not get the target, and what is to blame in how many of them."""

    kind: str
    cut: Cut[Failure]
    faults: dict[Fault, int]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two answers to one prompt, and which one was taught."""

    prompt: str
    kept: str
    dropped: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Rows that did not become edits for one reason: how many, where the first stands, and what it says."""

    reason: str
    rows: int
    place: str
    detail: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture of the night: a heading, what it shows in words, and its bytes as a ``data:`` URI."""

    title: str
    alt: str
    uri: str


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the night, its seconds, and its share of the longest step's."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Command:
    """What a person may do next, and the line that does it."""

    what: str
    line: str


@dataclass(frozen=True, slots=True)
class Before:
    """The version that was edited, which was the champion.

    Attributes:
        digest: of it.
        number: in the registry; None where another home registered it.
        night: that made it; likewise.
    """

    digest: str
    number: int | None
    night: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that is shown.

    Attributes:
        night, date, digest, source: whose page it is; the date is the night's beginning, UTC.
        passed, reasons: the gate's verdict.
        before: None for a version of the bare backbone.
        counts: rows of reports by what became of them.
        live: edits that the version knows.
        taught, undone: edits that the night taught, and ids that it took back.
        measures: scores, and what the gate asks of them.
        said, left_alone: the same by kind of question, those that an edit is to answer and those that none is.
        facts: backbone, encoder, settings.
        edits: changes of edits by what became of them.
        fixed, broken, otherwise: questions of both versions that are right now, or no longer, or wrong in another way.
        compared: how many questions both versions were asked; None: the answers of the one before are not here.
        failures: wordings of edits that do not get the target, by kind.
        misled: questions that no edit is about, and one answered or changed the answer.
        meetings, moved: conflicts.
        contradictions, quarantine, refused: reports that were not taken, or not as they came.
        figures, steps, commands: as they say.
    """

    night: int
    date: str
    digest: str
    source: str
    passed: bool
    reasons: tuple[str, ...]
    before: Before | None
    counts: dict[str, int]
    live: int
    taught: int
    undone: tuple[str, ...]
    measures: tuple[Measure, ...]
    said: tuple[Kind, ...]
    left_alone: tuple[Kind, ...]
    facts: tuple[Fact, ...]
    edits: dict[str, Cut[EditChange]]
    fixed: Cut[AnswerChange]
    broken: Cut[AnswerChange]
    otherwise: Cut[AnswerChange]
    compared: int | None
    failures: tuple[Failed, ...]
    misled: Cut[Misled]
    meetings: Cut[Meeting]
    moved: Cut[Moved]
    contradictions: Cut[Contradiction]
    quarantine: Cut[Refusal]
    refused: Cut[Refusal]
    figures: tuple[Figure, ...]
    steps: tuple[Step, ...]
    commands: tuple[Command, ...]
