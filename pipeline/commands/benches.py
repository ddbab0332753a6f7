"""``melo bench``: one command a measurement; what measures is imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.studies import register

bench = typer.Typer(help="Measure the editor on this machine.", no_args_is_help=True)
register(bench)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
BackboneDir = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, metavar="DIR", help="Model to edit; the shared t5-zsre when left out."),
]
EditsFile = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, metavar="FILE.jsonl", help="Edits, an object a line: prompt, target."),
]
Quick = Annotated[bool, typer.Option("--quick", help="Fewer edits and repeats: a rough figure in seconds.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the blocks and of the order of edits.")]


@bench.command()
def speed(
    backbone: BackboneDir = None,
    edits: EditsFile = None,
    locality: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE.jsonl",
            help="Prompts whose answers must stay, one a line: prompt.",
        ),
    ] = None,
    as_json: AsJson = False,
    quick: Quick = False,
    seed: Seed = 0,
) -> None:
    """Edits a minute: learning, routing and generating."""
    from pipeline.bench import speed as measurement

    measurement.main(backbone=backbone, edits=edits, locality=locality, quick=quick, as_json=as_json, seed=seed)


@bench.command()
def night(
    backbone: BackboneDir = None,
    edits: EditsFile = None,
    as_json: AsJson = False,
    quick: Quick = False,
    seed: Seed = 0,
) -> None:
    """A whole night beside the bare editor, and where its time goes."""
    from pipeline.bench import night as measurement

    measurement.main(backbone=backbone, edits=edits, quick=quick, as_json=as_json, seed=seed)


@bench.command()
def growth(
    backbone: BackboneDir = None,
    reports: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Edits; may be given again. None: the shared."),
    ] = None,
    edits: Annotated[int, typer.Option(min=10, help="In the end; what files lack is made up.")] = 10_000,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Ten thousand edits in one model, in four nights: scores, memory and time as they grow in number."""
    from pipeline.bench import growth as measurement

    measurement.main(backbone=backbone, reports=reports or (), edits=edits, as_json=as_json, seed=seed)


@bench.command("serve")
def bench_serve(
    backbone: BackboneDir = None,
    reports: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Edits; needed with DIR.")
    ] = None,
    edits: Annotated[int, typer.Option(min=1, help="How many are taught, of twice as many.")] = 300,
    requests: Annotated[int, typer.Option(min=1, help="Of each sort, a round and a server.")] = 200,
    clients: Annotated[int, typer.Option(min=1, help="That ask at the same time.")] = 8,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Requests a second and waits over HTTP, with edits and without, beside the bare backbone."""
    from pipeline.bench import serve as measurement

    measurement.main(
        backbone=backbone,
        reports=reports,
        edits=edits,
        requests=requests,
        clients=clients,
        rounds=rounds,
        as_json=as_json,
        seed=seed,
    )


@bench.command()
def blocks(
    backbone: BackboneDir = None,
    reports: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Edits with rephrases; needed with DIR."),
    ] = None,
    edits: Annotated[int, typer.Option(min=1, help="How many are taught.")] = 300,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """What a block costs and knows, by edits a block, rank, margin and wordings."""
    from pipeline.bench import blocks as measurement

    measurement.main(backbone=backbone, reports=reports, edits=edits, as_json=as_json, seed=seed)
