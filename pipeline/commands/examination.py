"""What is wrong with a deployment."""

from __future__ import annotations

from dataclasses import asdict

import typer

from pipeline.commands.common import out, print_json, progress


def doctor(serve: str, as_json: bool) -> None:
    """Looks at everything; the exit code is 1 where there is a problem."""
    from pipeline import screens
    from pipeline.doctor.examination import examine

    found = []
    with progress.status("looking") as shown:
        for finding in examine(serve):
            found.append(finding)
            shown.update(f"looked at {finding.part}")
    if as_json:
        print_json([asdict(finding) for finding in found])
    else:
        out.print(screens.examination(found))
    if any(finding.state == "problem" for finding in found):
        raise typer.Exit(1)
