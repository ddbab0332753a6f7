"""What a complaint may hold, and the row of ``REVIEW`` that comes of it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from pipeline.sources.feedback import Complaint
from pipeline.sources.report import PROMPT_CHARACTERS, Dated, Name, Prompt, counted, metadata_text, valid
from pipeline.sources.strict_json import dump


class Complained(Dated):
    """Feedback that an answer was wrong, checked."""

    prompt: Prompt
    said: Annotated[str, StringConstraints(strict=True, max_length=PROMPT_CHARACTERS)] | None = None
    rating: Name
    reporter: Name | None = None
    model_version: Annotated[Name, BeforeValidator(counted)] | None = None
    evidence: Prompt | None = None
    metadata: dict[str, Any] = Field(default={})


def checked_complaint(complaint: Complaint, modified: datetime, now: datetime) -> dict[str, Any]:
    """A row of ``REVIEW``, without ``source`` and ``line``.

    Args:
        complaint: as a tool's layout tells it.
        modified: when the file was last changed, the complaint's time where it has none.
        now: what times are compared with.

    Raises:
        ReportError: naming each field that is wrong, what came and what was expected.
    """
    found = valid(Complained, complaint.fields, now)
    return found.model_dump() | {
        "complaint_id": hashlib.sha256(dump(complaint.key).encode()).hexdigest()[:32],
        "time": found.time or modified,
        "metadata": metadata_text(found.metadata),
    }
