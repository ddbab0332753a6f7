"""``melo bench blocks``: what a block costs and what it knows, by how it is made and whatever leads to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer
from rich.console import Console, RenderableType
from transformers.utils import logging

from pipeline.bench import measure as clock
from pipeline.bench import report
from pipeline.bench.learning import BYTES_PER_PARAMETER
from pipeline.bench.material import gather
from pipeline.bench.study.commands import wide
from pipeline.bench.study.examination import edit_question, mean
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit
from pipeline.editing.model import EditedModel
from pipeline.errors import MeloError
from pipeline.evaluation.asking import BackboneAnswers, ask
from pipeline.evaluation.scores import interval
from pipeline.settings import EditingSettings, Settings
from pipeline.telling import Advance, Teller
from schemas.answers import QUESTIONS

EDITS = 300
WIDE = 5.0
"""A margin, in logits, that also leads where a wording is another one."""
COLD = 10
"""Edits that are taught before the clock runs: what is done for the first time takes longer."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to make blocks: settings of the same names. None: the family's own."""

    edits_per_block: int | None = None
    partial_rank: int | None = None
    margin: float = EditingSettings().margin
    wordings: int | None = None


DEFAULT = Way()
WAYS = (
    Way(50),
    DEFAULT,
    Way(10),
    Way(1),
    Way(1, partial_rank=1),
    Way(1, margin=WIDE),
    Way(1, partial_rank=1, margin=WIDE),
    *(Way(1, margin=WIDE, wordings=count) for count in (3, 5, 10)),
)


@dataclass(frozen=True, slots=True)
class Made:
    """What one way came to.

    Attributes:
        default: whether it is the family's own.
        edits_per_block, partial_rank, margin, wordings: in force.
        learned: share of the edits.
        rephrases: how many of the learned edits were asked; none is trained.
        right: share of them that get the target from their edit's own block, by exact match; None: none was asked.
        low, high: ends of its 95% Wilson interval.
        steps: optimiser steps of an edit, retries included; mean.
        ms_per_edit: wall clock of ``EditedModel.edit``: keys, training, examination, retries, clusters; one thread.
        bytes_per_edit: of block weights; the keys that lead to them are not counted.
    """

    default: bool
    edits_per_block: int
    partial_rank: int
    margin: float
    wordings: int
    learned: float
    rephrases: int
    right: float | None
    low: float | None
    high: float | None
    steps: float
    ms_per_edit: float
    bytes_per_edit: float


def main(
    *,
    backbone: Path | None = None,
    reports: Path | None = None,
    edits: int = EDITS,
    as_json: bool = False,
    seed: int = 0,
) -> None:
    """Measures and prints a table, or one JSON object.

    Args:
        backbone: folder of a model; without it model and edits of the shared folder.
        reports: file of edits, see ``material.gather``.
        edits: how many are taught.
        as_json: print nothing but one JSON object.
        seed: of the edits drawn and of the blocks.

    Raises:
        typer.BadParameter: there is nothing to measure on, or it cannot be edited.
    """
    logging.disable_progress_bar()
    shown, teller = wide(Console(quiet=as_json, markup=False)), Teller(Console(stderr=True, markup=False))
    settings = Settings().editing.model_copy(update={"seed": seed})
    try:
        material = gather(backbone, reports, None, edits, 0, seed)
        model, taught = material.backbone, material.edits
        machine = clock.this_machine(model.device)
        frame = report.Frame(machine, material.sources, model.task, len(taught), material.refused, seed)
        shown.print(report.heading(frame))
        with teller.track(f"{len(taught)} edits, a way to make blocks after the other", len(WAYS)) as advance:
            found = measure(model, taught, settings, advance)
    except MeloError as error:
        raise typer.BadParameter(str(error)) from error
    shown.print(table(found, len(taught)))
    if as_json:
        print(json.dumps(asdict(frame) | {"threads": 1, "ways": told(found)}, indent=2))


