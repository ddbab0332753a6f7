"""What a report may hold, and the row of ``REPORTS`` that comes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from pipeline.editing.edit import Edit
from pipeline.sources.strict_json import ReportError, dump

PROMPT_CHARACTERS = 20_000
TARGET_CHARACTERS = 4_000
NAME_CHARACTERS = 1_000
METADATA_BYTES = 16 * 1024
WORDINGS = 64
"""Rephrases, locality prompts, and names of the subject besides its own, of one report."""
AHEAD = timedelta(days=1)
"""How far a report's time may lie in the future: clocks are off and time zones forgotten, but the latest report
prevails, so that none may name a day that never comes."""


def _says_something(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank")
    return text


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("true or false came, expected a time")
    return value


def counted(value: Any) -> Any:
    """A number as text: versions are counted."""
    return str(value) if type(value) is int else value


_SAYING = AfterValidator(_says_something)
Prompt = Annotated[str, StringConstraints(strict=True, max_length=PROMPT_CHARACTERS), _SAYING]
Target = Annotated[str, StringConstraints(strict=True, max_length=TARGET_CHARACTERS), _SAYING]
Name = Annotated[str, StringConstraints(strict=True, max_length=NAME_CHARACTERS), _SAYING]
Time = Annotated[datetime, BeforeValidator(_no_bool), AfterValidator(_in_utc)]


class Dated(BaseModel):
    """What somebody sent in, at a time if it says so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: Time | None = None


Sent = TypeVar("Sent", bound=Dated)


class Near(BaseModel):
    """A prompt whose answer must not change."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: Prompt
    target: Target | None = None


class Report(Dated):
    """What somebody sent in, checked. Texts stay as they were sent; a time without a zone is UTC."""

    prompt: Prompt
    target: Target
    rephrases: list[Prompt] = Field(default=[], max_length=WORDINGS)
    locality: list[Near] = Field(default=[], max_length=WORDINGS)
    subject: Name | None = None
    aliases: list[Name] = Field(default=[], max_length=WORDINGS)
    reporter: Name | None = None
    model_version: Annotated[Name, BeforeValidator(counted)] | None = None
    evidence: Prompt | None = None
    tenant: Name | None = None
    valid_until: Time | None = None
    metadata: dict[str, Any] = {}


def checked(fields: dict[str, Any], modified: datetime, now: datetime) -> dict[str, Any]:
    """A row of ``REPORTS``, without ``source`` and ``line``.

    Args:
        fields: of ``Report``, as they came.
        modified: when the file was last changed, the report's time where it has none.
        now: what times are compared with.

    Raises:
        ReportError: naming each field that is wrong, what came and what was expected.
    """
    report = valid(Report, fields, now)
    if report.valid_until is not None and report.valid_until <= now:
        raise ReportError(f"valid_until: it was valid until {report.valid_until.isoformat()} only")
    return report.model_dump() | {
        "edit_id": Edit(report.prompt, report.target).edit_id,
        "time": report.time or modified,
        "metadata": metadata_text(report.metadata),
    }


def valid(model: type[Sent], fields: dict[str, Any], now: datetime) -> Sent:
    """The fields as a model has them.

    Args:
        model: what they are to be.
        fields: as they came.
        now: what the time is compared with.

    Raises:
        ReportError: naming each field that is wrong, what came and what was expected.
    """
    try:
        found = model.model_validate(fields)
    except ValidationError as error:
        raise ReportError(_reason(error)) from None
    if found.time is not None and found.time > now + AHEAD:
        raise ReportError(f"time: {found.time.isoformat()} lies in the future, expected when it was reported")
    return found


def metadata_text(metadata: dict[str, Any]) -> str:
    """As JSON.

    Raises:
        ReportError: it has no such form, or one that is too long.
    """
    try:
        text = dump(metadata)
    except ReportError as error:
        raise ReportError(f"metadata: {error}") from None
    if (size := len(text.encode())) > METADATA_BYTES:
        raise ReportError(f"metadata: {size} bytes of JSON came, expected at most {METADATA_BYTES}")
    return text


def _reason(error: ValidationError, most: int = 3) -> str:
    """Its first problems, one after another; the values themselves are in the quarantine's detail."""
    problems = error.errors(include_url=False, include_context=False)
    told = []
    for problem in problems[:most]:
        where = ".".join(map(str, problem["loc"]))[:80]
        message = problem["msg"].removeprefix("Value error, ")
        came = "" if problem["type"] in ("missing", "value_error") else f" ({type(problem['input']).__name__} came)"
        told.append(f"{where}: {message}{came}")
    if len(problems) > most:
        told.append(f"and {len(problems) - most} more")
    return "; ".join(told)
