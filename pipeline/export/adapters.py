"""A block as a PEFT LoRA adapter: its config and its tensors, as PEFT's checkpoint format has them.

PEFT adds lora_alpha / r * B A x to W x, and a block s B_b A_b x: so lora_alpha is r, and s goes into B. Nothing here
needs PEFT.

Shape letters: p partial rank, r rank of the adapter, i inputs and o outputs of a module.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad
from transformers.pytorch_utils import Conv1D

from pipeline.editing.model import EditedModel
from pipeline.settings import Task

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The two files of an adapter, by PEFT's names."""

TASK_TYPES: dict[Task, str | None] = {"seq2seq": "SEQ_2_SEQ_LM", "causal": "CAUSAL_LM", "classification": None}
"""PEFT's words for tasks. Its SEQ_CLS wants a copy of the classifier's head in every adapter, and that head is frozen
here; without a word PEFT takes the model as it is."""


def adapter_name(block: int) -> str:
    """What the adapter of a block is called, and its folder."""
    return f"block-{block:06d}"


def adapter_config(model: EditedModel, rank: int) -> dict[str, Any]:
    """The content of ``adapter_config.json``, which is the same for all blocks of a model.

    GPT-2's transposed modules (Conv1D) are what PEFT calls ``fan_in_fan_out``; their A and B are shaped as others'.
    """
    backbone, modules = model.backbone, model.recipe.block_modules
    return {
        "peft_type": "LORA",
        "task_type": TASK_TYPES[backbone.task],
        "base_model_name_or_path": backbone.reference,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "target_modules": list(modules),
        "fan_in_fan_out": any(isinstance(backbone.model.get_submodule(name), Conv1D) for name in modules),
        "bias": "none",
    }


def adapter_tensors(model: EditedModel, block: int, rank: int) -> dict[str, torch.Tensor]:
    """The content of ``adapter_model.safetensors``: A [r, i] and s * B [o, r] a module, float32, zeros from p on."""
    tensors = {}
    for name, ((a,), (b,)) in model.blocks.gather([block]).items():
        more = rank - model.blocks.rank
        tensors[f"base_model.model.{name}.lora_A.weight"] = pad(a.cpu(), (0, 0, 0, more)).contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = pad(b.cpu() * model.recipe.scale, (0, more)).contiguous()
    return tensors
