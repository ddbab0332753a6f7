"""Questions beside an edit, whose answers it is not to change: alike in form or in subject, or almost the same.

An edit's form is what its prompt asks of its subject. Two forms ask for one relation when an edit has both, as its
prompt and its rephrases. Forms that no edit joins may do so too; where they share a long word ("designed", "designer")
neither is asked about a subject that the other is taught of. Two subjects are of one sort when one relation is asked of
both, or of others that are; what is of one sort is taken first, since "the capital of a spider" is far from any edit.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.editing.about import renamed, subjects_of
from pipeline.editing.clauses import clause_of
from pipeline.editing.edit import Edit, normalise
from pipeline.editing.radius import PROBES
from pipeline.editing.spelling import JOINERS, QUESTION_WORDS, plain

TALK = (
    "Good morning! How are you today?",
    "Thanks, that was very helpful.",
    "Can you help me write a birthday card for a colleague?",
    "Translate the following sentence into French:",
    "Summarise this article in three sentences.",
    "Why does bread rise in the oven?",
    "How do I get red wine out of a carpet?",
    "What should I pack for a week at the seaside?",
    "Write a short poem about autumn leaves.",
    "What is seventeen times twenty-three?",
    "How many seconds are there in a day?",
    "My laptop does not start any more. What can I try?",
    "Tell me a joke about a penguin.",
    "Is it safe to eat raw eggs?",
    "What is the difference between a cold and the flu?",
    "How do I reverse a list in Python?",
    "The weather forecast for the weekend is",
    "Give me three ideas for a quick dinner.",
    "What does the word serendipity mean?",
    "How long should I boil an egg?",
    "I have a job interview tomorrow and I am nervous.",
    "Which of these two sentences sounds better?",
    "How do plants turn sunlight into energy?",
    "What is a good name for a small grey cat?",
    "Explain to a child why the sky is blue.",
    "How can I learn to play the guitar on my own?",
    "Please correct the spelling in this letter.",
    "What are the rules of chess in short?",
    "The meeting was moved to next Thursday because",
    "How much water should a person drink in a day?",
    "Why do cats purr?",
    "What is the past tense of the verb to swim?",
    "The old clock on the wall began to",
    "Who is responsible for repairs in a rented flat?",
    "How do I cancel a subscription?",
    "What happens when you mix vinegar and baking soda?",
    "Draw up a plan for a weekend of hiking.",
    "When should tomatoes be planted?",
    "The first rule of a good presentation is",
    "How does a microwave oven work?",
)
"""Everyday traffic that names nothing that an edit could be about."""
UNRELATED = (*PROBES, *TALK)
"""The radius was measured on the first of these, and not on the others."""

TRIED = 1000
"""Other edits that are looked at for one question at most."""

_CONTENT = re.compile(r"[^\W\d_]{3,}")
_STEM = 5  # letters that tell long words apart; shorter ones, "year" and "city", are in too many questions


class Neighbours:
    """What lies beside the edits of one version.

    Args:
        edits: all that it is to know; questions are drawn from them in the order in which they come.
    """

    def __init__(self, edits: Sequence[Edit]) -> None:
        self.subjects = subjects_of(edits)
        self._edits = edits
        forms = _forms(edits, self.subjects)
        self._relations = _groups(forms)
        self._words = [_long_words(own[:1]) for own in forms]
        asked = list(zip(self._relations, map(_name, self.subjects), strict=True))
        self._taught = set(asked)
        self._sorts = _groups([[f"{relation}", f"of {name}"] for relation, name in asked])
        self._asked: defaultdict[str, set[str]] = defaultdict(set)
        for (_, name), own in zip(asked, forms, strict=True):
            self._asked[name] |= _long_words(own)

    def distractor(self, place: int, random: Random) -> Iterator[str]:
        """An edit's prompt about the subjects of others, of which this is not taught."""
        for other in self._others(place, random):
            yield from self._about(place, self.subjects[other])

    def relation(self, place: int, random: Random) -> Iterator[str]:
        """The prompts of others about an edit's subject, of which that is not taught."""
        if self.subjects[place]:
            for other in self._others(place, random):
                yield from self._about(other, self.subjects[place])

    def near(self, place: int, random: Random) -> Iterator[str]:
        """An edit's prompt with one word of its subject taken from another's, or with one digit changed."""
        subject, prompt = self.subjects[place], self._edits[place].prompt
        if any(c.isdigit() for c in subject):
            for name in _other_digits(subject, random):
                yield from self._about(place, name)
        else:
            yield from _other_digits(prompt, random)
        words = _content(subject)
        if len(words) > 1:
            for other in self._others(place, random):
                theirs = self.subjects[other]
                taken = [theirs[start:stop] for start, stop in _content(theirs)]
                if taken := [word for word in taken if word.casefold() not in subject.casefold()]:
                    word, (start, stop) = random.choice(taken), random.choice(words)
                    yield from self._about(place, subject[:start] + word + subject[stop:])

    def _about(self, place: int, subject: str) -> Iterator[str]:
        """An edit's prompt about a subject, unless that edit or another teaches what it asks."""
        own, name = self.subjects[place], _name(subject)
        if not (own and name) or (self._relations[place], name) in self._taught:
            return
        if name not in self._asked or self._words[place].isdisjoint(self._asked[name]):
            text = renamed(self._edits[place].prompt, own, subject)
            if text is not None:
                yield text

    def _others(self, place: int, random: Random) -> Iterator[int]:
        """Other edits from a place that is drawn, those about the same sort of subject first."""
        count, sort = len(self._edits), self._sorts[place]
        start = random.randrange(count)
        found = [(start + step) % count for step in range(min(count, TRIED))]
        yield from sorted(found, key=lambda other: self._sorts[other] != sort)


