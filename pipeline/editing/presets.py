"""The paper's four backbones, with the settings that it published for each."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from pipeline.editing.recipe import Recipe
from pipeline.settings import Task


@dataclass(frozen=True, slots=True)
class Preset:
    """A backbone of the paper, known by its config, and the settings published for it.

    Attributes:
        task: what the backbone is for.
        model_type, layers, width, gated: the config that tells it apart; ``gated`` is None where the family
            has no such choice.
        recipe: Table 1 and the appendix's Tables A1 to A4.
    """

    task: Task
    model_type: str
    layers: int
    width: int
    gated: bool | None
    recipe: Recipe

    def matches(self, model: PreTrainedModel, task: Task) -> bool:
        config = model.config
        return (
            (task, config.model_type) == (self.task, self.model_type)
            and (config.num_hidden_layers, config.hidden_size) == (self.layers, self.width)
            and self.gated in (None, getattr(config, "is_gated_act", None))
        )


def _t5_both_sides(*blocks: int) -> tuple[str, ...]:
    sides = ("encoder.block.{}.layer.1", "decoder.block.{}.layer.2")
    return tuple(f"{side.format(block)}.DenseReluDense.wo" for block in blocks for side in sides)


PAPER_PRESETS: dict[str, Preset] = {
    "bert": Preset(
        "classification",
        "bert",
        layers=12,
        width=768,
        gated=None,
        recipe=Recipe(
            key_layer="bert.encoder.layer.4.output.dense",
            block_modules=tuple(f"bert.encoder.layer.{layer}.output.dense" for layer in (9, 10, 11)),
            partial_rank=4,
            radius=1.0,
            iterations=40,
            learning_rate=1e-2,
            edits_per_block=50,
        ),
    ),
    "t5-small": Preset(  # google/t5-small-ssm-nq
        "seq2seq",
        "t5",
        layers=8,
        width=512,
        gated=True,
        recipe=Recipe(
            key_layer="encoder.block.4.layer.1.DenseReluDense.wo",
            block_modules=_t5_both_sides(5, 6),
            partial_rank=2,
            radius=75.0,
            iterations=30,
            learning_rate=1e-2,
            edits_per_block=100,
        ),
    ),
    "t5-large": Preset(  # google/t5-large-ssm-nq
        "seq2seq",
        "t5",
        layers=24,
        width=1024,
        gated=False,
        recipe=Recipe(
            key_layer="encoder.block.4.layer.1.DenseReluDense.wo",
            block_modules=_t5_both_sides(22, 23),
            partial_rank=2,
            radius=10.0,
            iterations=40,
            learning_rate=1e-2,
            edits_per_block=100,
        ),
    ),
    "gpt2-xl": Preset(
        "causal",
        "gpt2",
        layers=48,
        width=1600,
        gated=None,
        recipe=Recipe(
            key_layer="transformer.h.35.mlp.c_fc",
            block_modules=tuple(f"transformer.h.{layer}.mlp.c_fc" for layer in (36, 37)),
            partial_rank=2,
            radius=1.0,
            iterations=50,
            learning_rate=1e-3,
            edits_per_block=4,
            long_target=1024,  # none is longer: its context ends there
        ),
    ),
}
