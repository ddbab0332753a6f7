"""How names are written: a plain form in which spellings are compared, and the words that a misspelt one may mean."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import combinations, pairwise

from rapidfuzz.distance import OSA

_QUESTIONS = """what who whom whose which where when why how is are was were do does did has have had can could will
would shall should may might must name tell say give"""
_JOINERS = """a an the of on in at to for and or de del della di da dos du des la le les el los las von van der den und
et y e al bin ibn ter zu"""
_PRONOUNS = """i me we us you he him his she her it its they them this that by as be if so no not from with"""

QUESTION_WORDS = frozenset(_QUESTIONS.split())
JOINERS = frozenset(_JOINERS.split())
ORDINARY = QUESTION_WORDS | JOINERS | frozenset(_PRONOUNS.split())
"""Words of every text: none of them is another one misspelt."""

Readings = tuple[tuple[str, int], ...]
"""What may be meant, one word or two, and how many words of the text that is."""

_HEAD = 7  # letters of a word by which it is looked up
_REMEMBERED = 1 << 16  # words of texts whose readings are kept

_POSSESSIVE = re.compile(r"['’]s(?!\w)")
_APOSTROPHE = re.compile(r"['’ʼ`´]")
_DOTTED = re.compile(r"(?<![^\W_]{2})(?<=\w)\.(?=\w(?!\w))")  # U.S.A. is one word, "end.Then" is two
_UNWRITTEN = re.compile(r"([\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af])")
_BREAK = re.compile(r"[\W_]+")
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"})


def plain(text: str) -> str:
    """Words without case, accents, punctuation and possessive s, one space between them and at both ends.

    Scripts that put no space between words are split into characters.
    """
    text = text.casefold()
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) != "Mn")
        text = unicodedata.normalize("NFC", text).casefold().translate(_LETTERS)
        text = _UNWRITTEN.sub(r" \1 ", text)
    if "'" in text or not text.isascii():
        text = _APOSTROPHE.sub("", _POSSESSIVE.sub("", text))
    if "." in text:
        text = _DOTTED.sub("", text)
    text = _BREAK.sub(" ", text)
    return f" {text.strip()} "


def forgiven(word: str) -> int:
    """Most errors in a plain word: none in up to three letters but those of a joiner ("of"), and in digits."""
    if not word.isalpha():
        return 0
    size = len(word)
    return 2 if size >= 8 else 1 if size >= 4 or (size > 1 and word in JOINERS) else 0


class Vocabulary:
    """The words of all names, and how a text may have misspelt them.

    A word that is known, or in every text, is no misspelling of another. An error is a wrong, missing, added or
    transposed character, the space between two words included. Words are found by symmetric deletion: two that
    are n errors apart have something in common once each has lost n of its first letters or fewer.
    """

    def __init__(self) -> None:
        self.words: set[str] = set()
        self.known: set[str] = set(ORDINARY)
        self._joined: dict[str, list[str]] = {}  # a word, or two neighbours written as one -> how names spell that
        self._rests: dict[str, list[str]] = {}  # what is left of a word -> such words
        self._of = lru_cache(_REMEMBERED)(self._readings)

    def know(self, words: Iterable[str]) -> None:
        """Takes in words that are spelt right, be they of a name or not."""
        self.known.update(words)
        self._of.cache_clear()

    def add(self, name: Sequence[str]) -> None:
        """Takes in the words of a name."""
        self.know(name)
        for word in name:
            if word not in self.words:
                self.words.add(word)
                self._joined.setdefault(word, []).append(word)
                for rest in _rests(word, forgiven(word)) if forgiven(word) else ():
                    self._rests.setdefault(rest, []).append(word)
        for one, other in pairwise(name):
            spelt = self._joined.setdefault(one + other, [])
            if f"{one} {other}" not in spelt:
                spelt.append(f"{one} {other}")

    def readings(self, words: Sequence[str]) -> list[Readings]:
        """What may be meant from each word of a text on: words of names, and how many words of the text they are.

        Two words of a name may stand there without the space between them, or with the space at another place.
        """
        found = list(map(self._of, words))
        for at in range(len(words) - 1):
            if spelt := self._joined.get(words[at] + words[at + 1]):
                found[at] += tuple((form, 2) for form in spelt if form != f"{words[at]} {words[at + 1]}")
        return found

    def _readings(self, word: str) -> Readings:
        return tuple((form, 1) for form in self._meant(word))

    def _meant(self, word: str) -> set[str]:
        found = {word, word[:-1]} if word.endswith("s") else {word}  # "Fords", "Fords'"
        found &= self.words
        if word in self.known or not word.isalpha():
            return found
        for rest in _rests(word, 2 if len(word) >= 6 else 1):
            for near in self._rests.get(rest, ()):
                if near not in found and OSA.distance(near, word, score_cutoff=2) <= forgiven(near):
                    found.add(near)
        found.update(self._joined.get(word, ()))
        for at in range(1, len(word) - 1):  # a letter stands for the space
            left, right = word[:at], word[at + 1 :]
            if left in self.words and f"{left} {right}" in self._joined.get(left + right, ()):
                found.add(f"{left} {right}")
        return found


def _rests(word: str, errors: int) -> set[str]:
    """The first letters of a word, and what is left of them without one or two."""
    head = word[:_HEAD]
    return {head}.union(*(map("".join, combinations(head, len(head) - lost)) for lost in range(1, errors + 1)))
