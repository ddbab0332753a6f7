"""Which subjects a text names.

An edit that has a subject applies only to queries that name it. A query rarely spells the subject as the report
did, so names are compared without case, accents and punctuation, and a few typos are forgiven. What tells two
subjects apart is never forgiven: digits, initials and other short words, the length of the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rapidfuzz.distance import OSA

from pipeline.editing.spelling import ORDINARY, Readings, Vocabulary, forgiven, plain

Group = TypeVar("Group", int, str)

TYPOS = 2
"""Most errors that are forgiven in one name, however long; one in a name of less than ``LONG`` characters."""
LONG = 10


def spelt(name: str, text: str) -> bool:
    """Whether a text names this without any error; a name without a letter or a digit is nowhere."""
    key, line = plain(name).strip(), plain(text)
    sought = _Name(0, key, 0, name.strip())
    return bool(key) and any(f" {form} " in line and sought.meant(form, text, set()) for form in (key, f"{key}s"))


class SubjectGate(Generic[Group]):
    """The groups that a text names. A group stands for one subject and has one or more names.

    A name is there when it stands between word boundaries with at most ``TYPOS`` errors (a wrong, missing, added or
    transposed character) and a score of at least ``threshold``, where the score is 100 times the share of its
    characters that are right. Its words must hold up one by one as well: up to three letters exact but for joiners
    ("of"), up to seven letters one error, words with digits exact, and no misspelt word is a word of another name or of
    a group's prompt. So a name may stop being named by a misspelling when another group comes.

    Where a longer name of another group is found, the shorter ones inside it are not meant: "New York City" names no
    "New York", unless that stands elsewhere in the text as well. So a query may stop reaching the edits of one
    subject when another comes whose name is longer. A group is always named by its own prompts, which spell its name.
    """

    def __init__(self, threshold: float = 80.0) -> None:
        """
        Args:
            threshold: least score, 0 to 100. At 80 a name of 5 characters may hold one error and one of 10 two; at
                100 none is forgiven.

        Raises:
            ValueError: threshold outside 0 to 100.
        """
        if not 0 <= threshold <= 100:
            raise ValueError(f"threshold is {threshold}, expected 0 to 100")
        self.threshold = threshold
        self._names: dict[Group, tuple[str, ...]] = {}
        self._prompts: dict[Group, tuple[str, ...]] = {}
        self._changed = False
        self._laid: set[tuple[Group, str]] = set()  # names that are in what follows
        self._known: set[str] = set()  # prompts whose words are
        self._begun: dict[str, list[_Name[Group]]] = {}  # the first words of a name -> the names that end there
        self._vocabulary = Vocabulary()

    def __len__(self) -> int:
        """Number of groups."""
        return len(self._names)

    def hold(self, names: Mapping[Group, Sequence[str]], prompts: Mapping[Group, Sequence[str]] | None = None) -> None:
        """Replaces all groups. The next question takes in what is new; all of it anew where something is gone.

        Args:
            names: group -> subject and aliases. Those without a letter or a digit are left out: no text names them.
            prompts: group -> texts that name it, even where a longer name covers its own. Their words are spelt right.
        """
        self._names = {group: tuple(given) for group, given in names.items()}
        self._prompts = {group: tuple(given) for group, given in (prompts or {}).items()}
        self._changed = True

    def named(self, texts: Sequence[str]) -> list[list[Group]]:
        """For each text the ids of the groups that it names, ascending."""
        if self._changed:
            self._lay()
        lines = [plain(text).split() for text in texts]
        readings = self._vocabulary.readings(lines)
        return [sorted(self._meant(*text)) for text in zip(texts, lines, readings, strict=True)]

    def _lay(self) -> None:
        """Brings what is laid out for the search up to what is wanted."""
        wanted = {(group, text) for group, texts in self._names.items() for text in texts}
        prompts = {prompt for texts in self._prompts.values() for prompt in texts}
        if not (self._laid <= wanted and self._known <= prompts):
            self._begun, self._vocabulary = {}, Vocabulary()
            self._laid, self._known = set(), set()
        for group, name in wanted - self._laid:
            self._add(group, name)
        self._vocabulary.know(word for prompt in prompts - self._known for word in plain(prompt).split())
        self._laid, self._known, self._changed = wanted, prompts, False

    def _add(self, group: Group, given: str) -> None:
        words = plain(given).split()
        for stop in range(1, len(words)):
            self._begun.setdefault(" ".join(words[:stop]), [])
        if words:
            key = " ".join(words)
            self._vocabulary.add(words)
            self._begun.setdefault(key, []).append(_Name(group, key, _typos(key, self.threshold), given.strip()))

    def _meant(self, text: str, words: Sequence[str], readings: Sequence[Readings]) -> set[Group]:
        """The groups of the names in a text but for those that stand inside longer ones."""
        meant: set[Group] = set()
        covered: set[Group] = set()
        around: list[tuple[int, int, Group]] = []  # what begins before a place, or there, and goes on after it
        for start, stop, group in sorted(self._found(text, words, readings), key=lambda place: (place[0], -place[1])):
            around = [place for place in around if place[1] > start]
            longer = any(end >= stop and (begin, end) != (start, stop) and g != group for begin, end, g in around)
            (covered if longer else meant).add(group)
            around.append((start, stop, group))
        for group in covered - meant:
            if any(plain(prompt).split() == words for prompt in self._prompts.get(group, ())):
                meant.add(group)
        return meant

    def _found(self, text: str, words: Sequence[str], readings: Sequence[Readings]) -> Iterator[tuple[int, int, Group]]:
        """Every place where a name stands: the first of its words, the one after its last, and the group."""
        begun = self._begun
        ways = [(key, at, at + taken) for at, first in enumerate(readings) for key, taken in first if key in begun]
        while ways:
            key, start, stop = ways.pop()
            for name in begun[key]:
                if name.meant(" ".join(words[start:stop]), text, self._vocabulary.known):
                    yield start, stop, name.group
            for more, taken in readings[stop] if stop < len(words) else ():
                if (longer := f"{key} {more}") in begun:
                    ways.append((longer, start, stop + taken))


@dataclass(frozen=True, slots=True)
class _Name(Generic[Group]):
    """One name of a group: its plain form, how many errors it forgives, and its spelling as given."""

    group: Group
    key: str
    typos: int
    given: str

    def meant(self, window: str, text: str, words: set[str]) -> bool:
        """Whether some whole words of a text mean this name.

        Args:
            window: the words in plain form.
            text: as it was written.
            words: that are spelt right, so that none of them is another one misspelt.
        """
        if window == self.key:
            # A name that reads like an ordinary word must be written exactly as it is: "WHO" is not named by "who".
            return window not in ORDINARY or re.search(rf"(?<!\w){re.escape(self.given)}(?!\w)", text) is not None
        if len(self.key) > 3 and window == f"{self.key}s":
            return True
        return (
            self.typos > 0
            and OSA.distance(self.key, window, score_cutoff=self.typos) <= self.typos
            and _same(self.key, window, words)
        )


def _typos(key: str, threshold: float) -> int:
    size = len(key)
    return 0 if size < 5 else min(1 if size < LONG else TYPOS, int((100 - threshold) * size / 100 + 1e-9))


def _same(name: str, window: str, words: set[str]) -> bool:
    """Whether two texts that differ by few errors can be the same name, word by word."""
    if name.replace(" ", "") == window.replace(" ", ""):
        return not any(c.isdigit() for c in name)  # "1 11" and "11 1" differ by more than a space
    ours, theirs = name.split(), window.split()
    if [word for word in ours if not word.isalpha()] != [word for word in theirs if not word.isalpha()]:
        return False
    if len(ours) != len(theirs):  # a letter stands for a space; nothing else is wrong
        return OSA.distance(name, window) == 1
    return all(
        a == b or (b not in words and OSA.distance(a, b) <= forgiven(a)) for a, b in zip(ours, theirs, strict=True)
    )
