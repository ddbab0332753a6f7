"""Looking at complaints that wait for a review, and settling them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from pipeline.commands.common import out, plain_errors, print_json
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.review import ReviewQueue


def review(complaint_id: str | None, answer: str | None, dismiss: bool, reason: str, as_json: bool) -> None:
    """What waits, or one of it; with an answer or a dismissal, settles that one."""
    from pipeline.journal import Journal
    from pipeline.review import ReviewQueue

    if complaint_id is None and (answer is not None or dismiss):
        raise typer.BadParameter("which one? melo review lists what waits: name its ID")
    if answer is not None and dismiss:
        raise typer.BadParameter("an answer or a dismissal, not both")
    if reason and answer is None and not dismiss:
        raise typer.BadParameter("a reason belongs to --answer or --dismiss")
    journal = Journal(Settings().home)
    try:
        queue = ReviewQueue(journal)
        if complaint_id is None:
            _list(queue.waiting(), as_json)
            return
        complaint = _one(queue, complaint_id)
        if answer is None and not dismiss:
            _show(complaint, as_json)
        else:
            _settle(queue, complaint, answer, reason, as_json)
    finally:
        journal.close()


def _settle(queue: ReviewQueue, complaint: dict[str, Any], answer: str | None, reason: str, as_json: bool) -> None:
    from pipeline.journal import user_name
    from pipeline.sources.strict_json import ReportError

    with plain_errors():
        try:
            if answer is None:
                settled = queue.dismiss(complaint, reason, user_name())
            else:
                settled = queue.answer(complaint, answer, reason, user_name())
        except ReportError as error:
            raise typer.BadParameter(str(error)) from None
    if as_json:
        print_json(asdict(settled))
    elif answer is None:
        out.print(f"complaint {settled.complaint[:12]} is dismissed", highlight=False)
    else:
        out.print(f"{complaint['prompt']} -> {answer}: a report of the next melo run", highlight=False)


def _one(queue: ReviewQueue, beginning: str) -> dict[str, Any]:
    found = queue.find(beginning)
    if len(found) != 1:
        what = f"{len(found)} complaints have ids that begin" if found else "no complaint has an id that begins"
        raise typer.BadParameter(f"{what} with {beginning!r}: melo review lists what waits")
    return found[0]


def _list(waiting: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(waiting)
    else:
        from pipeline import screens

        out.print(screens.review(waiting))


def _show(complaint: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(complaint)
    else:
        for name, value in complaint.items():
            out.print(f"{name}: {value}", highlight=False)
