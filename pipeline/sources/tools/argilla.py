"""Argilla records: nested as ``records.to_json`` writes them, or flat as ``records.to_datasets`` does.

Argilla's documentation, "Importing and exporting datasets and records" and the Python reference of ``rg.Record`` and
``rg.Response``. The flat layout has a column a field, and for each question ``NAME.responses`` with ``.users`` and
``.status``, and ``NAME.suggestion`` with ``.agent`` and ``.score``. The nested one may lack the status: what it lists
counts as submitted then. Neither says of what kind a question is: a text is
a correction where the question's name says that answers are asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from pipeline.sources.conversations import SAID, answer, named, question
from pipeline.sources.feedback import Judged, Remark, items, name_in, object_in
from pipeline.sources.layouts import Fields, inside
from pipeline.sources.strict_json import ReportError
from pipeline.sources.tools.names import is_comment, is_correction

_RESPONSES, _USERS, _STATUS = ".responses", ".responses.users", ".responses.status"
_SUGGESTION = ".suggestion"
_NOT_FIELDS = ("id", "_server_id", "status")


def is_record(row: dict[str, Any]) -> bool:
    """Whether it is a record of either layout."""
    nested = isinstance(row.get("fields"), dict) and isinstance(row.get("responses"), dict)
    return nested or any(f"{name}.users" in row for name in row if name.endswith(_RESPONSES))


def judged(row: dict[str, Any]) -> Iterator[Judged]:
    """The record's question and answer, with all its responses.

    Raises:
        ReportError: it has no question, or the responses are broken.
    """
    record = row if isinstance(row.get("fields"), dict) else _nested(row)
    by_user: defaultdict[str | None, list[Remark]] = defaultdict(list)
    aside: list[str] = []
    for name, responses in record["responses"].items():
        for response in items(responses, f"responses.{name}"):
            status, user = response.get("status") or "submitted", name_in(response.get("user_id"))
            if status != "submitted":
                aside.append(f"{name}: the response of {user} is {status}, expected one that was submitted")
            elif response.get("value") is not None:
                by_user[user].append(Remark(name, response["value"], user, key=f"{name}/{user}"))
    corrections: list[Remark] = []
    ratings: list[Remark] = []
    for remarks in by_user.values():
        found = _told_apart(remarks)
        corrections += found[0]
        ratings += found[1]
    fields, metadata = object_in(record["fields"], "fields"), object_in(record.get("metadata"), "metadata")
    suggestions = object_in(record.get("suggestions"), "suggestions")
    suggested = [inside(suggestion, "value") for name, suggestion in suggestions.items() if is_correction(name)]
    yield Judged(
        layout="argilla",
        key=record.get("id"),
        prompt=question(fields, "fields"),
        said=answer(named(fields, SAID)) or answer(next(iter(suggested), None)),
        corrections=tuple(corrections),
        ratings=tuple(ratings),
        aside=tuple(aside),
        time=metadata.get("inserted_at") or metadata.get("time"),
        model_version=metadata.get("model_version"),
        metadata={name: value for name, value in metadata.items() if value is not None},
    )


def _told_apart(remarks: list[Remark]) -> tuple[list[Remark], list[Remark]]:
    """One person's corrections and ratings; what stands in comments is their evidence."""
    comments = [remark.value for remark in remarks if isinstance(remark.value, str) and is_comment(remark.name)]
    corrections: list[Remark] = []
    ratings: list[Remark] = []
    for remark in remarks:
        if not is_comment(remark.name):
            told = Remark(remark.name, remark.value, remark.reporter, evidence="\n".join(comments), key=remark.key)
            text = isinstance(remark.value, str) and is_correction(remark.name)
            (corrections if text else ratings).append(told)
    return corrections, ratings


def _nested(row: dict[str, Any]) -> Fields:
    """A flat row as a nested record."""
    responses: dict[str, list[Fields]] = {}
    for column in [column for column in row if column.endswith(_RESPONSES)]:
        values, users, status = (row.get(f"{column}{end}") or [] for end in ("", ".users", ".status"))
        lists = all(isinstance(held, list) for held in (values, users, status))
        status = status or [None] * (len(values) if lists else 0)
        if not lists or not len(values) == len(users) == len(status):
            raise ReportError(f"{column}: expected lists of as many responses, users and status")
        told = zip(values, users, status, strict=True)
        responses[column.removesuffix(_RESPONSES)] = [
            {"value": value, "user_id": user, "status": state} for value, user, state in told
        ]
    suggestions = {
        column.removesuffix(_SUGGESTION): {"value": value}
        for column, value in row.items()
        if column.endswith(_SUGGESTION) and value is not None
    }
    fields = {name: value for name, value in row.items() if "." not in name and name not in _NOT_FIELDS}
    return {"id": row.get("id"), "fields": fields, "responses": responses, "suggestions": suggestions}
