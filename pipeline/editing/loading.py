"""Backbones from a folder, the hub, or objects in hand."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipeline.editing.backbone import Backbone, BackboneError
from pipeline.settings import Task

AUTO_CLASSES = {
    "seq2seq": AutoModelForSeq2SeqLM,
    "causal": AutoModelForCausalLM,
    "classification": AutoModelForSequenceClassification,
}


def from_objects(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, reference: str) -> Backbone:
    """A backbone from objects in hand. The model is frozen in place; the tokenizer is copied.

    Raises:
        BackboneError: the model cannot do the task, or the tokenizer has no token that could pad or end.
    """
    if task not in AUTO_CLASSES:
        raise BackboneError(f"Unknown task {task!r}: expected one of {', '.join(AUTO_CLASSES)}.")
    answers_text, two_sided = model.can_generate(), model.config.is_encoder_decoder
    able = "classification" if not answers_text else "seq2seq" if two_sided else "causal"
    if task != able:
        raise BackboneError(f"A {type(model).__name__} is for task {able!r}, but {task!r} was asked for.")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.padding_side = "left" if task == "causal" else "right"
    _choose_pad(tokenizer, model.get_input_embeddings().num_embeddings)
    if task == "classification" and model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id  # a decoder with a classifier's head looks for it
    backbone = Backbone(model.eval().requires_grad_(False), tokenizer, task, reference)
    if task != "classification":
        _ = backbone.end_token  # refuses here what could not be taught later
    return backbone


def load_backbone(
    reference: str | Path,
    task: Task | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Backbone:
    """Loads a model and its tokenizer from a directory or the hub: safetensors only, and none of its code is run.

    Args:
        reference: directory, or hub id.
        task: which head to load; None: the one that its config tells of.
        device: None takes a GPU where there is one.
        dtype: None keeps that of the checkpoint.

    Raises:
        BackboneError: nothing is there, it is no safetensors checkpoint, or it lacks weights for the task.
    """
    reference = str(reference)
    if task is not None and task not in AUTO_CLASSES:
        raise BackboneError(f"Unknown task {task!r}: expected one of {', '.join(AUTO_CLASSES)}.")
    directory = Path(reference).expanduser()
    local = directory.is_dir()
    if not local and (directory.is_absolute() or reference.startswith((".", "~")) or reference.count("/") > 1):
        raise BackboneError(f"No directory {reference}: expected a model saved by save_pretrained(), or a hub id.")
    if local and not any(directory.glob("*.safetensors")):
        raise BackboneError(
            f"{reference} holds no *.safetensors, and no other format is read, since unpickling one runs whatever is "
            "in it. If you trust the checkpoint, convert it: from_pretrained(...).save_pretrained(...)."
        )
    source = str(directory) if local else reference
    try:
        task = task or told_task(source)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model, loading = AUTO_CLASSES[task].from_pretrained(
            source,
            dtype=dtype if dtype is not None else "auto",
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        if "trust_remote_code" in str(error):
            raise BackboneError(
                f"{reference} brings code of its own, which is never run here, whatever is set. If you have read it "
                "and trust it, load the model yourself and hand it over: EditedModel.from_backbone(from_objects(...))."
            ) from error
        where = "a directory" if local else "not a directory here, and the hub did not give it"
        cause = str(error).strip().splitlines()[0]
        purpose = f" for task {task!r}" if task else ""
        raise BackboneError(f"Cannot load {reference}{purpose} ({where}): {cause}") from error
    if missing := sorted(loading["missing_keys"]):
        raise BackboneError(
            f"{reference} lacks {len(missing)} weights of {type(model).__name__}, {missing[0]} among them, which would "
            "be random at every load: train that head first, and save it."
        )
    target = (
        torch.device(device) if device is not None else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )
    return from_objects(model.to(target), tokenizer, task, reference)


def told_task(source: str) -> Task:
    """The task that a model's own config tells of."""
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    if any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
        return "classification"
    return "seq2seq" if config.is_encoder_decoder else "causal"


def _choose_pad(tokenizer: PreTrainedTokenizerBase, embeddings: int) -> None:
    """A pad token that the model has an embedding for: a pad is masked, so any will do. Nothing is resized."""
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id < embeddings:
        return
    for name in ("eos_token", "unk_token", "bos_token"):
        token = getattr(tokenizer, name)
        if token is not None and tokenizer.convert_tokens_to_ids(token) < embeddings:
            tokenizer.pad_token = token
            return
    raise BackboneError("The tokenizer has no pad, end, unknown or start token to pad with: set tokenizer.pad_token.")
