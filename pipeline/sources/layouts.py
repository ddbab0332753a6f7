"""Rows as people have them, told as fields of ``Report``.

A flat row says them under one of several names. zsRE (MEND's layout), CounterFact (ROME's layout; EasyEdit's is
flat) and SelfCheckGPT's passages are known by the keys that only they have, opinions of the US Supreme Court (FairLex,
LexGLUE) also by what stands in them. What no field takes is metadata.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from pipeline.sources.report import PROMPT_CHARACTERS
from pipeline.sources.strict_json import ReportError, parse

Fields = dict[str, Any]

ALIASES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "text", "question", "input", "query"),
    "target": ("target", "label", "labels", "answer", "target_new", "correction", "expected", "targets"),
    "rephrases": ("rephrases", "rephrase", "rephrase_prompt", "rephrase_prompts", "paraphrases", "paraphrase_prompts"),
    "locality": ("locality", "locality_prompt", "locality_prompts", "neighborhood_prompts"),
    "subject": ("subject", "concept", "entity"),
    "aliases": ("aliases", "subject_aliases", "alias", "s_aliases"),
    "reporter": ("reporter", "reported_by"),
    "time": ("time", "timestamp", "reported_at", "created_at"),
    "model_version": ("model_version",),
    "evidence": ("evidence",),
    "tenant": ("tenant",),
    "valid_until": ("valid_until", "expires_at", "expires"),
    "metadata": ("metadata",),
}
"""Field -> names it goes by, the best first; case, blanks and hyphens make no difference."""

_NEAR_ANSWER = "locality_ground_truth"
_RANKS = {alias: (field, rank) for field, aliases in ALIASES.items() for rank, alias in enumerate(aliases)}
_RANKS[_NEAR_ANSWER] = (_NEAR_ANSWER, 0)
_ACCEPTED = ("answer", "targets")
"""Names under which several accepted answers come, as in NQ-open; a list under any other name is none."""
_NEAR_TARGETS = ("target", "ground_truth", "answer", "label")
PASSAGE = frozenset({"wiki_bio_text", "annotation"})
"""The keys of a passage of SelfCheckGPT."""
SELFCHECK = "selfcheckgpt"
"""What the metadata of a passage's sentences calls their layout."""
ISSUE_AREAS = (
    "Criminal Procedure",
    "Civil Rights",
    "First Amendment",
    "Due Process",
    "Privacy",
    "Attorneys",
    "Unions",
    "Economic Activity",
    "Judicial Power",
    "Federalism",
    "Interstate Relations",
    "Federal Taxation",
    "Miscellaneous",
)
"""Of the Supreme Court Database, in the order of its codes from 1; LexGLUE has them from 0 and lacks the 14th, private
action."""
FAIRLEX_AREAS = tuple(area for area in ISSUE_AREAS if area not in ("Interstate Relations", "Miscellaneous"))
"""FairLex has 11, from 0."""
_CITES_COURT = re.compile(r"\b\d+ (?:U\. ?S|S\. ?Ct|L\. ?Ed)\.|SUPREME COURT OF THE UNITED STATES")
SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\b[A-Z]\.)(?<!\b(?:Mr|Dr|St|Jr|Sr)\.)(?<!\bMrs\.)\s+(?=[\"'(]?[A-Z0-9])")


def told(row: dict[str, Any]) -> Iterator[Fields]:
    """The fields of each report in a row: of one, except for a passage with several wrong sentences.

    Raises:
        ReportError: the row's layout is known but broken.
    """
    for keys, layout in LAYOUTS:
        if keys <= row.keys():
            yield from layout(row)
            return
    yield flat(row)


def flat(row: dict[str, Any]) -> Fields:
    """A row whose columns are the fields, under any of their names. What is null or empty counts as not there.

    Of several accepted answers the first is the target; the others are kept in the metadata as ``other_targets``.
    """
    rest = {name: value for name, value in row.items() if value is not None and value != ""}
    best: dict[str, tuple[int, str]] = {}
    for name in rest:
        field, rank = _RANKS.get(plain(name), ("", 0))
        if field and (field not in best or rank < best[field][0]):
            best[field] = rank, name
    fields: Fields = {field: rest.pop(name) for field, (_, name) in best.items()}
    if isinstance(accepted := fields.get("target"), list) and accepted and plain(best["target"][1]) in _ACCEPTED:
        fields["target"], *others = accepted
        rest |= {"other_targets": others} if others else {}
    answer = fields.pop(_NEAR_ANSWER, None)
    for field in fields.keys() & {"rephrases", "aliases"}:
        fields[field] = _listed(fields[field])
    if "locality" in fields:
        fields["locality"] = _near(fields["locality"], answer)
    return fields | {"metadata": _metadata(fields.get("metadata"), rest)}


def plain(name: str) -> str:
    """A column's name as ALIASES has it."""
    return name.strip().casefold().replace("-", "_").replace(" ", "_")


def mend(row: dict[str, Any]) -> Iterator[Fields]:
    """zsRE as MEND, EasyEdit and others have it: ``alt`` is the edit that is asked for (``cond`` says so too).

    ``answers``, the truth of the question, is kept in the metadata. Locality comes from Natural Questions.
    """
    rest = dict(row)
    fields: Fields = {"prompt": rest.pop("src"), "target": rest.pop("alt")}
    rephrase, near, answer = rest.pop("rephrase", None), rest.pop("loc", None), rest.pop("loc_ans", None)
    if rephrase is not None:
        fields["rephrases"] = _listed(rephrase)
    if near is not None:
        prompt = near.removeprefix("nq question: ") if isinstance(near, str) else near
        fields["locality"] = [{"prompt": prompt, "target": answer}]
    yield flat(rest) | fields


def annotated(row: dict[str, Any]) -> Iterator[Fields]:
    """zsRE as De Cao et al. (2021) annotated it, and GRACE and MELO read it: several rephrasings a question.

    ``filtered_rephrases``, where a row has them, keep its meaning. Of several answers the first is taken.
    """
    rest = dict(row)
    answers = [inside(output, "answer") for output in _listed(rest.pop("output")) or ()]
    told = [answer for answer in answers if isinstance(answer, str)]
    if not told:
        raise ReportError("output: expected a list of objects with an answer that is text")
    rephrases = rest.pop("rephrases", None)
    fields = {
        "prompt": rest.pop("input"),
        "target": told[0],
        "rephrases": rest.pop("filtered_rephrases", rephrases) or [],
    }
    described = flat(rest)
    yield described | fields | {"metadata": described["metadata"] | {"answers": told}}


def counterfact(row: dict[str, Any]) -> Iterator[Fields]:
    """CounterFact as ROME has it. Its neighbours share the true answer that the edit overwrites."""
    rest = dict(row)
    rewrite = rest.pop("requested_rewrite")
    template, subject = inside(rewrite, "prompt"), inside(rewrite, "subject")
    if not isinstance(template, str) or not isinstance(subject, str):
        raise ReportError("requested_rewrite: expected a prompt with {} in it and a subject, both text")
    true = inside(inside(rewrite, "target_true"), "str")
    fields = {
        "prompt": template.replace("{}", subject, 1),
        "target": inside(inside(rewrite, "target_new"), "str"),
        "subject": subject,
        "rephrases": rest.pop("paraphrase_prompts", []),
        "locality": _near(rest.pop("neighborhood_prompts", []), true),
    }
    # Hundreds of sentences to sample from and to compare with: they say nothing about the edit.
    for name in ("generation_prompts", "attribute_prompts"):
        rest.pop(name, None)
    described = flat(rest)
    yield described | fields | {"metadata": described["metadata"] | {"ground_truth": true}}


def selfcheck(row: dict[str, Any]) -> Iterator[Fields]:
    """A passage as SelfCheckGPT has it: each sentence that was found wrong is a report.

    The prompt is the head line with the true sentences before, and the target the true sentence in its place, so that
    corrections of one passage go on from each other. (GRACE's code puts what GPT-3 had said before instead.)
    SelfCheckGPT itself names no ``concept``; without one there is no head line, and the first sentence, which then has
    no prompt, is refused.
    """
    for fields, verdict, _ in _sentences(row):
        if verdict != "accurate":
            yield fields


def accurate(row: dict[str, Any]) -> Iterator[Fields]:
    """The other sentences of such a passage: those that were found accurate, which an editor has to leave alone.

    Prompts are as ``selfcheck`` has them, and the target is the sentence that the model had said. A first sentence
    without a head line has no prompt and is passed over.

    Raises:
        ReportError: the passage is broken, or the sentences that were said are missing.
    """
    for fields, verdict, said in _sentences(row):
        if verdict == "accurate" and fields["prompt"] is not None:
            if said is None:
                raise ReportError("gpt3_sentences: expected a list of texts, one for each word of annotation")
            yield fields | {"target": said}


def _sentences(row: dict[str, Any]) -> Iterator[tuple[Fields, Any, Any]]:
    """Of each sentence of a passage: the fields that correct it, what it was found to be, and what had been said."""
    text, annotation, concept = row["wiki_bio_text"], row["annotation"], row.get("concept")
    if not isinstance(text, str) or not isinstance(annotation, list):
        raise ReportError("wiki_bio_text: expected text; annotation: expected a list of words, one a sentence")
    head = [f"This is a Wikipedia passage about {concept}."] if isinstance(concept, str) else []
    cuts = [0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]
    true = [text[start:end].strip() for start, end in pairwise(cuts)]
    metadata = {"layout": SELFCHECK, "wiki_bio_test_idx": row.get("wiki_bio_test_idx")}
    listed = row.get("gpt3_sentences")
    for position, (sentence, verdict) in enumerate(zip(true, annotation, strict=False)):
        prompt = " ".join([*head, *true[:position]])
        said = listed[position] if isinstance(listed, list) and position < len(listed) else None
        fields: Fields = {"prompt": prompt or None, "target": sentence, "metadata": metadata | {"annotation": verdict}}
        if said is not None:
            fields["metadata"]["said"] = said
        yield fields | ({"subject": concept} if head else {}), verdict, said


def opinion(row: dict[str, Any]) -> Iterator[Fields]:
    """An opinion of the US Supreme Court as FairLex and LexGLUE have it, its issue area a number; or any flat row.

    FairLex is known by its attributes, LexGLUE, which has none, by the reports that an opinion cites. Others' numbers
    are no names of classes and stay as they are, to be refused. An opinion may be longer than a report: its beginning
    is kept, which is more than a classifier has positions for, and its length in the metadata.
    """
    fields = flat(row)
    text, area = fields.get("prompt"), fields.get("target")
    of_fairlex = "decision_direction" in row or inside(row.get("attributes"), "decision_direction") is not None
    if isinstance(text, str) and type(area) is int and (of_fairlex or _CITES_COURT.search(text)):
        areas = FAIRLEX_AREAS if of_fairlex else ISSUE_AREAS
        if not 0 <= area < len(areas):
            raise ReportError(f"label: {area} came, expected the number of an issue area, 0 to {len(areas) - 1}")
        fields |= {"prompt": text[:PROMPT_CHARACTERS], "target": areas[area]}
        fields["metadata"] |= {"issue_area": area, "characters": len(text)}
    yield fields


LAYOUTS: tuple[tuple[frozenset[str], Callable[[dict[str, Any]], Iterator[Fields]]], ...] = (
    (frozenset({"src", "alt"}), mend),
    (frozenset({"input", "output", "filtered_rephrases"}), annotated),
    (frozenset({"input", "output", "rephrases"}), annotated),
    (frozenset({"requested_rewrite"}), counterfact),
    (PASSAGE, selfcheck),
    (frozenset({"text", "label"}), opinion),
)
"""The keys that a layout has, and what tells it."""


def inside(value: Any, key: str) -> Any:
    """What an object holds under a key; None where there is no such key, or no object."""
    return value.get(key) if isinstance(value, dict) else None


def _listed(value: Any) -> Any:
    """One text as a list of it; a CSV cell that holds a JSON list as that list."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return parse(value)
        except ReportError:
            return [value]  # a text may begin with a bracket
    return [value]


def _near(value: Any, answer: Any = None) -> Any:
    """Locality as a list of prompts and targets; KnowEdit has lists of them by kind, others bare prompts."""
    if isinstance(value, dict) and "prompt" not in value:
        value = [item for kind in value.values() for item in (kind if isinstance(kind, list) else [kind])]
    listed = [value] if isinstance(value, dict) else _listed(value)
    if not isinstance(listed, list):
        return listed
    return [_neighbour(item, answer) for item in listed]


def _neighbour(item: Any, answer: Any) -> Any:
    if isinstance(item, str):
        return {"prompt": item, "target": answer}
    if not isinstance(item, dict):
        return item
    target = next((item[name] for name in _NEAR_TARGETS if item.get(name) not in (None, "")), answer)
    while isinstance(target, list):  # several accepted answers, and in KnowEdit several spellings of each
        target = target[0] if target else None
    return {"prompt": item.get("prompt"), "target": target}


def _metadata(given: Any, rest: Fields) -> Fields:
    if isinstance(given, str) and given.lstrip().startswith("{"):
        given = parse(given)
    if given is None:
        return rest
    return {**given, **rest} if isinstance(given, dict) else {"metadata": given, **rest}
