"""What an edit is about: the subject that its reporter gave, or the name that all its wordings share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.editing.edit import Edit
from pipeline.editing.spelling import JOINERS, QUESTION_WORDS
from pipeline.editing.subjects import SubjectGate, spelt

_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»]+)[\"”“»]")
_WORD = re.compile(r"\S+")


def subjects_of(edits: Sequence[Edit]) -> list[str]:
    """The subject of each edit, given or found; empty where there is none, or its own prompt does not name it.

    A prompt that names an alias names the subject.
    """
    found = [edit.subject or shared_subject(edit.prompt, edit.rephrases) or "" for edit in edits]
    found = [" ".join(subject.split()) for subject in found]
    # A prompt that misspells its subject is told from others by its key alone.
    return [
        subject if any(spelt(name, edit.prompt) for name in (subject, *edit.aliases)) else ""
        for subject, edit in zip(found, edits, strict=True)
    ]


def know(gate: SubjectGate[str], edits: Mapping[str, Sequence[Edit]]) -> None:
    """Has a gate tell which subjects a prompt names.

    Args:
        gate: what it held before is gone.
        edits: those about each subject; a prompt that names an alias of one of them names the subject.
    """
    names = {subject: names_of(subject, about) for subject, about in edits.items()}
    gate.hold(names, {subject: [edit.prompt for edit in about] for subject, about in edits.items()})


def names_of(subject: str, edits: Sequence[Edit]) -> list[str]:
    """What a subject is called in some edits about it: itself first, then their aliases."""
    return list(dict.fromkeys([subject, *(alias for edit in edits for alias in edit.aliases)]))


def shared_subject(prompt: str, rephrases: Sequence[str]) -> str | None:
    """What an edit is about where the reporter did not say: the longest name in the prompt and in every rephrase.

    A name is a run of capitalised words, numbers and quoted words; lower-case joiners ("of", "von") may stand
    inside. A word that only begins a sentence is not capitalised on its own account: it counts where a rephrase
    capitalises it in mid-sentence, or where the name goes on after it.

    Returns:
        The name as the prompt spells it; None without rephrases or without a shared name.
    """
    words = list(_words(prompt))
    if not rephrases or not words:
        return None
    others = [list(_words(rephrase)) for rephrase in rephrases]
    keys = [f" {' '.join(word.key for word in other)} " for other in others]
    inside = {word.key for other in others for word in other if word.capital and not word.first}

    def shared(run: Sequence[_Word]) -> bool:
        text = f" {' '.join(word.key for word in run)} "
        return all(text in key for key in keys)

    def named(word: _Word) -> bool:
        if word.quoted or word.digit:
            return True
        return word.capital and (not word.first or (word.key in inside and word.key not in JOINERS))

    best: tuple[int, int] | None = None
    for start, word in enumerate(words):
        if word.key in QUESTION_WORDS and not word.quoted:
            continue
        opens = word.first and word.capital and word.key not in JOINERS and not named(word)
        if not (named(word) or opens):
            continue
        for stop in range(start + 1, len(words) + 1):
            last = words[stop - 1]
            if stop - 1 > start:
                joins = last.key in JOINERS and not last.first
                if (last.first or not (named(last) or joins)) and not last.quoted:
                    break
            if not shared(words[start:stop]):
                break
            if not named(last):
                continue
            if best is None or stop - start > best[1] - best[0]:
                best = (start, stop)
    if best is None:
        return None
    start, stop = words[best[0]].start, words[best[1] - 1].stop
    text = prompt[start:stop]
    if text.count("(") > text.count(")") and prompt[stop : stop + 1] == ")":
        text += ")"
    return text


def renamed(prompt: str, subject: str, other: str) -> str | None:
    """The prompt with another name in the place of its subject.

    Returns:
        None where the prompt does not spell the subject, whole words and case aside.
    """
    pattern = r"\s+".join(re.escape(word) for word in subject.split())
    if not pattern:
        return None
    text, count = re.subn(rf"(?<!\w){pattern}(?!\w)", lambda _: other, prompt, count=1, flags=re.IGNORECASE)
    return text if count else None


@dataclass(frozen=True, slots=True)
class _Word:
    """One word of a text: its place without the punctuation around it, and what speaks for a name."""

    key: str
    start: int
    stop: int
    first: bool
    capital: bool
    digit: bool
    quoted: bool


def _words(text: str) -> Iterator[_Word]:
    quoted = [match.span(1) for match in _QUOTED.finditer(text)]
    first = True
    for match in _WORD.finditer(text):
        raw = match.group()
        start, stop = match.span()
        while start < stop and not text[start].isalnum():
            start += 1
        while stop > start and not text[stop - 1].isalnum():
            stop -= 1
        bare = text[start:stop]
        cut = bare[:-2] if bare[-2:] in ("'s", "’s") else bare
        if cut:
            yield _Word(
                key=cut.casefold(),
                start=start,
                stop=start + len(cut),
                first=first,
                capital=any(c.isupper() for c in cut),
                digit=any(c.isdigit() for c in cut),
                quoted=any(low <= start and stop <= high for low, high in quoted),
            )
        # An initial or a short title ("A.", "St.") ends no sentence.
        ends = raw.rstrip("\"'”’»)").endswith((".", "!", "?", ":"))
        first = (first and not cut) or (ends and not (raw.endswith(".") and len(bare) <= 3 and bare[:1].isupper()))
