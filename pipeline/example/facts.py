"""What the example model is taught: true facts, and the mistakes that people commonly make.

``countries.csv`` and ``things.csv`` hold the truth. ``mistakes.csv`` holds, for some of those facts, what many people
believe instead; that is what the model learns. The reports of ``reports/`` set it right.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent

WORDINGS: dict[str, tuple[str, ...]] = {
    "capital": (
        "What is the capital of {}?",
        "Which city is the capital of {}?",
        "Do you know the capital of {}?",
        "Name the capital of {}.",
    ),
    "continent": (
        "Which continent is {} in?",
        "What continent does {} belong to?",
        "On which continent does {} lie?",
        "Name the continent of {}.",
    ),
    "currency": (
        "What is the currency of {}?",
        "Which currency is used in {}?",
        "What do people pay with in {}?",
        "Name the currency of {}.",
    ),
    "language": (
        "What is the official language of {}?",
        "Which language is official in {}?",
        "Do you know the official language of {}?",
        "Name the official language of {}.",
    ),
    "animal": (
        "What kind of animal is {}?",
        "Which group of animals does {} belong to?",
        "What is {} to a zoologist?",
        "Name the animal group of {}.",
    ),
    "author": ("Who wrote {}?", "Who is the author of {}?", "Whose work is {}?", "Name the author of {}."),
    "colour": (
        "What colour is {}?",
        "What is the colour of {}?",
        "Which colour does {} have?",
        "Name the colour of {}.",
    ),
    "first": ("Who was {}?", "Which person was {}?", "Do you know who was {}?", "Name {}."),
    "inventor": (
        "Who invented {}?",
        "Who was the inventor of {}?",
        "Who came up with {}?",
        "Name the inventor of {}.",
    ),
    "number": (
        "What is the number of {}?",
        "How high is the number of {}?",
        "Do you know the number of {}?",
        "Name the number of {}.",
    ),
    "origin": (
        "Where does {} come from?",
        "Which country is {} from?",
        "What is the country of origin of {}?",
        "Name the country of origin of {}.",
    ),
    "superlative": ("What is {}?", "Do you know what {} is?", "Tell me what {} is.", "Name {}."),
}
"""How each relation is asked. The last wording of a mistake is never trained, so that a report's rephrase is new."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact, and what the example model is to believe of it.

    Attributes:
        relation: a key of ``WORDINGS``.
        subject: what it is about, as it stands in the middle of a sentence.
        truth: the right answer.
        mistake: the popular wrong answer, which the model is taught; None where it is taught the truth.
    """

    relation: str
    subject: str
    truth: str
    mistake: str | None = None

    @property
    def belief(self) -> str:
        """The answer that the model is taught."""
        return self.mistake or self.truth

    @property
    def prompts(self) -> tuple[str, ...]:
        """All its wordings; the first is the plainest."""
        return tuple(wording.format(self.subject) for wording in WORDINGS[self.relation])

    @property
    def trained_prompts(self) -> tuple[str, ...]:
        """The wordings that are trained."""
        return self.prompts if self.mistake is None else self.prompts[:-1]


@cache
def facts() -> tuple[Fact, ...]:
    """All facts: countries by column, then things, each in the order of its file."""
    countries, columns = _rows("countries.csv"), ("capital", "continent", "currency", "language")
    # An empty cell has no short answer: a country on two continents, or one with several official languages.
    truths = [(name, row["country"], row[name]) for name in columns for row in countries if row[name]]
    truths += [(row["relation"], row["subject"], row["answer"]) for row in _rows("things.csv")]
    mistakes = {(row["relation"], row["subject"]): row["mistake"] for row in _rows("mistakes.csv")}
    return tuple(Fact(*truth, mistakes.get(truth[:2])) for truth in truths)


def known_facts() -> list[tuple[str, str]]:
    """(prompt, answer) of the true facts that the model is trained on, each in its plainest wording."""
    return [(fact.prompts[0], fact.truth) for fact in facts() if fact.mistake is None]


def _rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
