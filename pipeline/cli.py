"""``melo``, the command line.

Heavy packages (torch alone takes a second to import) are imported inside the commands that use them, so that
``melo --help`` answers at once.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands import benches
from pipeline.errors import MeloError

DISTRIBUTION = "melo-pipeline"

app = typer.Typer(
    name="melo",
    help="Edit language models with neuron-indexed dynamic LoRA (MELO).",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.add_typer(benches.bench, name="bench")
edits = typer.Typer()
app.add_typer(edits, name="edits")


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        typer.echo(f"melo {version(DISTRIBUTION)}")
    except PackageNotFoundError:
        typer.echo(f"{DISTRIBUTION} is not installed, so its version is unknown: run pip install -e .", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit()


@app.callback()
def melo(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Edit language models with neuron-indexed dynamic LoRA (MELO)."""


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
def run(
    reports: Annotated[
        str | None, typer.Option(metavar="PATH|URL", help="File, folder or URL of reports [env: MELO_REPORTS].")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="DIR|ID", help="Model to edit [env: MELO_BACKBONE]; none: the example.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read reports, edit, evaluate, register, and promote what passes the gate (exit code 3: it did not)."""
    from pipeline.commands import nights

    nights.run(reports, backbone, as_json)


@app.command()
def submit(
    reports: Annotated[str, typer.Option(metavar="PATH|URL", help="Reports, as the cluster's nodes find them.")],
    address: Annotated[str, typer.Option(metavar="URL", help="The cluster's dashboard.")] = "http://127.0.0.1:8265",
    backbone: Annotated[str | None, typer.Option(metavar="DIR|ID", help="Model to edit [env: MELO_BACKBONE].")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended; the exit code is the run's.")] = False,
) -> None:
    """Send a run over a big backlog to a Ray cluster; the same one twice on a day is sent once."""
    from pipeline.commands import nights

    nights.submit(reports, backbone, address, wait)


@app.command()
def ask(prompts: Annotated[list[str], typer.Argument(metavar="PROMPT ...")], as_json: AsJson = False) -> None:
    """Ask backbone and champion, and show the route."""
    from pipeline.commands import versions

    versions.ask(prompts, as_json)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen at; by default none but this machine reaches it.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8100,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks for a new champion.")] = 10.0,
) -> None:
    """Answer over HTTP with the champion, and with the next one once there is another."""
    from pipeline.commands import serving

    serving.serve(host, port, every)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Candidate, champion and the last run."""
    from pipeline.commands import versions

    versions.status(as_json)


@app.command()
def report(
    number: Annotated[
        int | None,
        typer.Argument(metavar="[VERSION]", min=1, help="Of the registry; left out: the last, in use or kept back."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(dir_okay=False, metavar="FILE", help="Write it there; else below MELO_HOME/reports.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open/--no-open", help="Show it in a browser, where there is one.")] = True,
) -> None:
    """Show the page of a version: scores and gate, what changed, what fails and why."""
    from pipeline.commands import pages

    pages.report(number, to, open_it)


@edits.callback(invoke_without_command=True)
def list_edits(
    context: typer.Context,
    number: Annotated[
        int | None, typer.Option("--version", min=1, help="Of this version, with the reports each rests on.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the champion's edits, or those of a version; melo edits show ID tells all about one."""
    from pipeline.commands import edits as commands

    if context.invoked_subcommand is None:
        commands.listing(number, as_json)


@edits.command("show")
def show_edit(
    edit_id: Annotated[str, typer.Argument(metavar="ID", help="The first digits do.")], as_json: AsJson = False
) -> None:
    """Show the trail of an edit: who reported it, which versions have it, when they were in use, what ended it."""
    from pipeline.commands import edits as commands

    commands.show(edit_id, as_json)


@app.command()
def review(
    complaint_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The first digits do.")] = None,
    answer: Annotated[str | None, typer.Option(help="What is right: a report of the next night.")] = None,
    dismiss: Annotated[bool, typer.Option("--dismiss", help="Close it: nothing is to be taught.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept with the settlement.")] = "",
    as_json: AsJson = False,
) -> None:
    """List feedback that an answer was wrong and nobody said what is right; settle one."""
    from pipeline.commands import reviews

    reviews.review(complaint_id, answer, dismiss, reason, as_json)


@app.command()
def undo(
    edit_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The first digits do.")] = None,
    reporter: Annotated[
        str | None, typer.Option(metavar="NAME", help="All that this reporter asked for, and nobody else.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take edits of the champion back, one or a reporter's: a new version without them."""
    from pipeline.commands import nights

    nights.undo(edit_id, reporter, as_json)


@app.command()
def evaluate(
    number: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", min=1, help="Of the registry; the champion when left out.")
    ] = None,
    reports: Annotated[
        str | None, typer.Option(metavar="PATH|URL", help="Questions to ask instead of those of its own edits.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a version and hold it against the gate (exit code 3: it does not pass); nothing is changed."""
    from pipeline.commands import nights

    nights.evaluate(number, reports, as_json)


@app.command()
def calibrate(
    reports: Annotated[
        str | None, typer.Option(metavar="PATH|URL", help="Reports with rephrases and subjects [env: MELO_REPORTS].")
    ] = None,
    backbone: Annotated[str | None, typer.Option(metavar="DIR|ID", help="Model to edit [env: MELO_BACKBONE].")] = None,
    traffic: Annotated[
        str | None, typer.Option(metavar="PATH|URL", help="Prompts that no edit is about, a prompt a row.")
    ] = None,
    false_routes: Annotated[
        float, typer.Option(min=0.0001, max=0.5, help="Share of questions led to an edit they don't ask for, at most.")
    ] = 0.005,
    uncertain: Annotated[
        float,
        typer.Option(
            min=0.0001,
            max=0.5,
            help="The same for what is asked about subjects of other edits: some of it is taught in other words.",
        ),
    ] = 0.06,
    encoder: Annotated[
        list[str] | None, typer.Option(metavar="DIR|ID", help="Sentence encoder to try besides MiniLM; repeatable.")
    ] = None,
    bound: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="Kind of question held to that; repeatable. Left out: distractor, and all that leave half the recall.",
        ),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(dir_okay=False, metavar="FILE", help="Put what is chosen into these settings.")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(dir_okay=False, metavar="FILE", help="Draw it; calibration.png beside what --write names."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose how far edits reach: what makes keys, whether subjects gate, and the radius. Nothing is trained."""
    from pipeline.commands import calibration

    calibration.calibrate(
        reports, backbone, traffic, false_routes, uncertain, encoder or [], bound or [], write, figure, as_json
    )


@app.command()
def history(
    at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"],
            help="Only the version that was in use then; local time unless it has a zone.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Which version was in use when, and why."""
    from pipeline.commands import versions

    versions.history(at, as_json)


@app.command()
def promote(
    number: Annotated[int, typer.Argument(metavar="VERSION", min=1)],
    why: Annotated[str, typer.Option(help="Noted in the history.")] = "by hand",
) -> None:
    """Put a version into use."""
    from pipeline.commands import versions

    versions.promote(number, why)


@app.command()
def rollback(why: Annotated[str, typer.Option(help="Noted in the history.")] = "by hand") -> None:
    """Put the version before the champion back into use."""
    from pipeline.commands import versions

    versions.rollback(why)


@app.command()
def doctor(
    serve: Annotated[str, typer.Option(metavar="URL", help="Where melo serve would be.")] = "http://127.0.0.1:8100",
    as_json: AsJson = False,
) -> None:
    """Look at settings, state, models and servers, and say what is wrong (exit code 1: something is)."""
    from pipeline.commands import examination

    examination.doctor(serve, as_json)


class ExportFormat(StrEnum):
    """What a version can be exported as."""

    PEFT = "peft"


@app.command()
def export(
    to: Annotated[Path, typer.Option(file_okay=False, metavar="DIR", help="New or empty folder.")],
    number: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", min=1, help="Of the registry; the champion when left out.")
    ] = None,
    kind: Annotated[
        ExportFormat, typer.Option("--format", help="LoRA adapters as PEFT keeps them.")
    ] = ExportFormat.PEFT,
    rank: Annotated[
        int | None, typer.Option(min=1, help="Fill adapters up with zeros to this rank; the blocks' own when left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a version's blocks as LoRA adapters for other servers, with what routes prompts to them."""
    from pipeline.commands import versions

    versions.export(number, to, rank, as_json)


def main() -> None:
    """Entry point of the ``melo`` script. Settings are read before a command begins, and may be refused."""
    try:
        app()
    except MeloError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
