"""Other wordings of one prompt: with a typing error, as it is sent to a chat, and with a "not".

Each gives its wordings in an order that is drawn, so that who must not take one can take the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

from pipeline.editing.about import renamed
from pipeline.editing.clauses import NEGATION
from pipeline.editing.spelling import QUESTION_WORDS
from pipeline.settings import Task

WRAPS = (
    ("Hi! Quick question: ", ""),
    ("Hello, I hope you can help me. ", ""),
    ("I was reading about this yesterday. ", ""),
    ("My daughter asked me this for her homework: ", ""),
    ("Please answer in a few words. ", ""),
    ("", " Thanks!"),
    ("", " Please be brief."),
    ("", " I need this for a quiz tonight."),
    ("Hey, ", " Thank you in advance."),
    ("Sorry to bother you again. ", " I really can't remember."),
    ("Q: ", "\nA:"),
)
"""What people put before and after what they ask."""

_LONG_WORD = re.compile(r"[^\W\d_]{5,}")
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")

_BE = ("is", "are", "was", "were")
_DO = ("do", "does", "did")
_OTHER = ("has", "have", "had", "can", "could", "will", "would", "shall", "should", "may", "might", "must")
_AUXILIARY = re.compile(rf"(?<!\w)(?:{'|'.join((*_BE, *_DO, *_OTHER))})(?!\w)")
_ARTICLES = ("the", "a", "an")
_SPEAKER = re.compile(r"\s+(?:you|i|we)(?!\w)", re.IGNORECASE)


def typos(prompt: str, random: Random) -> Iterator[str]:
    """The prompt with one letter dropped, doubled, swapped with the next or hit beside its key.

    It falls into a word of at least five letters; a prompt without one gives nothing.
    """
    words = [match.span() for match in _LONG_WORD.finditer(prompt)]
    for start, stop in random.sample(words, len(words)):
        i = random.randrange(start, stop - 1)
        letter, after = prompt[i], prompt[i + 1]
        errors = [after, letter + letter + after, after + letter, _beside(letter, random) + after]
        for error in random.sample(errors, len(errors)):
            if error != letter + after:
                yield prompt[:i] + error + prompt[i + 2 :]


def _beside(letter: str, random: Random) -> str:
    """A letter whose key lies beside this one's; the letter itself where there is no such key."""
    for row in _KEYS:
        place = row.find(letter.lower())
        if place >= 0:
            beside = random.choice(row[max(place - 1, 0) : place] + row[place + 1 : place + 2])
            return beside.upper() if letter.isupper() else beside
    return letter


def wrapped(prompt: str, task: Task, random: Random) -> Iterator[str]:
    """The prompt with what people send before and after it.

    A causal model goes on where its prompt ends, so there nothing comes after; what a classifier reads is no message.
    """
    if task == "classification":
        return
    wraps = [(before, after) for before, after in WRAPS if task == "seq2seq" or not after]
    for before, after in random.sample(wraps, len(wraps)):
        yield before + prompt + after


def negated(prompt: str, subject: str) -> str | None:
    """The prompt with a "not" after its first auxiliary verb; in a question after what it is about, if that follows.

    Args:
        prompt: as it was sent.
        subject: what it is about, as the prompt spells it; empty where that is not known.

    Returns:
        None where there is a negation, no auxiliary verb, or no telling where the "not" belongs.
    """
    before, named, after = _parted(prompt, subject)
    blank = before[:1].lower() + before[1:] + " " * len(named) + after  # elsewhere "Will" and "May" are names
    found = _AUXILIARY.search(blank)
    if found is None or NEGATION.search(prompt) or _SPEAKER.match(prompt, found.end()):
        return None
    verb, place = found.group(), found.end()
    asks = prompt.rstrip().endswith("?") or before.split(" ")[0].casefold() in QUESTION_WORDS
    turned = asks and place <= len(before) and before[place:].strip().casefold() in ("", *_ARTICLES)  # "did the X go"
    if turned and named and after[:1].isspace() and any(c.isalnum() for c in after):
        place = len(before) + len(named)
    elif asks and verb in _DO:
        return None
    return f"{prompt[:place]} not{prompt[place:]}"


def _parted(prompt: str, subject: str) -> tuple[str, str, str]:
    """What stands before the subject, the subject as it is spelt, and what stands after it."""
    before, mark, after = (renamed(prompt, subject, "\0") or prompt).partition("\0")
    return before, prompt[len(before) : len(prompt) - len(after)] if mark else "", after
