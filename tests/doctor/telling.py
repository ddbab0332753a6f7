"""What a look says, in short."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.doctor.examination import within
from pipeline.doctor.finding import Finding, Look
from pipeline.settings import Settings


def states(found: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(each.part, each.state) for each in found]


def only(look: Look, settings: Settings, part: str | None = None) -> Finding:
    """The one finding of a look, or its one of a part."""
    found = [each for each in within("-", look, settings, 120) if part in (None, each.part)]
    assert len(found) == 1, found
    return found[0]
