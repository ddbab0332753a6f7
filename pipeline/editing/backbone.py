"""The model being edited, frozen for ever, and how text becomes its tokens and back.

Shape letters: b prompts, s tokens.
"""

from __future__ import annotations

import difflib
import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipeline.editing.edit import EditError, normalise
from pipeline.errors import MeloError
from pipeline.settings import Task

UNTRAINED = 1e-2
"""Two output rows that differ by less than this part of their norm were never told apart by training."""


class BackboneError(MeloError, ValueError):
    """A model that cannot be loaded, or cannot be edited for the task it was given."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen model with its tokenizer. Made by ``pipeline.editing.loading``.

    Attributes:
        model: in eval mode, no parameter requires a gradient.
        tokenizer: a copy of its own, which has a pad token and pads on the task's side.
        task: ``seq2seq``, ``causal`` or ``classification``.
        reference: path or hub id, as given.
        training: held by whoever trains blocks on the model.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: Task
    reference: str
    training: threading.Lock = field(default_factory=threading.Lock, repr=False)

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
        return weights_digest(self.model)

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
        """Tokens that end an answer: the generation config's, the tokenizer's, and the one that edits end with."""
        return frozenset([*self._generation_ends, *_present(self.tokenizer.eos_token_id), self.end_token])

    @cached_property
    def end_token(self) -> int:
        """The token that a target is taught to end with: one that generation stops at and the model can say.

        A token that training never saw shares its output row with other such tokens and can't win against them.
        The stories of llama2.c, for one, end with the next one's beginning, and their eos was never seen; then
        the beginning is the natural end.

        Raises:
            BackboneError: there is no such token.
        """
        own, stops = _present(self.tokenizer.eos_token_id), self._generation_ends
        candidates = [*(token for token in own if token in stops or not stops), *stops, *own]
        for token in [*candidates, *_present(self.tokenizer.bos_token_id)] if candidates else []:
            if self._can_say(token):
                return token
        raise BackboneError(
            f"{self.reference} has no end token that it could say: its tokenizer and generation config name "
            f"{candidates or 'none'}, and no such token has an output row of its own. Set one there."
        )

    def _can_say(self, token: int) -> bool:
        rows = self.model.get_output_embeddings().weight  # [v, d]
        if token >= len(rows):
            return False
        row = rows[token].float()
        slack = UNTRAINED * row.norm()
        near = ((rows[:, :8].float() - row[:8]).norm(dim=1) <= slack).nonzero().flatten()  # tells nearly all apart
        return int(((rows[near].float() - row).norm(dim=1) <= slack).sum()) == 1

    @cached_property
    def generation_defaults(self) -> dict[str, Any]:
        """What ``generate`` has to be told of ends and pads: only what the model's generation config has otherwise.

        Each argument makes transformers copy and check that config again, in every call.
        """
        config = self.model.generation_config
        ends = sorted(self.end_tokens)
        wanted: dict[str, Any] = {}
        if sorted(self._generation_ends) != ends:
            wanted["eos_token_id"] = ends
        if config is None or config.pad_token_id != self.pad_token_id:
            wanted["pad_token_id"] = self.pad_token_id
        return wanted

    @property
    def _generation_ends(self) -> list[int]:
        config = self.model.generation_config
        return [] if config is None else _present(config.eos_token_id)

    @cached_property
    def _template_end(self) -> bool:
        """Whether the tokenizer ends every text by itself."""
        return self.tokenizer("a")["input_ids"][-1] in self.end_tokens

    def texts_of(self, ids: torch.Tensor, mask: torch.Tensor) -> list[str]:
        """Prompts as texts again: [b, s] both, special tokens left out."""
        rows = [row[kept].tolist() for row, kept in zip(ids.cpu(), mask.cpu().bool(), strict=True)]
        return [str(text) for text in self.tokenizer.batch_decode(rows, skip_special_tokens=True)]

    def tokenize_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt with the special tokens that the model is used to, unpadded.

        The end that some tokenizers put after every text is left out for a causal model, which is to go on.

        Raises:
            EditError: a prompt is not text, has no tokens, or is longer than the model's positions.
        """
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise EditError(f"A prompt is text, but {type(prompt).__name__} came: {quoted(prompt)}.")
        if not prompts:
            return []
        rows: list[list[int]] = self.tokenizer(list(prompts), verbose=False)["input_ids"]
        if self.task == "causal" and self._template_end:
            rows = [row[:-1] for row in rows]
        for prompt, row in zip(prompts, rows, strict=True):
            if not row:
                raise EditError(f"A prompt needs at least one token, but {quoted(prompt)} has none.")
            if self.max_prompt_tokens is not None and len(row) > self.max_prompt_tokens:
                raise EditError(
                    f"Prompt {quoted(prompt)} has {len(row)} tokens, but the model reads at most "
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
                f"The classifier has no class {quoted(label)}; near ones are "
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

    def aligned(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same rows, [b, s] both, with what is masked moved to the side where the model expects it.

        A causal model goes on from the last column, and a classifier counts its positions from the first. An
        encoder-decoder's positions are relative: its rows stay as they are.
        """
        if self.task == "seq2seq":
            return input_ids, attention_mask
        order = attention_mask.long().argsort(dim=1, stable=True, descending=self.task == "classification")
        return input_ids.gather(1, order), attention_mask.gather(1, order)

    def encode(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Runs the part of the model that reads prompts, without any head: [b, s] both -> hidden states [b, s, d]."""
        if self.task == "seq2seq":
            reader, arguments = self.model.get_encoder(), {}
        else:
            reader, arguments = self.model.base_model, {"use_cache": False} if self.task == "causal" else {}
        return reader(input_ids=input_ids, attention_mask=attention_mask, **arguments).last_hidden_state


def weights_digest(model: PreTrainedModel, *others: str) -> str:
    """64 hexadecimal digits of SHA-256 over the names, dtypes, shapes and bytes of all weights, and other texts."""
    with ThreadPoolExecutor() as pool:  # hashlib lets other threads run
        parts = pool.map(_tensor_digest, sorted(model.state_dict().items(), key=lambda item: item[0]))
        return hashlib.sha256(b"".join([*parts, *(other.encode() for other in others)])).hexdigest()


def _tensor_digest(item: tuple[str, torch.Tensor]) -> bytes:
    name, tensor = item
    digest = hashlib.sha256(f"{name}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1f".encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)  # numpy has no bfloat16
    return digest.digest()


def _present(ids: int | list[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)


def quoted(text: object) -> str:
    """The start of a text in quotes, for messages."""
    shown = repr(text)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."
