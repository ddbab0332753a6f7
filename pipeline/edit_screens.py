"""What a person sees of edits: one on a line, and the trail of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

if TYPE_CHECKING:
    from pipeline.tellings import Telling
    from pipeline.trail import Trail


def edit_line(edit_id: str, state: str, prompt: str, target: str) -> Text:
    """An edit on one line, whatever its texts hold."""
    return Text(f"{edit_id[:12]}  {state:8}  {one_line(prompt)} -> {one_line(target)}", overflow="fold")


def one_line(text: str) -> str:
    """A text from a stranger without line ends, which could pass for lines of ours."""
    return " ".join(text.split())


def telling(one: Telling) -> Text:
    """A report that asked for an edit."""
    when = "" if one.time is None else f" at {one.time:%Y-%m-%d %H:%M} UTC"
    who = f"by {one_line(one.reporter)}" if one.reporter else "without a reporter" if one.told else "by somebody"
    return Text(f"    night {one.night}: {one.source}, line {one.line}, {who}{when}: {one.became}", overflow="fold")


def trail(found: Trail) -> RenderableType:
    """An edit from its reports to the versions that serve it."""
    record = found.record
    state = record["state"] if record else "refused" if found.refused else "not taught"
    lines = [edit_line(found.edit_id, state, found.prompt, found.target), Text(f"  id {found.edit_id}")]
    if found.valid_until is not None:
        lines.append(Text(f"  valid until {found.valid_until:%Y-%m-%d %H:%M} UTC"))
    if found.refused:
        lines.append(Text(f"  this model can't take it: {one_line(found.refused)}"))
    lines += [Text("  reports"), *map(telling, found.reports)] if found.reports else [Text("  no report in this home")]
    if record:
        route = {name: record[name] for name in ("action", "cluster", "block", "steps", "subject", "reason")}
        told = ", ".join(f"{name} {one_line(str(value))}" for name, value in route.items() if value not in (None, ""))
        lines.append(Text(f"  route: {told}", overflow="fold"))
    if found.versions:
        lines.append(Text("  versions"))
    for one in found.versions:
        gate = "" if one.gate is None else f", gate {one.gate}" + "".join(f"; {reason}" for reason in one.reasons)
        number = one.digest[:12] if one.number is None else f"version {one.number}"
        lines.append(Text(f"    {number} (night {one.night}): {one.state}{gate}", overflow="fold"))
    if found.champion:
        lines.append(Text("  in use"))
    for period in found.champion:
        until = "now" if period.until is None else f"{period.until:%Y-%m-%d %H:%M:%S} UTC"
        lines.append(Text(f"    version {period.version}: {period.since:%Y-%m-%d %H:%M:%S} UTC until {until}"))
    for end in found.endings:
        by = "" if end.by is None else f" by {end.by[:12]}"
        why = f": {one_line(end.why)}" if end.why else ""
        lines.append(Text(f"  {end.how}{by} on night {end.night}, {end.when:%Y-%m-%d %H:%M} UTC{why}", overflow="fold"))
    return Group(*lines)
