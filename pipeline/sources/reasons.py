"""Classes of reasons for quarantine: few and fixed, where the reasons themselves tell of what came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pipeline.sources.feedback import CONFIRMED
from pipeline.sources.policy import NOT_TRUSTED, OVER_LIMIT, PERSONAL, WAITS
from pipeline.sources.rows.row import CUT_SHORT

CAME_BEFORE = "came before"
BEING_WRITTEN = "still being written"
_BEGINNINGS = {
    BEING_WRITTEN: "being written",
    CUT_SHORT: "cut short",
    CONFIRMED: "confirmed",
    CAME_BEFORE: "came before",
    "valid_until:": "expired",
    NOT_TRUSTED: "not trusted",
    PERSONAL: "personal data",
    OVER_LIMIT: "over the limit",
    WAITS: "waiting",
}

CLASSES = (*_BEGINNINGS.values(), "file", "row")
"""``file``: it cannot be read as a whole; ``row``: one row of it is no report. The others are what they say."""


def reason_class(reason: str, line: int) -> str:
    """The class of a row of schema ``QUARANTINE``."""
    found = next((name for beginning, name in _BEGINNINGS.items() if reason.startswith(beginning)), None)
    return found or ("row" if line else "file")


def by_class(reasons: Iterable[str], lines: Iterable[int]) -> Counter[str]:
    """How many rows of schema ``QUARANTINE`` each class has; those with none are in it, too."""
    found = Counter(dict.fromkeys(CLASSES, 0))
    found.update(reason_class(reason, line) for reason, line in zip(reasons, lines, strict=True))
    return found
