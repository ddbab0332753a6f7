"""What a study is made on: a backbone, a stream of edits, what must not change, and what editors may learn before.

Without further words these are the shared folder's models and data; with a preset of the paper's, its backbone and data
by their public names; and whatever is named prevails.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.bench.editors.protocol import Prior
from pipeline.bench.material import MaterialError, shared_folder
from pipeline.bench.study.examination import untouched
from pipeline.bench.study.tasks import TASKS, Data, StudyTask, TaskName
from pipeline.editing.backbone import Backbone
from pipeline.editing.check import usable
from pipeline.editing.edit import Edit, normalise
from pipeline.editing.sentences import minilm
from pipeline.evaluation.generation import readable

QUICK = 24
"""Edits, and questions of a kind, of a study that is only to be tried."""
QUICK_PRIOR = 96
"""What its editors may learn from before the first edit."""

Pair = tuple[str, str]
"""A prompt and its right answer."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asked for; None where it is left to the task.

    Attributes:
        task: which study.
        paper: one of the task's ``papers``, by name.
        backbone, encoder: folders or hub ids.
        edits, upstream, pairs: sources of ``public.load_reports``.
        count: edits of the stream.
        seed: of everything drawn.
        quick: few edits and questions.
        made: folder for backbones that the study makes.
    """

    task: TaskName
    paper: str | None = None
    backbone: str | None = None
    encoder: str | None = None
    edits: str | None = None
    upstream: str | None = None
    pairs: str | None = None
    count: int | None = None
    seed: int = 0
    quick: bool = False
    made: Path = Path(".melo/bench")

    @property
    def settled(self) -> StudyTask:
        """The task, with fewer edits and questions where that was asked for."""
        task = TASKS[self.task]
        edits, questions = (QUICK, QUICK) if self.quick else (task.edits, task.questions)
        return replace(task, edits=self.count or edits, questions=questions)


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """What every editor of a study gets.

    Attributes:
        task: its name.
        backbone: the model.
        edits: the stream, with holdouts as ``rephrases`` and neighbours as ``locality``.
        upstream: the backbone's own task, to be scored.
        accurate: outputs that were right before, to be scored (hallucination only).
        prior: what editors may learn from before the first edit.
        refused: edits that the backbone cannot take.
        sources: where all of it came from, for a person.
        seed: of everything drawn.
    """

    task: TaskName
    backbone: Backbone
    edits: tuple[Edit, ...]
    upstream: tuple[Pair, ...]
    accurate: tuple[Pair, ...]
    prior: Prior
    refused: int
    sources: tuple[str, ...]
    seed: int

    @property
    def digest(self) -> str:
        """Equal for equal studies: SHA-256 over backbone, stream, questions, prior and seed."""
        told: list[object] = [self.task, self.backbone.digest, self.seed, str(self.prior.encoder)]
        told += [[e.edit_id, e.prompt, e.rephrases, e.locality] for e in (*self.edits, *self.prior.pairs)]
        told += [self.upstream, self.accurate, self.prior.upstream]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def settle(wanted: Wanted) -> Data:
    """Where backbone and data are: what is named, else the preset's, else the shared folder's.

    Whoever names the edits names what goes with them too: without ``upstream`` there is none.

    Raises:
        MaterialError: something is neither named nor there.
    """
    task = TASKS[wanted.task]
    if wanted.paper is not None:
        if wanted.paper not in task.papers:
            known = ", ".join(f"{name} ({of})" for of, each in TASKS.items() for name in each.papers)
            raise MaterialError(f"{wanted.task} has no preset {wanted.paper!r}; there are {known}")
        usual = task.papers[wanted.paper]
    else:
        usual = _shared(task.data)
    own = wanted.edits is not None
    data = Data(
        wanted.backbone or usual.backbone,
        wanted.edits or usual.edits,
        wanted.upstream or ("" if own else usual.upstream),
        wanted.pairs or (None if own else usual.pairs),
    )
    needed = [name for name in (data.edits, data.upstream, data.pairs) if name and name.endswith(".jsonl")]
    missing = [name for name in needed if not own and wanted.paper is None and not Path(name).is_file()]
    if missing:
        raise MaterialError(
            f"nothing to study {wanted.task} on: expected {missing[0]}. Name a backbone and data (--backbone, --edits, "
            "--upstream), a preset of the paper's (--paper), or a folder that has models and data with MELO_SHARED"
        )
    return data


def assembled(
    wanted: Wanted,
    backbone: Backbone,
    stream: Sequence[Edit],
    upstream: Sequence[Pair],
    pairs: Sequence[Edit],
    replay: Sequence[Pair] | None = None,
    accurate: Sequence[Pair] = (),
) -> Study:
    """A study of what the backbone can take, cut to the sizes that are wanted.

    Nothing that is taught or scored is among what editors may learn from before the first edit.

    Args:
        stream: edits in their order.
        upstream: in an order that was drawn; the first are scored.
        pairs: edits that are not in the stream.
        replay: what editors may learn the upstream task from; None: what is left of ``upstream``.
        accurate: outputs that were right before.

    Raises:
        MaterialError: no edit is left.
    """
    task, data = wanted.settled, settle(wanted)
    cut = task.tokens
    taken, refused = usable(backbone, _fitting_edits(backbone, stream[: task.edits], cut))
    if not taken:
        why = next(iter(refused.values()), "it is empty")
        raise MaterialError(f"{data.edits} has no edit for {backbone.reference}: {why}")
    others = untouched(taken, _fitting_pairs(backbone, upstream, cut))
    scored, rest = others[: task.questions], others[TASKS[wanted.task].questions :]
    told = _fitting_pairs(backbone, accurate, cut)[: task.questions]
    secret = {normalise(text) for edit in taken for text in (edit.prompt, *edit.rephrases)}
    secret |= {normalise(prompt) for prompt, _ in (*scored, *told)}
    spare = rest if replay is None else _fitting_pairs(backbone, replay, cut)
    spare = [pair for pair in spare if normalise(pair[0]) not in secret]
    known = usable(backbone, _fitting_edits(backbone, pairs, cut))[0]
    known = [pair for pair in known if secret.isdisjoint(map(normalise, (pair.prompt, *pair.rephrases)))]
    most = QUICK_PRIOR if wanted.quick else None
    prior = Prior(tuple(known[:most]), tuple(spare[:most]), wanted.encoder or minilm(), wanted.seed)
    sources = (backbone.reference, data.edits, data.upstream, data.pairs)
    return Study(
        task=wanted.task,
        backbone=backbone,
        edits=tuple(taken),
        upstream=tuple(scored),
        accurate=tuple(told),
        prior=prior,
        refused=len(refused),
        sources=tuple(source for source in sources if source),
        seed=wanted.seed,
    )


def _shared(data: Data) -> Data:
    """The same with paths in the shared folder."""
    folder = shared_folder()
    named = (data.edits, data.upstream, data.pairs)
    edits, upstream, pairs = (name and str(folder / "data" / f"{name}.jsonl") for name in named)
    backbone = data.backbone and str(folder / "models" / data.backbone)
    return Data(backbone, edits or "", upstream or "", pairs)


def _fitting_edits(backbone: Backbone, edits: Iterable[Edit], tokens: int | None) -> list[Edit]:
    """Edits with prompts cut to so many tokens, and without the holdouts and neighbours that can't be asked."""
    return [
        replace(
            edit,
            prompt=clipped(backbone, edit.prompt, tokens),
            rephrases=readable(backbone, (clipped(backbone, text, tokens) for text in edit.rephrases)),
            locality=readable(backbone, (clipped(backbone, text, tokens) for text in edit.locality)),
        )
        for edit in edits
    ]


def _fitting_pairs(backbone: Backbone, pairs: Iterable[Pair], tokens: int | None) -> list[Pair]:
    """Those that the backbone has room and tokens for, as an edit of them would need."""
    edits = {Edit(clipped(backbone, prompt, tokens), target): None for prompt, target in pairs}
    return [(edit.prompt, edit.target) for edit in usable(backbone, edits)[0]]


def clipped(backbone: Backbone, text: str, tokens: int | None) -> str:
    """The start of a text that has so many tokens at most, those that the tokenizer adds counted."""
    if tokens is None:
        return text
    cut = backbone.tokenizer(text, truncation=True, max_length=tokens, return_offsets_mapping=True)
    return text[: max((end for _, end in cut["offset_mapping"]), default=0)]