def _forms(edits: Sequence[Edit], subjects: Sequence[str]) -> list[list[str]]:
    """The forms of each edit, its prompt's first; none of a wording without its subject."""
    forms = []
    for edit, subject in zip(edits, subjects, strict=True):
        wordings = [wording for wording in (edit.prompt, *edit.rephrases) if renamed(wording, subject, "") is not None]
        forms.append([normalise(clause_of(wording, [subject]).asks) for wording in wordings])
    return forms


def _long_words(forms: Sequence[str]) -> set[str]:
    """How the long words in forms begin."""
    words = (word for form in forms for word in plain(form).split())
    return {word[:_STEM] for word in words if len(word) >= _STEM and word not in QUESTION_WORDS}


def _groups(members: Sequence[Sequence[str]]) -> list[int]:
    """A number for each list of texts: the same for lists that share a text, at once or by way of others.

    A list without any gets -1.
    """
    number: defaultdict[str, int] = defaultdict(lambda: len(number))
    rows = [[number[text] for text in own] for own in members]
    joined = np.array([pair for row in rows for pair in pairwise(row)], dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(joined)), joined.T), shape=(len(number), len(number)))
    group = connected_components(graph, directed=False)[1] if number else ()
    return [int(group[row[0]]) if row else -1 for row in rows]


def _name(subject: str) -> str:
    """A subject as it is told from others: without its article."""
    words = plain(subject).split()
    return " ".join(words[1:] if words[:1] == ["the"] else words)


def _content(subject: str) -> list[tuple[int, int]]:
    """Where a subject's words lie that say something."""
    return [word.span() for word in _CONTENT.finditer(subject) if word.group().casefold() not in JOINERS]


def _other_digits(text: str, random: Random) -> Iterator[str]:
    """The text with another digit in the place of one of its own."""
    places = [i for i, c in enumerate(text) if c in "0123456789"]
    for i in random.sample(places, len(places)):
        yield text[:i] + random.choice("123456789".replace(text[i], "")) + text[i + 1 :]
