"""Figure 5: which layer's hidden state is the better key (MELO, "Effect of Key Layer for Vector Database")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.bench.study import drawing
from pipeline.bench.study.examination import Examination, examine
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit
from pipeline.editing.families import resolve
from pipeline.editing.keys import KeyReader
from pipeline.editing.model import EditedModel
from pipeline.editing.recipe import Recipe, RecipeError
from pipeline.evaluation.asking import BackboneAnswers
from pipeline.evaluation.figures import written
from pipeline.settings import EditingSettings
from pipeline.telling import Advance

CALL = 100
"""Edits that are learned in one call."""
SAMPLE = 500
"""Questions of a kind."""

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
"""The layer in a module's name: its first number."""


@dataclass(frozen=True, slots=True)
class AtLayer:
    """One key layer.

    Attributes:
        layer: its number in the stack.
        name: of the module.
        radius: R0 as measured on keys of this layer, in units of the key.
        clusters: scopes in the end.
        found: the examination after all edits.
    """

    layer: int
    name: str
    radius: float
    clusters: int
    found: Examination


@dataclass(frozen=True, slots=True)
class Figure5:
    """The key layer and the scores.

    Attributes:
        edits: of the stream.
        in_force: the key layer that the settings, the preset or the family give.
        upstream_score: what the score of upstream prompts is: ``F1``, or ``accuracy`` of a classifier.
        layers: every layer of the stack that is read before the blocks, ascending.
    """

    edits: int
    in_force: str
    upstream_score: str
    layers: tuple[AtLayer, ...]


def key_layers(backbone: Backbone, recipe: Recipe) -> dict[int, str]:
    """The module of the recipe's key layer in every layer of its stack whose keys are read before any block runs.

    Returns:
        The number of the layer -> the module's name; ascending.

    Raises:
        RecipeError: the key layer's name has no number.
    """
    if (number := _NUMBER.search(recipe.key_layer)) is None:
        raise RecipeError(f"key layer {recipe.key_layer!r} is none of a stack: expected a number in its name, as h.3")
    before, after = recipe.key_layer[: number.start()], recipe.key_layer[number.end() :]
    alike = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    matches = (alike.fullmatch(name) for name, _ in backbone.model.named_modules())
    names = {int(match[1]): match[0] for match in matches if match is not None}
    return {layer: name for layer, name in sorted(names.items()) if _in_time(backbone, name, recipe.block_modules)}


def measure(
    backbone: Backbone,
    edits: Sequence[Edit],
    upstream: Sequence[tuple[str, str]],
    settings: EditingSettings,
    seed: int,
    advance: Advance,
    layers: Sequence[int] | None = None,
    sample: int = SAMPLE,
) -> Figure5:
    """Teaches one model for every key layer the same stream and examines it.

    Each has the radius that is measured on its own keys, whatever the settings say: layers differ in the size of their
    hidden states, and one radius for all would compare nothing else.

    Args:
        backbone: the model.
        edits: the stream, distinct edits in order; their rephrases are the holdouts.
        upstream: prompts of the backbone's own task with their right answers.
        settings: everything but the key layer's number and the radius.
        seed: of the questions drawn; blocks have the settings' own.
        advance: told of edits learned, all of them once for every layer.
        layers: numbers of layers, some of ``key_layers``; None: all of them.
        sample: questions of a kind.

    Raises:
        EditError: an edit is not usable.
        RecipeError: a key layer cannot be used, or has no number.
    """
    recipe = resolve(backbone.model, backbone.task, settings)
    usable = key_layers(backbone, recipe)
    if strange := set(layers or ()) - usable.keys():
        raise RecipeError(f"layers {sorted(strange)} came, expected some of {list(usable)}: those before the blocks")
    before = BackboneAnswers(backbone)
    found = []
    for layer in usable if layers is None else sorted(set(layers)):
        at_layer = replace(recipe, key_layer=usable[layer], radius=None)
        with closing(EditedModel(backbone, at_layer, settings, "memory")) as model:
            for start in range(0, len(edits), CALL):
                model.edit(call := edits[start : start + CALL])
                advance(len(call))
            found.append(
                AtLayer(
                    layer,
                    usable[layer],
                    model.clusters.radius,
                    model.clusters.tables()[0].num_rows,
                    examine(model, edits, upstream, sample, seed, before),
                )
            )
    score = "accuracy" if backbone.task == "classification" else "F1"
    return Figure5(len(edits), recipe.key_layer, score, tuple(found))


def draw(found: Figure5, path: Path) -> Path:
    """Scores and routing over the key layer; a PNG at ``path``."""
    figure = drawing.blank(
        12.0, 6.5, f"The key layer: a stream of {found.edits} edits, $R_0$ measured on each layer's own keys"
    )
    before = next((row.found.upstream_before for row in found.layers), None)
    panels = {
        "a  What is answered": {
            "success": "edit success: edits given their target",
            "generality": "generality: holdouts given the target",
            "agreement": "locality: upstream answers unchanged",
            "upstream": f"{found.upstream_score} on upstream prompts (backbone: {before or 0:.3f})",
        },
        "b  Where prompts are led": {
            "holdouts_led": "holdouts led to a block of their target",
            "upstream_led": "upstream prompts led to any block (should be 0)",
        },
    }
    layers = [row.layer for row in found.layers]
    for axes, (title, lines) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for i, (field, name) in enumerate(lines.items()):
            values = [getattr(row.found, field) for row in found.layers]
            drawing.line(axes, layers, values, name, **drawing.look(i, len(lines)))
        for row in found.layers:
            if row.name == found.in_force:
                axes.axvline(row.layer, label=f"in force: {row.name}", **drawing.REFERENCE)
        drawing.title(axes, title)
        axes.set(ylabel="share", xlabel="key layer, and the radius measured there (units of the key)")
        axes.set_xticks(layers, [f"{row.layer}\n{row.radius:.3g}" for row in found.layers])
        drawing.shares(axes)
        drawing.legend_below(axes, rows_of_ticks=2)
    return written(figure, [], path)


def _in_time(backbone: Backbone, layer: str, block_modules: Sequence[str]) -> bool:
    reader = KeyReader(backbone, layer)
    try:
        reader.check_order(block_modules)
    except ValueError:
        return False
    finally:
        reader.close()
    return True
