"""Choosing how far edits reach, from reports with rephrases."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import typer

from pipeline.commands.common import all_settings, out, plain_errors, print_json, progress
from pipeline.telling import Teller

FIGURE = "calibration.png"


def calibrate(
    reports: str | None,
    backbone: str | None,
    traffic: str | None,
    false_routes: float,
    uncertain: float,
    encoders: Sequence[str],
    bound: Sequence[str],
    write: Path | None,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Tells what was tried and chosen, draws it, and puts it into the settings where that is asked for."""
    from transformers.utils import logging

    from pipeline import screens
    from pipeline.bench.public import load_texts
    from pipeline.commands.settings_file import merge
    from pipeline.editing.folder import METRIC
    from pipeline.editing.loading import load_backbone
    from pipeline.evaluation.calibration.choice import calibrate as choose
    from pipeline.evaluation.calibration.figure import draw
    from pipeline.evaluation.calibration.trial import BOUNDABLE
    from pipeline.sources import admit, read

    settings = all_settings()
    backbone, reports = backbone or settings.backbone, reports or settings.reports
    if backbone is None or reports is None:
        raise typer.BadParameter("name the model with --backbone and a file of reports with --reports, or in melo.yaml")
    if strange := sorted({*bound} - {*BOUNDABLE}):
        raise typer.BadParameter(f"--bound {', '.join(strange)}: expected some of {', '.join(BOUNDABLE)}")
    logging.disable_progress_bar()  # of the weights that are read
    with plain_errors():
        found = choose(
            load_backbone(backbone, settings.task),
            admit(
                (batch.reports for batch in read(reports, settled_seconds=0, allowed=settings.trust.sources)), {}
            ).edits,
            [] if traffic is None else load_texts(traffic),
            false_routes,
            uncertain,
            settings.editing,
            encoders,
            bound or None,
            Teller(progress).track,
        )
        choice = found.result.choice
        if as_json:
            print_json(found.result)
        else:
            out.print(screens.calibration(found.result))
        if figure is None and write is not None:
            figure = write.parent / FIGURE
        if figure is not None:
            progress.print(f"drawn: {draw(found, figure)}", highlight=False)
        if choice is None:
            progress.print(
                "nothing was chosen: within the wanted false routes no candidate leads one rephrase in twenty right"
            )
            raise typer.Exit(1)
        if write is None:
            progress.print("put it into the settings with --write melo.yaml")
            return
        chosen = choice.settings
        if found.metric is not None:
            path = write.absolute().parent / METRIC
            path.write_bytes(found.metric.content)
            progress.print(f"fitted: {path}", highlight=False)
            chosen = chosen | {"metric": str(path)}
        for line in merge(write, chosen) or ["nothing changed"]:
            progress.print(f"{write}: editing.{line}", highlight=False)
        for name in chosen:
            if (variable := f"MELO_EDITING__{name.upper()}") in os.environ:
                progress.print(f"{variable} is set and prevails over the file: unset it", style="yellow")
