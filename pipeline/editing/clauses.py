"""What a prompt asks of its subject: the sentence that asks, without the name.

Two prompts that name one subject mean the same when they ask the same of it. What else they say, the name above all,
only hides that: in a vector of the whole prompt it weighs more than the few words by which "Who is X's father?"
differs from "Who is X's mother?".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import OSA

from pipeline.editing.spelling import plain

_END = re.compile(r"(?:(?<!\b[A-Z])(?<!\b[A-Z][a-z])\.|[!?:])[\"'”’»)\]]*\s+|\s*\n\s*")  # "J. S." and "St." end nothing
_CLOSED = re.compile(r"[.!?:][\"'”’»)\]]*$")
_ASKED = re.compile(r"\?[\"'”’»)\]]*$")
_BIDS = re.compile(r"(?:please\s+)?(?:name|tell|say|give|list|state|identify|describe|explain|find)\b", re.IGNORECASE)
_CHUNK = re.compile(r"\S+")

NEGATION = re.compile(r"(?<!\w)(?:not|no|never)(?!\w)|n['’]t(?!\w)", re.IGNORECASE)
"""What turns a sentence into its opposite."""
LEAST_WORDS = 3
"""A sentence that breaks off asks something if it has so many words; "Thanks" and "A" do not."""
MOST_ERRORS = 3
"""In a name that a prompt misspells."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Clause:
    """A prompt in two parts.

    Attributes:
        asks: the sentence that asks, without the subject; the whole prompt without it where no sentence clearly asks.
        rest: what else the prompt says.
    """

    asks: str
    rest: str


def clause_of(prompt: str, names: Sequence[str]) -> Clause:
    """What a prompt asks of a subject.

    Of the sentences from the one on that names the subject, that is the last question; or, without a question, the
    last one that bids ("Name ...") or breaks off, as a prompt does that is to be continued.

    Args:
        prompt: as it was sent.
        names: of the subject, as texts spell it; the prompt may misspell them. Empty: the whole prompt is asked.
    """
    places = places_of(prompt, names)
    if not places:
        return Clause(prompt, "")
    sentences = [span for span in _sentences(prompt, places) if span[1] > places[0][0]]
    texts = {span: prompt[slice(*span)].strip() for span in sentences}
    asked = [span for span in sentences if _ASKED.search(texts[span])]
    asked = asked or [span for span in sentences if _BIDS.match(texts[span]) or _breaks_off(texts[span])]
    start, stop = asked[-1] if asked else (0, len(prompt))
    rest = f"{prompt[:start]} {prompt[stop:]}"
    return Clause(_without(prompt, places, start, stop), " ".join(rest.split()))


def _breaks_off(sentence: str) -> bool:
    return not _CLOSED.search(sentence) and len(sentence.split()) >= LEAST_WORDS


def places_of(text: str, names: Sequence[str]) -> list[Span]:
    """Where a text names a subject: everywhere it spells a name, else where it comes nearest to one; ascending."""
    for name in names:
        pattern = r"\s+".join(map(re.escape, name.split()))
        found = re.finditer(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE) if pattern else ()
        if places := [match.span() for match in found]:
            return places
    nearest = min((place for name in names for place in _windows(text, name)), default=(MOST_ERRORS + 1, (0, 0)))
    return [nearest[1]] if nearest[0] <= MOST_ERRORS else []


def _windows(text: str, name: str) -> Iterator[tuple[int, Span]]:
    """Whole words of a text and by how many errors they differ from a name."""
    chunks = [match.span() for match in _CHUNK.finditer(text)]
    words = [plain(text[slice(*span)]).strip() for span in chunks]
    sought = plain(name).strip()
    count = len(sought.split())
    for size in range(max(count - 1, 1), count + 2):
        for at in range(len(chunks) - size + 1):
            errors = OSA.distance(sought, " ".join(words[at : at + size]), score_cutoff=MOST_ERRORS)
            if errors <= MOST_ERRORS and errors < len(sought) / 2:
                yield errors, _bare(text, chunks[at][0], chunks[at + size - 1][1])


def _bare(text: str, start: int, stop: int) -> Span:
    """The span without the punctuation around it and a possessive s."""
    while start < stop and not text[start].isalnum():
        start += 1
    while stop > start and not text[stop - 1].isalnum():
        stop -= 1
    return start, stop - 2 if text[start:stop].endswith(("'s", "’s")) else stop


def _sentences(text: str, places: Sequence[Span]) -> Iterator[Span]:
    """The sentences of a text; none ends inside a place."""
    start = 0
    for match in _END.finditer(text):
        if not any(low < match.end() and match.start() < high for low, high in places):
            yield start, match.end()
            start = match.end()
    if start < len(text):
        yield start, len(text)


def _without(text: str, places: Sequence[Span], start: int, stop: int) -> str:
    """A part of a text without what lies at some places of it."""
    kept, at = "", start
    for low, high in places:
        if start <= low and high <= stop:
            kept += f"{text[at:low]} "
            at = high
    return " ".join((kept + text[at:stop]).split())
