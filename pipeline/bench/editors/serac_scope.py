"""SERAC's scope classifier: how probably a query lies in the scope of an edit (Mitchell et al. 2022, section 3.2).

The embedding variant: one encoder reads either, so the edits' embeddings are kept and a query costs one pass.

Shape letters: b texts, q queries, n edits, d hidden.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pipeline.bench.editors.encoding import OwnStates
from pipeline.bench.editors.weights import own_parameters, twin
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit, normalise
from pipeline.editing.radius import PROBES, measured_radius
from pipeline.editing.sentences import Encoder, SentenceEncoder

LOOK_EVERY = 20
"""Steps after which a held-out loss is looked at."""


@dataclass(frozen=True, slots=True)
class ScopeSettings:
    """Settings of the scope classifier.

    Attributes:
        layers: last ones of the encoder that are trained; the authors train all of theirs. On CounterFact with MiniLM
            two layers find the edit of 89% of 100 rephrases; a trained projection of what the frozen encoder gives
            finds less than 1% of 300.
        steps: of Adam at most.
        rate: Adam's; the authors' 1e-5 is for many thousand steps.
        batch: edits of a step, half of them near neighbours of the others.
        neighbours: prompts nearest to an edit's, one of which comes with it as a hard negative.
        hardest: edits nearest to a query, of those whose scope it is not in, that count as its negatives.
        characters: what is read of a text, so that court decisions take bounded time.
        patience: looks at the held-out loss without a lower one before training stops.
    """

    layers: int = 2
    steps: int = 100
    rate: float = 1e-4
    batch: int = 8
    neighbours: int = 10
    hardest: int = 4
    characters: int = 400
    patience: int = 5


class ScopeClassifier:
    """The probability that a query lies in an edit's scope: exp(-|W (q - e)|^2) of the embeddings of their texts.

    Args:
        backbone: embeds texts where there is no encoder, with a copy of its last layers.
        encoder: folder or hub id of a sentence encoder; None: the backbone.
        settings: how it is trained.

    Attributes:
        weights: what is trained: W [d, d], first so that unrelated texts are far out of scope, and those layers.
        size: numbers kept beside the backbone.

    Raises:
        EncoderError: the encoder cannot be loaded.
    """

    def __init__(self, backbone: Backbone, encoder: str | Path | None, settings: ScopeSettings) -> None:
        self.settings = settings
        self._from_end = backbone.task == "causal"  # what is asked last matters most there
        self._encoder: _Trainable
        if encoder is None:
            names = [name for name, _ in backbone.model.named_parameters() if "decoder" not in name.split(".")]
            own = twin(backbone, last_layers(names, settings.layers))
            self._encoder = _TrainableStates(own)
            trained: list[torch.Tensor] = list(own_parameters(own).values())
        else:
            self._encoder = _TrainableSentences(encoder, backbone.device)
            parameters = self._encoder.named_parameters()
            trained = [parameters[name].requires_grad_() for name in last_layers(parameters, settings.layers)]
        probes = self.embed(PROBES)
        scale = math.sqrt(math.log(2)) / measured_radius(probes)  # at that distance the probability is one half
        self.projection = nn.Parameter(torch.eye(probes.shape[1], device=probes.device) * scale)
        self.weights = [self.projection, *trained]
        frozen = 0 if encoder is None else self._encoder.parameters - sum(weight.numel() for weight in trained)
        self.size = sum(weight.numel() for weight in self.weights) + frozen

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """[b, d] float32, each of length 1, without gradients."""
        return self._encoder.embed(self._read(texts))

    def costs(self, queries: torch.Tensor, edits: torch.Tensor) -> torch.Tensor:
        """[q, d] and [n, d] -> [q, n], minus the logarithm of the probability."""
        left, right = queries @ self.projection.T, edits @ self.projection.T
        return (left.square().sum(1)[:, None] + right.square().sum(1) - 2 * left @ right.T).clamp_min(0)

    def train(
        self, pairs: Sequence[Edit], held: Sequence[Edit], upstream: Sequence[str], draw: random.Random
    ) -> tuple[float, float]:
        """Learns scopes. Inside are an edit's rephrases (its prompt, where it has none); outside are locality and
        upstream prompts, and what belongs to other edits.

        Returns:
            The loss of the held-out edits before training, and the lowest.
        """
        near = self._neighbours(pairs)

        def loss() -> torch.Tensor:
            chosen = draw.sample(range(len(pairs)), min(len(pairs), -(-self.settings.batch // 2)))
            beside = [draw.choice(near[place]) for place in chosen if near[place]]
            exam = self._exam([pairs[place] for place in dict.fromkeys(chosen + beside)], upstream, draw)
            return self._loss(exam, self._encoder.pooled)

        @torch.no_grad()
        def held_out() -> float:
            return self._loss(watched, self._encoder.embed).item()

        watched = self._exam(held, upstream, draw)
        adam = torch.optim.Adam(self.weights, lr=self.settings.rate)
        return train_until(adam, loss, held_out, self.settings.steps, self.settings.patience)

    def _neighbours(self, pairs: Sequence[Edit]) -> list[list[int]]:
        vectors = self.embed([edit.prompt for edit in pairs])
        cosines = (vectors @ vectors.T).fill_diagonal_(-2)
        return cosines.topk(min(self.settings.neighbours, len(pairs) - 1)).indices.tolist()

    def _exam(
        self, edits: Sequence[Edit], upstream: Sequence[str], draw: random.Random
    ) -> tuple[list[str], torch.Tensor]:
        """q queries and n edits' prompts, one list, and [q, n] bool: in whose scope the queries are."""
        queries = [(draw.choice(edit.rephrases or (edit.prompt,)), normalise(edit.prompt)) for edit in edits]
        stray = [draw.choice(edit.locality) for edit in edits if edit.locality]
        stray += draw.sample(upstream, min(len(upstream), len(edits) // 2))
        queries += [(text, normalise(text)) for text in stray]
        prompts = [normalise(edit.prompt) for edit in edits]
        inside = torch.tensor([[scope == prompt for prompt in prompts] for _, scope in queries])
        return [text for text, _ in queries] + [edit.prompt for edit in edits], inside.to(self.projection.device)

    def _loss(
        self, exam: tuple[list[str], torch.Tensor], embed: Callable[[Sequence[str]], torch.Tensor]
    ) -> torch.Tensor:
        texts, inside = exam
        queries, edits = embed(self._read(texts)).split(list(inside.shape))
        return scope_loss(self.costs(queries, edits), inside, self.settings.hardest)

    def _read(self, texts: Sequence[str]) -> list[str]:
        length = self.settings.characters
        return [text[-length:] if self._from_end else text[:length] for text in texts]


class _Trainable(Encoder):
    def pooled(self, texts: Sequence[str]) -> torch.Tensor:
        """As ``embed`` has it, in one pass and with gradients."""
        with torch.enable_grad():
            return self._read(list(texts))


class _TrainableStates(_Trainable, OwnStates):
    pass


class _TrainableSentences(_Trainable, SentenceEncoder):
    def named_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self._model.named_parameters())


def last_layers(names: Iterable[str], count: int) -> list[str]:
    """Of names of parameters those in the last so many layers, known by the first number in them."""
    numbered = {name: int(found[1]) for name in names if (found := re.match(r".*?\.(\d+)\.", name))}
    top = max(numbered.values(), default=0)
    return [name for name, layer in numbered.items() if layer > top - count]


def scope_loss(costs: torch.Tensor, inside: torch.Tensor, hardest: int) -> torch.Tensor:
    """Binary cross-entropy, of queries inside scopes and of the hardest ones outside alike (section 3.2).

    Args:
        costs: [q, n], minus the logarithm of each probability.
        inside: [q, n] bool, which query is in whose scope; at least one is.
        hardest: negatives of a query.
    """
    outside = costs.masked_fill(inside, math.inf).topk(min(hardest, costs.shape[1]), dim=1, largest=False).values
    refused = -torch.log(-torch.expm1(-outside[outside.isfinite()].clamp_min(1e-4)))
    return costs[inside].mean() + (refused.mean() if refused.numel() else 0.0)


def train_until(
    adam: torch.optim.Adam,
    loss: Callable[[], torch.Tensor],
    held_out: Callable[[], float],
    steps: int,
    patience: int,
    enough: float = 0.0,
) -> tuple[float, float]:
    """Trains until the held-out loss stops falling, and goes back to where it was lowest. The rate falls to zero.

    Args:
        adam: with all weights that are trained.
        loss: of a new batch, with gradients.
        held_out: loss of what is not trained on.
        steps: at most.
        patience: looks without a lower loss, one every ``LOOK_EVERY`` steps.
        enough: loss at which it stops anyhow.

    Returns:
        The held-out loss before training, and the lowest.
    """
    weights = [weight for group in adam.param_groups for weight in group["params"]]
    falling = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, total_iters=steps)
    first = best = held_out()
    kept, waited = [weight.detach().clone() for weight in weights], 0
    for step in range(1, steps + 1):
        adam.zero_grad()
        with torch.enable_grad():
            loss().backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        adam.step()
        falling.step()
        if step % LOOK_EVERY and step < steps:
            continue
        now = held_out()
        waited = 0 if now < best else waited + 1
        if now < best:
            best, kept = now, [weight.detach().clone() for weight in weights]
        if waited == patience or best < enough:
            break
    with torch.no_grad():
        for weight, value in zip(weights, kept, strict=True):
            weight.copy_(value)
    adam.zero_grad()
    return first, best
