"""SERAC: edits are kept as texts; a classifier says whose scope a prompt lies in, a second model answers it from there.

Mitchell et al., "Memory-Based Model Editing at Scale", ICML 2022: an edit memory, a scope classifier (the embedding
variant, section 3.2) and a counterfactual model (section 3.3). Both are trained before the first edit; an edit is a
line in the memory.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from pipeline.bench.editors.protocol import Editor, Part, Prior
from pipeline.bench.editors.serac_scope import ScopeClassifier, ScopeSettings, train_until
from pipeline.bench.editors.weights import edit_loss, own_parameters, twin
from pipeline.editing.answering import SLACK
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit, normalise
from pipeline.editing.forced import Forced

PRETRAINED = 256
"""Models of this width are taken to be pretrained: too high a rate would undo it. Narrower ones come from scratch."""


@dataclass(frozen=True, slots=True)
class SeracSettings:
    """Settings of SERAC. The authors train pretrained models at 1e-5 until a held-out loss stops falling, for hours.

    These were measured with 400 pairs, in about four minutes of one core. A small GPT-2 trained from scratch learns to
    read an edit between 300 and 1200 steps at 3e-3, and had not begun to after 500 at 1e-3; it says 72% of 100 new
    edits. A small T5 trained from scratch doesn't learn it in 1500 steps, neither at 3e-3 (4% of 48 new edits) nor at
    1e-3 (8% of 100), although every query finds its edit. A pretrained MiniLM that classifies court decisions learns it
    in 60 steps at 1e-4 (all of 100 new edits), and never at 3e-3.

    Attributes:
        pairs: edits to train on at most, and so bounds the time of ``prepare``.
        held_out: share of them that is not trained on and says when to stop.
        scope: of the classifier.
        steps: of Adam on the counterfactual model at most.
        rate: Adam's there, falling linearly to zero; None: 1e-4 for models of width ``PRETRAINED`` and more, 3e-3 for
            narrower ones.
        batch: pairs of such a step.
        swapped: share of pairs trained with the target of another pair or of an upstream prompt (of any class):
            what an edit says is to be read from it, not remembered. The authors' edits are made-up answers likewise.
        context_tokens: of an edit and a query together at most; both are shortened to fit.
        patience: looks at the held-out loss, one every twenty steps, without a lower one before training stops.
        enough: held-out loss at which it stops anyhow.
    """

    pairs: int = 1000
    held_out: float = 0.1
    scope: ScopeSettings = field(default_factory=ScopeSettings)
    steps: int = 1500
    rate: float | None = None
    batch: int = 16
    swapped: float = 0.8
    context_tokens: int = 128
    patience: int = 15
    enough: float = 0.005


class Serac(Editor):
    """SERAC, with the backbone's own kind as counterfactual model, all its weights its own.

    The classifier compares prompts alone, as the authors have it for models whose edits are running text: so an edit's
    own prompt is always in its scope. Of one prompt sent twice the latest edit prevails.

    Without ``prior.pairs`` both models are trained on ``prior.upstream``, which has no rephrases: the classifier then
    learns only what is not meant. Without either nothing is trained: the classifier takes prompts that are much nearer
    to each other than unrelated ones are (``measured_radius``), and the counterfactual model is the backbone with the
    edit put before the query, which it was never taught to read.

    Attributes:
        settings: as given.
        classifier: says who answers.
        counterfactual: answers inside scopes.
        losses: of the held-out pairs, of both models, before training and at its best.
    """

    name: ClassVar[str] = "serac"

    def __init__(self, backbone: Backbone, prior: Prior, settings: SeracSettings | None = None) -> None:
        super().__init__(backbone, prior)
        self.settings = settings or SeracSettings()
        self.classifier = ScopeClassifier(backbone, prior.encoder, self.settings.scope)
        self.counterfactual = twin(backbone, [name for name, _ in backbone.model.named_parameters()])
        self.losses: dict[str, tuple[float, float]] = {}
        self._memory: dict[str, tuple[Edit, torch.Tensor]] = {}  # normalised prompt -> edit and embedding [d]
        self._room = 0  # positions that a causal model's answers need behind what is asked

    def prepare(self) -> None:
        """Trains both models on the prior's pairs, all of them at hand before the first edit."""
        draw = random.Random(self.prior.seed)
        pairs = list(self.prior.pairs or (Edit(prompt, answer) for prompt, answer in self.prior.upstream))
        draw.shuffle(pairs)
        pairs = pairs[: self.settings.pairs]
        if pairs:
            held = max(1, round(len(pairs) * self.settings.held_out)) if len(pairs) > 1 else 0
            upstream = [prompt for prompt, _ in self.prior.upstream]
            self.losses["scope"] = self.classifier.train(pairs[held:], pairs[:held] or pairs, upstream, draw)
            self._train_counterfactual(pairs[held:], pairs[:held] or pairs, draw)

    def edit(self, edits: Sequence[Edit]) -> None:
        """Writes edits into the memory."""
        if not edits:
            return
        for edit, vector in zip(edits, self.classifier.embed([e.prompt for e in edits]), strict=True):
            self._memory[normalise(edit.prompt)] = (edit, vector)

    def parts(self, prompts: Sequence[str]) -> list[Part]:
        found = self._scopes(prompts)
        outside = [row for row, edit in enumerate(found) if edit is None]
        inside = [(row, edit) for row, edit in enumerate(found) if edit is not None]
        rewritten = [self.in_context(edit, prompts[row]) for row, edit in inside]
        return [
            Part(outside, self.backbone, [prompts[row] for row in outside]),
            Part([row for row, _ in inside], self.counterfactual, rewritten),
        ]

    def size(self) -> int:
        """Classifier, encoder included where it is not the backbone, counterfactual model, and texts."""
        models = self.classifier.size + self.counterfactual.model.num_parameters()
        texts = [text for edit, _ in self._memory.values() for text in (edit.prompt, edit.target)]
        return models + sum(len(self._ids(text)) for text in texts)

    def answer(self, prompts: Sequence[str], new_tokens: int) -> list[list[int]]:
        """See ``Answerer``."""
        with self._leaving(new_tokens):
            return super().answer(prompts, new_tokens)

    def forced(self, prompts: Sequence[str], targets: Sequence[str]) -> Forced:
        """See ``Answerer``."""
        with self._leaving(max(map(len, self.backbone.tokenize_targets(targets, prompts)), default=0)):
            return super().forced(prompts, targets)

    def in_context(self, edit: Edit, query: str) -> str:
        """An edit's prompt and target and a query, one after the other, shortened to what the model reads.

        The target gets at most half of the room, the query at least half of what is left. A text that is cut loses its
        beginning in a causal model, which goes on from the end, and its end elsewhere.
        """
        limit = budget = self._limit()
        while True:
            target = self._cut(edit.target, budget // 2)
            rest = budget - len(self._ids(target))
            asked = self._cut(query, max(rest // 2, rest - len(self._ids(edit.prompt))))
            told = self._cut(edit.prompt, rest - len(self._ids(asked)))
            text = " ".join(part for part in (told, target, asked) if part)
            over = len(self.backbone.tokenizer(text, verbose=False)["input_ids"]) - limit  # special tokens count too
            if over <= 0 or budget <= over:
                return text
            budget -= over

    def _limit(self) -> int:
        """Tokens of a context."""
        positions = self.backbone.max_prompt_tokens
        if positions is None:
            return self.settings.context_tokens
        return max(1, min(self.settings.context_tokens, positions - self._room))

    @contextmanager
    def _leaving(self, room: int) -> Iterator[None]:
        """Within it a causal model's contexts leave positions for so many tokens of an answer."""
        before, self._room = self._room, room if self.backbone.task == "causal" else 0
        try:
            yield
        finally:
            self._room = before

    def _ids(self, text: str) -> list[int]:
        return list(self.backbone.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _cut(self, text: str, tokens: int) -> str:
        """At most so many tokens of a text."""
        ids = self._ids(text)
        if len(ids) <= tokens:
            return text
        kept = ids[len(ids) - tokens :] if self.backbone.task == "causal" else ids[:tokens]
        return str(self.backbone.tokenizer.decode(kept, skip_special_tokens=True))

    @torch.no_grad()
    def _scopes(self, prompts: Sequence[str]) -> list[Edit | None]:
        """For each prompt the edit whose scope it most probably lies in, if that is more likely than not."""
        if not self._memory or not prompts:
            return [None] * len(prompts)
        edits, vectors = zip(*self._memory.values(), strict=True)
        costs, nearest = self.classifier.costs(self.classifier.embed(prompts), torch.stack(vectors)).min(1)
        inside = (costs < math.log(2)).tolist()
        return [edits[place] if within else None for place, within in zip(nearest.tolist(), inside, strict=True)]

    def _train_counterfactual(self, pairs: Sequence[Edit], held: Sequence[Edit], draw: random.Random) -> None:
        """Cross-entropy of the target, given the edit and a query of its scope (Eq. 5)."""
        told = [*pairs, *held]
        longest = max(map(len, self.backbone.tokenize_targets([e.target for e in told], [e.prompt for e in told])))
        choices = self.backbone.labels or [*(e.target for e in told), *(answer for _, answer in self.prior.upstream)]

        def lesson(edit: Edit) -> Edit:
            target = draw.choice(choices) if draw.random() < self.settings.swapped else edit.target
            said = replace(edit, target=target)
            return Edit(self.in_context(said, draw.choice((edit.prompt, *edit.rephrases))), target)

        def loss() -> torch.Tensor:
            return edit_loss(self.counterfactual, [lesson(edit) for edit in draw.choices(pairs, k=self.settings.batch)])

        @torch.no_grad()
        def held_out() -> float:
            batches = [watched[at : at + self.settings.batch] for at in range(0, len(watched), self.settings.batch)]
            return sum(edit_loss(self.counterfactual, batch).item() * len(batch) for batch in batches) / len(watched)

        weights = list(own_parameters(self.counterfactual).values())
        usual = 1e-4 if self.backbone.model.config.hidden_size >= PRETRAINED else 3e-3
        adam = torch.optim.Adam(weights, lr=self.settings.rate or usual)
        with self._leaving(longest + SLACK):
            watched = [lesson(edit) for edit in held]
            self.losses["counterfactual"] = train_until(
                adam, loss, held_out, self.settings.steps, self.settings.patience, self.settings.enough
            )
