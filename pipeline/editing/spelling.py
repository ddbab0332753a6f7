"""How names are written: a plain form in which spellings are compared, and the words that a misspelt one may mean."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import OSA
from rapidfuzz.process import cpdist

_QUESTIONS = """what who whom whose which where when why how is are was were do does did has have had can could will
would shall should may might must name tell say give"""
_JOINERS = """a an the of on in at to for and or de del della di da dos du des la le les el los las von van der den und
et y e al bin ibn ter zu"""
_PRONOUNS = """i me we us you he him his she her it its they them this that by as be if so no not from with"""

QUESTION_WORDS = frozenset(_QUESTIONS.split())
JOINERS = frozenset(_JOINERS.split())
ORDINARY = QUESTION_WORDS | JOINERS | frozenset(_PRONOUNS.split())
"""Words of every text: none of them is another one misspelt."""

MARKS = "Ġ▁"
"""One of them stands before a token that begins a word: in byte-level vocabularies, and in SentencePiece's."""

Readings = tuple[tuple[str, int], ...]
"""What may be meant, one word or two, and how many words of the text that is."""

_WORD = re.compile(r"[^\W\d_]+")
_LEAST_MISSPELT = 5  # letters; of shorter words too many are one letter apart

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
    transposed character, the space between two words included.
    """

    def __init__(self) -> None:
        self.words: set[str] = set()
        self.known: set[str] = set(ORDINARY)
        self._joined: dict[str, list[str]] = {}  # a word, or two neighbours written as one -> how names spell that
        self._heads: _Heads | None = None  # of the words, or None until the next question
        self._read: dict[str, Readings] = {}  # word of a text -> what may be meant

    def know(self, words: Iterable[str]) -> None:
        """Takes in words that are spelt right, be they of a name or not."""
        self.known.update(words)
        self._read.clear()

    def add(self, name: Sequence[str]) -> None:
        """Takes in the words of a name."""
        self.know(name)
        self._heads = None
        for word in name:
            if word not in self.words:
                self.words.add(word)
                self._joined.setdefault(word, []).append(word)
        for one, other in pairwise(name):
            spelt = self._joined.setdefault(one + other, [])
            if f"{one} {other}" not in spelt:
                spelt.append(f"{one} {other}")

    def readings(self, texts: Sequence[Sequence[str]]) -> list[list[Readings]]:
        """What may be meant from each word of each text on: words of names, and how many words of the text they are.

        Two words of a name may stand there without the space between them, or with the space at another place.
        """
        self._read_all({word for words in texts for word in words})
        found = []
        for words in texts:
            meant = [self._read[word] for word in words]
            for at, (one, other) in enumerate(pairwise(words)):
                if spelt := self._joined.get(one + other):
                    meant[at] += tuple((form, 2) for form in spelt if form != f"{one} {other}")
            found.append(meant)
        return found

    def _read_all(self, words: set[str]) -> None:
        """Sees to it that the readings of these words are at hand."""
        if len(self._read) > _REMEMBERED:
            self._read.clear()
        fresh = words - self._read.keys()
        strange = [word for word in fresh - self.known if word.isalpha()]
        if strange and self._heads is None:
            self._heads = _Heads(sorted(word for word in self.words if forgiven(word)))
        near = self._heads.near(strange) if self._heads and strange else {}
        for word in fresh:
            meant = {word, word[:-1]} if word.endswith("s") else {word}  # "Fords", "Fords'"
            meant &= self.words
            if word in near:
                meant |= near[word] | self._parted(word)
            self._read[word] = tuple((form, 1) for form in meant)

    def _parted(self, word: str) -> set[str]:
        """Two words of a name that this may be without the space between them, or with a letter in its place."""
        found = set(self._joined.get(word, ()))
        for at in range(1, len(word) - 1):
            left, right = word[:at], word[at + 1 :]
            if left in self.words and f"{left} {right}" in self._joined.get(left + right, ()):
                found.add(f"{left} {right}")
        return found


def tokens_of(vocabulary: Mapping[str, int]) -> list[str]:
    """A tokenizer's tokens by their ids: tokenizers are trained so that the most frequent come first."""
    return sorted(vocabulary, key=vocabulary.__getitem__)