def measure(backbone: Backbone, edits: Sequence[Edit], settings: EditingSettings, advance: Advance) -> list[Made]:
    """Teaches a new model the same edits in every way, one way after the other, on one thread.

    Args:
        backbone: the model.
        edits: distinct prompts; their rephrases are asked.
        settings: all but what a way says.
        advance: told of ways that are done.

    Raises:
        EditError: an edit is not usable.
        RecipeError: a setting names a module that is not there, or a family without defaults.
    """
    before, found = BackboneAnswers(backbone), []
    with clock.threads(1):
        _made(backbone, edits[:COLD], settings, DEFAULT, before)
        for way in WAYS:
            found.append(_made(backbone, edits, settings, way, before))
            advance(1)
    return found


def _made(
    backbone: Backbone, edits: Sequence[Edit], settings: EditingSettings, way: Way, before: BackboneAnswers
) -> Made:
    settings = settings.model_copy(update=asdict(way))
    with closing(EditedModel.from_backbone(backbone, settings=settings, index="memory")) as model:
        taught = clock.run(partial(model.edit, edits), backbone.device)
        outcomes, recipe = taught.result, model.recipe
        learned = [edit for edit, outcome in zip(edits, outcomes, strict=True) if outcome.learned]
        right = own_answers(model, learned, before)
        low, high = interval(sum(right), len(right)) if right else (None, None)
        return Made(
            default=way == DEFAULT,
            edits_per_block=recipe.edits_per_block,
            partial_rank=recipe.partial_rank,
            margin=settings.margin,
            wordings=recipe.wordings,
            learned=len(learned) / len(edits),
            rephrases=len(right),
            right=mean(right),
            low=low,
            high=high,
            steps=sum(outcome.steps for outcome in outcomes) / len(edits),
            ms_per_edit=1000 * taught.seconds / len(edits),
            bytes_per_edit=BYTES_PER_PARAMETER * model.blocks.parameters / len(edits),
        )


def own_answers(model: EditedModel, edits: Sequence[Edit], before: BackboneAnswers) -> list[bool]:
    """Whether each rephrase of some edits, in their order, gets the target from its edit's own block.

    Args:
        model: has learned them.
        edits: with rephrases that the backbone can be asked.
        before: see ``ask``.
    """
    rows = [edit_question(edit) | {"kind": "rephrase", "prompt": text} for edit in edits for text in edit.rephrases]
    answers = ask(model, pa.Table.from_pylist(rows, schema=QUESTIONS), before=before)
    return [score == 1.0 for score in answers["oracle_exact_match"].to_pylist() if score is not None]


def of_default(found: Sequence[Made]) -> list[float]:
    """The time of each way as a multiple of the default's."""
    base = next(made.ms_per_edit for made in found if made.default)
    return [made.ms_per_edit / base for made in found]


def told(found: Sequence[Made]) -> list[dict[str, Any]]:
    """Everything, for programs."""
    return [asdict(made) | {"of_default": ratio} for made, ratio in zip(found, of_default(found), strict=True)]


def table(found: Sequence[Made], edits: int) -> RenderableType:
    """A row a way, for a person."""
    columns = ["edits/\nblock", "rank", "margin", "wordings", "learned", "right", "95%", "steps"]
    shown = report.new_table(f"Blocks of {edits} edits", [*columns, "ms an\nedit", "of\n*", "kB an\nedit"])
    for made, ratio in zip(found, of_default(found), strict=True):
        shown.add_row(
            f"{made.edits_per_block}{' *' if made.default else ''}",
            str(made.partial_rank),
            f"{made.margin:g}",
            str(made.wordings),
            f"{made.learned:.3f}",
            "-" if made.right is None else f"{made.right:.3f}",
            "-" if made.right is None else f"{made.low:.2f}-{made.high:.2f}",
            f"{made.steps:.1f}",
            f"{made.ms_per_edit:.1f}",
            f"{ratio:.2f}",
            f"{made.bytes_per_edit / 1000:.1f}",
        )
    fewest = min(made.rephrases for made in found)
    return report.with_notes(
        shown,
        "*: what the family has where nothing is set. Learned: the target is said by free generation. Right: share of "
        "the learned edits' rephrases, none of them trained, that get the target when each is led to its edit's own "
        f"block ({fewest:,} or more were asked), with its 95% Wilson interval. Steps: of the optimiser, for an edit.",
        "Times: one run each, one way after the other, on one thread; all of EditedModel.edit, with keys, examination, "
        "retries and the index in memory. Rows with the same settings show how far the clock can be trusted. "
        "kB: of block weights in float32, keys not counted.",
    )
