"""The policy: which of a night's reports are let through to admission, by the trust settings.

What a report itself shows (its reporter, personal data) is told at once. What depends on the others of the night (the
limit of its reporter, a quorum) is told when all are read, so that their order does not matter.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from pipeline.editing.edit import normalise
from pipeline.settings import TrustSettings
from pipeline.sources.admission import Aside, Place
from pipeline.sources.personal import PersonalData
from schemas.reports import QUARANTINE, REPORTS

NOT_TRUSTED, PERSONAL, OVER_LIMIT, WAITS = "not trusted", "personal data", "over the limit", "waits for a quorum"
"""Begin the reasons in quarantine of what the policy does not let through."""
DETAIL_CHARACTERS = 500
REVIEWED = "melo review"
"""Source of reviewers' answers, which no file can have. Reviewers are let into the home: neither the list of reporters
nor their limit is about them."""

Ask = tuple[str, str, int]
"""A report by what it asks for and where it stands: id of the edit, source and line."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the policy remembers of earlier nights.

    Attributes:
        waiting: of schema ``REPORTS``: those that waited for a quorum then.
        counted: reports that were let through, but whose answer did not prevail; no limit counts them again.
    """

    waiting: pa.Table = field(default_factory=REPORTS.empty_table)
    counted: frozenset[Ask] = frozenset()


@dataclass(frozen=True, slots=True)
class _Held:
    """A report that waits for the end of the night.

    Attributes:
        place: by which reports are ordered.
        edit: what it asks for.
        reporter: who sent it, normalised; empty without a name.
        names: chosen subjects that it is about.
        where: number of its batch, and row of that.
        again: whether it was read on an earlier night, and waited.
    """

    place: Place
    edit: str
    reporter: str
    names: frozenset[str]
    where: tuple[int, int]
    again: bool

    @property
    def ask(self) -> Ask:
        return self.edit, self.place[1], self.place[2]


class Policy:
    """The reports of one night, in three calls: ``sort`` batch by batch, then ``decide`` and ``waiting``.

    Args:
        trust: the settings.
        known: see ``admit``; reports of known edits are let through, since nothing comes of them.
        earlier: of the nights before.
        now: the time of quarantine.
    """

    def __init__(
        self, trust: TrustSettings, known: Mapping[str, Aside | None], earlier: Earlier, now: datetime
    ) -> None:
        self._trust = trust
        self._known = known
        self._earlier = earlier
        self._now = now
        self._personal = PersonalData(trust.phone_regions) if trust.personal_data == "refuse" else None
        self._reporters = [plain(pattern) for pattern in trust.reporters]
        self._subjects = {pattern: _in_text(pattern) for pattern in map(plain, trust.quorum_subjects)}
        self._batches: list[pa.RecordBatch] = []
        self._held: list[_Held] = []
        self._waits = REPORTS.empty_table()
        self._hold(earlier.waiting.combine_chunks().to_batches(), again=True)

    def masked(self, text: str) -> str:
        """A text without personal data, where the settings refuse it."""
        return text if self._personal is None else self._personal.masked(text)

    def sort(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """What of a batch of schema ``REPORTS`` passes at once, and rows of ``QUARANTINE``; the rest is held."""
        refused: list[dict[str, Any]] = []
        passed: list[int] = []
        left: list[int] = []
        for number, row in enumerate(batch.to_pylist()):
            if reason := self._refusal(row):
                refused.append(self._quarantined(row, reason))
            elif self._settled(row) or not self._undecided(row):
                passed.append(number)
            else:
                left.append(number)
        self._hold([batch.take(pa.array(left, pa.int64()))])
        return batch.take(pa.array(passed, pa.int64())), _rows(refused)

    def decide(self) -> tuple[pa.RecordBatch, pa.RecordBatch, int]:
        """What is let through of all that was held, rows of ``QUARANTINE``, and how many of the former came earlier."""
        places = {held.ask for held in self._held if held.again}
        here = {held.ask for held in self._held if not held.again}
        refused, kept = self._over_limit(places | self._earlier.counted)
        asking: defaultdict[str, list[_Held]] = defaultdict(list)
        for held in kept:
            asking[held.edit].append(held)
        passed, again, waits = [], 0, []
        for held in kept:
            who = {one.reporter for one in asking[held.edit] if one.reporter and held.names <= one.names}
            if held.again and held.ask in here:
                continue  # it was read again, and stands here twice
            if not held.names or len(who) >= self._trust.quorum:
                passed.append(held)
                again += held.again
            elif not held.again:
                about = ", ".join(sorted(held.names))
                reason = (
                    f"{WAITS}: {len(who)} of {self._trust.quorum} reporters asked for it so far, which {about} needs; "
                    "it is counted together with those of later nights"
                )
                refused.append(self._quarantined(self._row(held), reason))
                if held.ask not in places:
                    waits.append(held)
        self._waits = self._table(waits)
        chosen = self._table(passed).combine_chunks().to_batches()
        return chosen[0] if chosen else pa.RecordBatch.from_pylist([], schema=REPORTS), _rows(refused), again

    @property
    def waiting(self) -> pa.Table:
        """Of schema ``REPORTS``: what waits for a quorum and did not on an earlier night."""
        return self._waits

    def _refusal(self, row: dict[str, Any]) -> str:
        """Why a report is not let through whatever else comes; empty if it may be."""
        reporter = plain(row["reporter"] or "")
        if self._reporters and row["source"] != REVIEWED and not _matches(reporter, self._reporters):
            who = f"reporter {row['reporter']!r}" if row["reporter"] else "a report without a reporter"
            return f"{NOT_TRUSTED}: {who[:200]} came, expected one of those in MELO_TRUST__REPORTERS"
        return self.personal(_texts(row))

    def personal(self, texts: Iterable[tuple[str, str | None]]) -> str:
        """Why texts, by field, are not let through; empty if they may be."""
        if self._personal is None:
            return ""
        found = dict.fromkeys(
            f"{one.kind} in {name}" for name, text in texts for one in self._personal.find(text or "")
        )
        return f"{PERSONAL}: {', '.join([*found][:5])}; expected facts about the world" if found else ""

    def _settled(self, row: dict[str, Any]) -> bool:
        """Whether nothing new comes of a report."""
        edit = row["edit_id"]
        aside = self._known.get(edit)
        if aside is None:
            return edit in self._known
        return aside.settles((row["time"], row["source"], row["line"]))

    def _undecided(self, row: dict[str, Any]) -> bool:
        return self._trust.reporter_limit is not None or bool(self._names(row))

    def _names(self, row: dict[str, Any]) -> frozenset[str]:
        """The chosen subjects that a report is about, by any name of its subject or in its prompt."""
        if self._trust.quorum < 2:
            return frozenset()
        named = [plain(name) for name in [row["subject"] or "", *(row["aliases"] or ())] if name]
        prompt = plain(row["prompt"])
        return frozenset(
            pattern
            for pattern, in_text in self._subjects.items()
            if in_text.search(prompt) or any(fnmatch.fnmatchcase(name, pattern) for name in named)
        )

    def _hold(self, batches: Iterable[pa.RecordBatch], again: bool = False) -> None:
        for batch in batches:
            for number, row in enumerate(batch.to_pylist()):
                if again and (self._settled(row) or self._refusal(row)):
                    continue
                place, where = (row["time"], row["source"], row["line"]), (len(self._batches), number)
                reporter = plain(row["reporter"] or "")
                self._held.append(_Held(place, row["edit_id"], reporter, self._names(row), where, again))
            self._batches.append(batch)

    def _over_limit(self, counted: Iterable[Ask]) -> tuple[list[dict[str, Any]], list[_Held]]:
        """Those over their reporter's limit as rows of ``QUARANTINE``, and the others in the order of their places.

        All reports without a reporter are of one, as it were: to leave the name out opens no door.
        """
        counted, limit = set(counted), self._trust.reporter_limit
        refused, kept = [], []
        sent: defaultdict[str, int] = defaultdict(int)
        for held in sorted(self._held, key=lambda held: held.place):
            if limit is not None and not (held.again or held.place[1] == REVIEWED or held.ask in counted):
                sent[held.reporter] += 1
                if sent[held.reporter] > limit:
                    reason = (
                        f"{OVER_LIMIT}: {limit} reports of one reporter and night may become edits; it is taken up "
                        "when it is read again"
                    )
                    refused.append(self._quarantined(self._row(held), reason))
                    continue
            kept.append(held)
        return refused, kept

    def _row(self, held: _Held) -> dict[str, Any]:
        batch, number = held.where
        found: dict[str, Any] = self._batches[batch].slice(number, 1).to_pylist()[0]
        return found

    def _table(self, chosen: list[_Held]) -> pa.Table:
        by_batch: defaultdict[int, list[int]] = defaultdict(list)
        for held in chosen:
            by_batch[held.where[0]].append(held.where[1])
        parts = [self._batches[batch].take(pa.array(rows, pa.int64())) for batch, rows in sorted(by_batch.items())]
        return pa.Table.from_batches(parts, REPORTS)

    def _quarantined(self, row: dict[str, Any], reason: str) -> dict[str, Any]:
        detail = self.masked(f"{row['prompt']} -> {row['target']}")[:DETAIL_CHARACTERS]
        place = {name: row[name] for name in ("source", "line", "edit_id", "reporter")}
        return place | {"reason": reason, "detail": detail, "time": self._now}


def plain(text: str) -> str:
    """A name as it is compared: normalised, without characters that show nothing."""
    return normalise("".join(letter for letter in text if unicodedata.category(letter) != "Cf"))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _in_text(pattern: str) -> re.Pattern[str]:
    """A glob as words of a text; what it leaves open ends with the word."""
    words = "".join({"*": r"\w*", "?": r"\w"}.get(letter, re.escape(letter)) for letter in pattern)
    return re.compile(rf"(?<!\w){words}(?!\w)")


def _texts(row: dict[str, Any]) -> Iterable[tuple[str, str | None]]:
    """What a model would be taught or asked, by field."""
    yield from ((name, row[name]) for name in ("prompt", "target", "subject"))
    yield from ((name, text) for name in ("rephrases", "aliases") for text in row[name] or ())
    yield from (("locality", text) for near in row["locality"] or () for text in near.values())


def _rows(refused: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(refused, schema=QUARANTINE)
