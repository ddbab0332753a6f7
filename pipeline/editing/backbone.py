"""The model being edited, frozen for ever, and how text becomes its tokens and back.

Shape letters: b prompts, s tokens.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipeline.editing.edit import Edit, EditError, normalise
from pipeline.settings import Task

AUTO_CLASSES = {
    "seq2seq": AutoModelForSeq2SeqLM,
    "causal": AutoModelForCausalLM,
    "classification": AutoModelForSequenceClassification,
}


class BackboneError(ValueError):
    """A model that cannot be loaded, or cannot be edited for the task it was given."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen model with its tokenizer. Made by :func:`load_backbone` or :func:`from_objects`.

    Attributes:
        model: in eval mode, no parameter requires a gradient.
        tokenizer: a copy of its own, which has a pad token and pads on the task's side.
        task: ``seq2seq``, ``causal`` or ``classification``.
        reference: path or hub id, as given.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: Task
    reference: str

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def padding_side(self) -> Literal["left", "right"]:
        """Left for a causal model, whose answer goes on from the last column; right otherwise."""
        return "left" if self.task == "causal" else "right"

    @property
    def pad_token_id(self) -> int:
        return int(self.tokenizer.pad_token_id)

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits of SHA-256 over the names, dtypes, shapes and bytes of all weights.

        Parameters and persistent buffers, in the order of their names. Computed once, at the first call.
        """
        with ThreadPoolExecutor() as pool:  # hashlib lets other threads run
            parts = pool.map(_tensor_digest, sorted(self.model.state_dict().items(), key=lambda item: item[0]))
            return hashlib.sha256(b"".join(parts)).hexdigest()

    @cached_property
    def max_prompt_tokens(self) -> int | None:
        """Tokens the model has positions for; None where positions are relative (T5) and nothing bounds them."""
        config = self.model.config
        if config.is_encoder_decoder and hasattr(config, "relative_attention_num_buckets"):
            return None  # although old configs still name an n_positions
        limit = getattr(config, "max_position_embeddings", None)  # also GPT-2's n_positions, by its attribute map
        if limit is not None and "roberta" in config.model_type:
            return limit - config.pad_token_id - 1  # its positions are counted from the one after the pad's
        return limit

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """A classifier's class names by id; empty for the other tasks."""
        if self.task != "classification":
            return ()
        return tuple(self.model.config.id2label[i] for i in range(self.model.config.num_labels))

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer: the generation config's and the tokenizer's."""
        return frozenset([*self._generation_ends, *_present(self.tokenizer.eos_token_id)])

    @cached_property
    def end_token(self) -> int:
        """The token that a target is taught to end with, one that generation stops at."""
        own, stops = self.tokenizer.eos_token_id, self._generation_ends
        return own if own is not None and (own in stops or not stops) else stops[0]

    @property
    def _generation_ends(self) -> list[int]:
        config = self.model.generation_config
        return [] if config is None else _present(config.eos_token_id)

    @cached_property
    def _template_end(self) -> bool:
        """Whether the tokenizer ends every text by itself."""
        return self.tokenizer("a")["input_ids"][-1] in self.end_tokens

    def tokenize_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt with the special tokens that the model is used to, unpadded.

        The end that some tokenizers put after every text is left out for a causal model, which is to go on.

        Raises:
            EditError: a prompt is not text, has no tokens, or is longer than the model's positions.
        """
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise EditError(f"A prompt is text, but {type(prompt).__name__} came: {_start(prompt)}.")
        if not prompts:
            return []
        rows: list[list[int]] = self.tokenizer(list(prompts), verbose=False)["input_ids"]
        if self.task == "causal" and self._template_end:
            rows = [row[:-1] for row in rows]
        for prompt, row in zip(prompts, rows, strict=True):
            if not row:
                raise EditError(f"A prompt needs at least one token, but {_start(prompt)} has none.")
            if self.max_prompt_tokens is not None and len(row) > self.max_prompt_tokens:
                raise EditError(
                    f"Prompt {_start(prompt)} has {len(row)} tokens, but the model reads at most "
                    f"{self.max_prompt_tokens}: shorten it."
                )
        return rows

    def tokenize_targets(self, targets: Sequence[str], prompts: Sequence[str] | None = None) -> list[list[int]]:
        """Token ids of each target as the model is to say it after its prompt, its end token exactly once.

        For a causal model the target goes on from the prompt, after one space where neither side has white space
        at the joint. It is tokenised apart from the prompt, whose tokens and so whose key must not depend on it.
        For a classifier the one id is the class.

        Args:
            targets: right answers.
            prompts: what each goes on from, where that may end in white space; only a causal model asks.

        Raises:
            EditError: a classifier has no such class.
        """
        if self.task == "classification":
            return [[self.label_id(target)] for target in targets]
        if self.task == "causal":
            joints = [""] * len(targets) if prompts is None else prompts
            rows = [self._continuation(prompt, target) for prompt, target in zip(joints, targets, strict=True)]
        else:
            rows = [list(self.tokenizer(text_target=target, verbose=False)["input_ids"]) for target in targets]
        for row in rows:
            while row and row[-1] in self.end_tokens:
                row.pop()
            row.append(self.end_token)
        return rows

    def _continuation(self, prompt: str, target: str) -> list[int]:
        """Tokens of a target as it stands in running text, without special tokens.

        A text's beginning is no running text: SentencePiece tokenizers put a space before it, so ``Asia`` and
        `` Asia`` would get one space too few or too many. So the target is read behind an anchor, a character
        that does not merge with it, and the anchor's tokens are cut off again.
        """
        text = target if target[:1].isspace() or prompt[-1:].isspace() else f" {target}"
        for anchor in ("a", "\n") if text[0].isspace() else ("\n", "a"):
            before, both = self._bare(anchor), self._bare(anchor + text)
            if before and both[: len(before)] == before != both:
                return both[len(before) :]
        return self._bare(text)  # the tokenizer drops or collapses white space, so there is nothing to get wrong

    def _bare(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    @cached_property
    def _label_ids(self) -> dict[str, int]:
        return {normalise(name): i for i, name in enumerate(self.labels)}

    def label_id(self, label: str) -> int:
        """The class of that name; names are equal when their normalised text is (rule 5).

        Raises:
            EditError: the classifier has no such class.
        """
        known = self._label_ids
        if normalise(label) not in known:
            near = difflib.get_close_matches(normalise(label), known, n=3, cutoff=0.5) or list(known)[:10]
            raise EditError(
                f"The classifier has no class {_start(label)}; near ones are "
                f"{', '.join(repr(self.labels[known[name]]) for name in near)} (of {len(self.labels)})."
            )
        return known[normalise(label)]

    def decode_answer(self, ids: Sequence[int] | torch.Tensor) -> str:
        """Token ids of an answer (without the prompt) -> its text up to the first end token, stripped.

        For a classifier the one id is the class, and its name comes back.
        """
        tokens = [int(token) for token in ids]
        if self.task == "classification":
            return self.labels[tokens[0]]
        end = next((i for i, token in enumerate(tokens) if token in self.end_tokens), len(tokens))
        text = self.tokenizer.decode(tokens[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.strip()

    def pad(self, rows: Sequence[Sequence[int]], side: Literal["left", "right"]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ragged token ids -> (input_ids, attention_mask), each [b, s] int64 on the model's device."""
        ids = [torch.tensor(row, dtype=torch.long) for row in rows]
        input_ids = pad_sequence(ids, batch_first=True, padding_value=self.pad_token_id, padding_side=side)
        mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True, padding_side=side)
        return input_ids.to(self.device), mask.to(self.device)

    def infer_mask(self, input_ids: torch.Tensor) -> torch.Tensor:
        """[b, s] token ids -> [b, s] int64 attention mask: pads at either end are masked, those within are not.

        Raises:
            ValueError: a row has nothing but pads.
        """
        real = input_ids != self.pad_token_id
        if not bool(real.any(1).all()):
            empty = (~real.any(1)).nonzero().flatten().tolist()
            raise ValueError(f"Rows {empty} of the token ids hold nothing but the pad token {self.pad_token_id}.")
        begun, goes_on = real.cumsum(1) > 0, real.flip(1).cumsum(1).flip(1) > 0
        return (begun & goes_on).long()

    @staticmethod
    def left_padded(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same rows, [b, s] both, with what is masked moved to the left."""
        order = attention_mask.long().argsort(dim=1, stable=True)
        return input_ids.gather(1, order), attention_mask.gather(1, order)

    def encode(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Runs the part of the model that reads prompts, without any head: [b, s] both -> hidden states [b, s, d]."""
        if self.task == "seq2seq":
            reader, arguments = self.model.get_encoder(), {}
        else:
            reader, arguments = self.model.base_model, {"use_cache": False} if self.task == "causal" else {}
        return reader(input_ids=input_ids, attention_mask=attention_mask, **arguments).last_hidden_state


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
    if task != "classification" and not backbone.end_tokens:
        raise BackboneError(f"Neither {reference}'s tokenizer nor its generation config names an end token (eos).")
    return backbone


def load_backbone(
    reference: str | Path, task: Task, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> Backbone:
    """Loads a model and its tokenizer from a directory or the hub: safetensors only, and none of its code is run.

    Args:
        reference: directory, or hub id.
        task: which head to load.
        device: None takes a GPU where there is one.
        dtype: None keeps that of the checkpoint.

    Raises:
        BackboneError: nothing is there, it is no safetensors checkpoint, or it lacks weights for the task.
    """
    reference = str(reference)
    if task not in AUTO_CLASSES:
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
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model, loading = AUTO_CLASSES[task].from_pretrained(
            source,
            dtype=dtype if dtype is not None else "auto",
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        where = "a directory" if local else "not a directory here, and the hub did not give it"
        cause = str(error).strip().splitlines()[0]
        raise BackboneError(f"Cannot load {reference} for task {task!r} ({where}): {cause}") from error
    if missing := sorted(loading["missing_keys"]):
        raise BackboneError(
            f"{reference} lacks {len(missing)} weights of {type(model).__name__}, {missing[0]} among them, which would "
            "be random at every load: train that head first, and save it."
        )
    target = (
        torch.device(device) if device is not None else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )
    return from_objects(model.to(target), tokenizer, task, reference)


def check_edits(backbone: Backbone, edits: Sequence[Edit]) -> None:
    """Refuses a call that cannot be carried out, before anything happens.

    Raises:
        EditError: naming the edit, when a text is empty or no text, a target says nothing or cannot be said to its
            end, a prompt (with its target, for a causal model) is longer than the model's positions, a class is
            unknown, or an edit comes twice.
    """
    seen: dict[str, int] = {}
    for position, edit in enumerate(edits):
        if not isinstance(edit, Edit):
            raise EditError(f"Item {position} is a {type(edit).__name__}: expected an Edit.")
        for name, text in (("prompt", edit.prompt), ("target", edit.target)):
            if not isinstance(text, str) or not text.strip():
                raise EditError(
                    f"Edit {position} (prompt {_start(edit.prompt)}) needs text as its {name}: {text!r} came."
                )
        if edit.edit_id in seen:
            raise EditError(f"{_named(edit)} comes twice, at {seen[edit.edit_id]} and {position}: send it once.")
        seen[edit.edit_id] = position
        try:
            (prompt,) = backbone.tokenize_prompts([edit.prompt])
            (target,) = backbone.tokenize_targets([edit.target], [edit.prompt])
        except EditError as error:
            raise EditError(f"{_named(edit)}: {error}") from None
        if backbone.task != "classification":
            _check_tokens(backbone, edit, prompt, target)


def _check_tokens(backbone: Backbone, edit: Edit, prompt: list[int], target: list[int]) -> None:
    if not backbone.end_tokens.isdisjoint(target[:-1]):
        raise EditError(f"{_named(edit)}: the target {_start(edit.target)} has an end token before its end.")
    if not backbone.decode_answer(target):
        raise EditError(
            f"{_named(edit)}: the target {_start(edit.target)} has no token but special ones (unknown, pad, end)."
        )
    limit = backbone.max_prompt_tokens
    if backbone.task == "causal" and limit is not None and len(prompt) + len(target) > limit:
        raise EditError(
            f"{_named(edit)}: prompt and target have {len(prompt)} + {len(target)} tokens, but the model reads at most "
            f"{limit}: shorten them."
        )


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


def _tensor_digest(item: tuple[str, torch.Tensor]) -> bytes:
    name, tensor = item
    digest = hashlib.sha256(f"{name}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1f".encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)  # numpy has no bfloat16
    return digest.digest()


def _present(ids: int | list[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)


def _start(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."


def _named(edit: Edit) -> str:
    return f"Edit {edit.edit_id} (prompt {_start(edit.prompt)})"
