"""Where keys are read and where blocks sit: the paper's four backbones, and defaults for whole families.

A recipe is chosen by the backbone's config: one of the paper's four gets its published settings, any other model
of a known family gets defaults by relative depth, and every setting that is given overrides either.

Shape letter: L layers of a stack.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import fields, replace

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from pipeline.editing.presets import PAPER_PRESETS
from pipeline.editing.recipe import Recipe, RecipeError
from pipeline.settings import EditingSettings, Task

ROOM = 1024
"""Ranks times width that a decoder's block has at least, up to eight ranks."""


def _late(layers: int, count: int, after: int) -> range:
    """Up to ``count`` layers from three quarters of the depth on, two at least where those above ``after`` allow."""
    start = max(after + 1, min(3 * layers // 4, layers - 2))
    return range(start, min(start + count, layers))


def _encoder_only(stack: str) -> Callable[[PreTrainedModel], Recipe]:
    """BERT and its kin: keys a third of the way up, blocks on the last layer's MLP, at the paper's rate.

    The paper uses three layers. On court decisions with MiniLM the last one alone learns as surely, and since all
    below it is frozen, three times as fast. At the other families' rate a third of the blocks needs a second try.
    """

    def recipe(model: PreTrainedModel) -> Recipe:
        layers = model.config.num_hidden_layers
        key = min(layers // 3, layers - 2)
        blocks = (f"{stack}.{layers - 1}.output.dense",) if layers > 1 else ()
        return Recipe(f"{stack}.{key}", blocks, learning_rate=1e-2)

    return recipe


def _decoder_only(stack: str, projection: str) -> Callable[[PreTrainedModel], Recipe]:
    """GPT-2, Llama and their kin: the key is the residual stream just below the first layer with blocks.

    Four edits a block, as the paper has for its GPT2-XL: on CounterFact they are learned in three quarters of the time
    that ten take. A narrow model gets more ranks than four: of 80 sentences of biographies (35 tokens, a GPT-2 of width
    128) a rank of 4 teaches 62, one of 8 teaches 79 in half the time.
    """

    def recipe(model: PreTrainedModel) -> Recipe:
        late = _late(model.config.num_hidden_layers, count=2, after=0)
        blocks = tuple(f"{stack}.{layer}.{projection}" for layer in late)
        rank = min(8, max(4, ROOM // model.config.hidden_size))
        return Recipe(f"{stack}.{late.start - 1}", blocks, partial_rank=rank, edits_per_block=4)

    return recipe


def _t5(model: PreTrainedModel) -> Recipe:
    """T5: keys from the middle of the encoder, blocks in the decoder alone.

    Unlike the paper, which puts blocks on both sides: with the encoder frozen its states are computed once for a
    batch instead of once a step, and measured that is by far the larger part of the work.

    On 1,000 zsRE edits (a T5 of width 128, ``melo bench table2`` with one setting changed) all of these teach every
    edit and leave every other answer alone; what differs is the share of holdouts answered right, .22 as it is: .21
    with the paper's rank 2, .17 with its 100 edits a block, and either takes longer, since blocks that fail are tried
    again. Its rate of 1e-2 teaches .999 of the edits. Its radius of 75 is two to three times the one measured here;
    with twice that one .25 are right, but on CounterFact it has three times as many false routes (``figure3``). Keys
    of the second layer give .25 too, and the first false answer.
    """
    config = model.config
    late = _late(config.num_decoder_layers, count=2, after=-1)
    blocks = tuple(f"decoder.block.{block}.layer.2.DenseReluDense.wo" for block in late)
    return Recipe(f"encoder.block.{config.num_layers // 2}", blocks)


FAMILIES: dict[str, Callable[[PreTrainedModel], Recipe]] = {
    "bert": _encoder_only("bert.encoder.layer"),
    "roberta": _encoder_only("roberta.encoder.layer"),
    "t5": _t5,
    "mt5": _t5,
    "gpt2": _decoder_only("transformer.h", "mlp.c_proj"),
    "llama": _decoder_only("model.layers", "mlp.down_proj"),
    "mistral": _decoder_only("model.layers", "mlp.down_proj"),
    "qwen2": _decoder_only("model.layers", "mlp.down_proj"),
    "qwen3": _decoder_only("model.layers", "mlp.down_proj"),
}


def resolve(model: PreTrainedModel, task: Task, settings: EditingSettings) -> Recipe:
    """The recipe for a backbone: its preset or its family's defaults, then every setting that is given.

    Args:
        model: the backbone; only its config and its modules' names and types are read.
        task: what it is used for.
        settings: fields that are not None override.

    Raises:
        RecipeError: the family is unknown and the modules are not given; a named module does not exist, or is
            not linear; keys would not be read before every block; blocks of several edits would have wordings.
    """
    wanted = settings.model_dump(exclude_none=True, include={field.name for field in fields(Recipe)})
    recipe = replace(_default(model, task, wanted), **wanted)
    if not recipe.block_modules:
        raise RecipeError(
            f"No module of this {type(model).__name__} would carry blocks: name at least one in block_modules, above "
            f"key_layer {recipe.key_layer!r}. (The defaults need a layer for the key and another one for the blocks.)"
        )
    if recipe.wordings and recipe.edits_per_block > 1:
        raise RecipeError(
            f"{recipe.wordings} other wordings would teach a block of {recipe.edits_per_block} edits several targets "
            "for the same text: set edits_per_block to 1, or wordings to 0."
        )
    modules = dict(model.named_modules())
    for name in (recipe.key_layer, *recipe.block_modules):
        if not name or name not in modules:
            raise RecipeError(_missing(name, model, modules))
    for name in recipe.block_modules:
        if not _is_linear(modules[name]):
            raise RecipeError(
                f"Blocks need a linear module (torch.nn.Linear or transformers' Conv1D), but {name} is a "
                f"{type(modules[name]).__qualname__}. Linear modules inside it: {_linear_inside(name, modules)}."
            )
        _check_order(recipe.key_layer, name, model)
    return recipe


def _default(model: PreTrainedModel, task: Task, wanted: dict[str, object]) -> Recipe:
    for preset in PAPER_PRESETS.values():
        if preset.matches(model, task):
            return preset.recipe
    family = model.config.model_type
    if family in FAMILIES:
        return FAMILIES[family](model)
    if "key_layer" in wanted and "block_modules" in wanted:
        return Recipe(key_layer="", block_modules=())  # only the numbers are taken: both names are given
    raise RecipeError(
        f"No defaults for model type {family!r}; known are {', '.join(sorted(FAMILIES))}. Any other model works when "
        "key_layer and block_modules are both given (names as in model.named_modules())."
    )


def _missing(name: str, model: PreTrainedModel, modules: dict[str, nn.Module]) -> str:
    """Suggests the same module under another root first, then what is spelt alike."""
    names = [known for known in modules if known]
    same_end = [known for known in names if known.endswith(f".{name}") or name.endswith(f".{known}")]
    near = list(dict.fromkeys(same_end + difflib.get_close_matches(name, names, n=5, cutoff=0.5)))[:5]
    hint = f"The nearest names are {', '.join(near)}." if near else f"Its modules begin {', '.join(names[:5])}."
    return f"{type(model).__name__} has no module {name!r}. {hint}"


def _linear_inside(name: str, modules: dict[str, nn.Module]) -> str:
    inside = [known for known, module in modules.items() if known.startswith(f"{name}.") and _is_linear(module)]
    return ", ".join(inside) or "none"


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | Conv1D)


def _check_order(key_layer: str, block: str, model: PreTrainedModel) -> None:
    """Refuses what the names alone show to be out of order; the rest shows when the model runs."""
    if model.config.is_encoder_decoder and "decoder" in key_layer.split("."):
        raise RecipeError(
            f"A key depends on its prompt alone, but key_layer {key_layer!r} is in the decoder: choose one of the "
            "encoder."
        )
    key, carrier = (re.match(r"(?P<stack>.*?)\.(?P<layer>\d+)(\.|$)", name) for name in (key_layer, block))
    above = key and carrier and key["stack"] == carrier["stack"] and int(key["layer"]) > int(carrier["layer"])
    if above or block == key_layer or block.startswith(f"{key_layer}."):
        raise RecipeError(
            f"Keys are read before every block, but block module {block!r} does not come after key_layer "
            f"{key_layer!r}: choose a lower key layer or a higher block module."
        )