class Lexicon:
    """Ordinary words, in which misspelt ones are put right.

    Args:
        words: spelt right, the most frequent first.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._rank = {word: rank for rank, word in enumerate(dict.fromkeys(words))}
        self._heads = _Heads([word for word in self._rank if forgiven(word)])
        self._meant: dict[str, str] = {}

    def corrected(self, text: str) -> str:
        """The text with the most frequent word that is one error apart in the place of each unknown one, if any."""
        if len(self._meant) > _REMEMBERED:
            self._meant.clear()
        unknown = {word.casefold() for word in _WORD.findall(text)}
        fresh = sorted(word for word in unknown - self._meant.keys() if self._strange(word))
        near = self._heads.near(fresh) if fresh else {}
        for word in fresh:
            meant = [other for other in near[word] if OSA.distance(word, other) == 1]
            if meant:
                self._meant[word] = min(meant, key=self._rank.__getitem__)
        return _WORD.sub(lambda word: self._meant.get(word.group().casefold(), word.group()), text)

    def _strange(self, word: str) -> bool:
        return len(word) >= _LEAST_MISSPELT and word.isascii() and word not in self._rank


class _Heads:
    """Finds words a few errors apart by symmetric deletion.

    Words that are n errors apart have something in common once each has lost n of its first letters, or fewer. What
    is left of each word is hashed into 64 bits; a collision only adds a candidate.

    Args:
        words: distinct, each forgiving an error or two.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        hashes = _hashed(words)  # [w, deletions]
        self._forgiven = np.array([forgiven(word) for word in words], dtype=np.uint8)
        taken = np.ones(hashes.shape, dtype=bool)
        taken[self._forgiven < 2, _ONE_LOST:] = False
        order = np.argsort(hashes[taken], kind="stable")
        self._hashes = hashes[taken][order]  # ascending
        self._owners = np.nonzero(taken)[0][order]  # [hashes] place of the word
        # Most of what is asked for is not there: a table that is one part in eight full says so at once.
        self._shift = np.uint64(64 - len(self._hashes).bit_length() - 3)
        self._there = np.zeros(1 << int(64 - self._shift), dtype=bool)
        self._there[self._hashes >> self._shift] = True

    def near(self, words: Sequence[str]) -> dict[str, set[str]]:
        """For each of some other words those that forgive the errors by which it differs."""
        hashes = _hashed(words)
        rows, columns = np.nonzero(self._there[hashes >> self._shift])
        starts = np.searchsorted(self._hashes, hashes[rows, columns], "left")
        counts = np.searchsorted(self._hashes, hashes[rows, columns], "right") - starts
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        owners = self._owners[np.repeat(starts, counts) + within]
        asked, places = np.divmod(np.unique(np.repeat(rows, counts) * len(self._words) + owners), len(self._words))
        pairs = [words[row] for row in asked.tolist()], [self._words[place] for place in places.tolist()]
        errors = cpdist(*pairs, scorer=OSA.distance, score_cutoff=2, dtype=np.uint8)
        found: dict[str, set[str]] = {word: set() for word in words}
        for pair in np.flatnonzero(errors <= self._forgiven[places]).tolist():
            found[pairs[0][pair]].add(pairs[1][pair])
        return found


_KEPT = [kept for lost in range(3) for kept in combinations(range(_HEAD), _HEAD - lost)]
_ONE_LOST = 1 + _HEAD
"""So many of ``_KEPT`` have lost one letter at most."""
_WEIGHTS = np.zeros((_HEAD, len(_KEPT)), dtype=np.uint64)
for _column, _kept in enumerate(_KEPT):
    _WEIGHTS[_kept, _column] = [pow(0x9E3779B97F4A7C15, power + 1, 1 << 64) for power in range(len(_kept))]


def _hashed(words: Sequence[str]) -> NDArray[np.uint64]:
    """Hashes [w, deletions] of the first letters of each word, and of what is left of them without one or two."""
    heads = "".join(word[:_HEAD].ljust(_HEAD, "\0") for word in words)
    letters = np.frombuffer(heads.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).reshape(-1, _HEAD)
    return letters.astype(np.uint64) @ _WEIGHTS
