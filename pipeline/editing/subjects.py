"""Which subjects a text names.

An edit that has a subject applies only to queries that name it. A query rarely spells the subject as the report
did, so names are compared without case, accents and punctuation, and a few typos are forgiven. What tells two
subjects apart is never forgiven: digits, initials and other short words, the length of the name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import OSA
from rapidfuzz.fuzz import partial_ratio
from scipy.sparse import csr_array

_QUESTIONS = """what who whom whose which where when why how is are was were do does did has have had can could will
would shall should may might must name tell say give"""
_JOINERS = """a an the of on in at to for and or de del della di da dos du des la le les el los las von van der den und
et y e al bin ibn ter zu"""
_PRONOUNS = """i me we us you he him his she her it its they them this that by as be if so no not from with"""

Group = TypeVar("Group", int, str)

QUESTION_WORDS = frozenset(_QUESTIONS.split())
JOINERS = frozenset(_JOINERS.split())
_ORDINARY = QUESTION_WORDS | JOINERS | frozenset(_PRONOUNS.split())
"""A name that reads like one of these must be written exactly as it is: "WHO" is not named by "who"."""

TYPOS = 2
"""Most errors that are forgiven in one name, however long."""

_SHORT = 10  # characters; shorter names forgive one error at most and are looked up by what one deletion leaves
_BITS = 16  # triples of characters are hashed into 2**16 columns; a collision only adds a candidate
_SHARE = 0.5  # of a longer name's triples that a text holds at least
_RARE = 5  # so many of them are looked for among its rarest

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


def spelt(name: str, text: str) -> bool:
    """Whether a text names this without any error; a name without a letter or a digit is nowhere."""
    key = plain(name)
    return bool(key.strip()) and _Name(0, key, 0, name.strip()).within(plain(text), text, frozenset())


class SubjectGate(Generic[Group]):
    """The groups that a text names. A group stands for one subject and has one or more names.

    Adding and dropping only take note; the next question lays all names out anew (a tenth of a second for 10,000).

    A name is there when it stands between word boundaries with at most ``TYPOS`` errors (a wrong, missing, added or
    transposed character) and a score of at least ``threshold``, where the score is 100 times the share of its
    characters that are right. Its words must hold up one by one as well: up to three letters exact, up to
    seven letters one error, words with digits exact, and no misspelt word is a word of another name. So a name may
    stop being named by a misspelling when another group comes; it never does where it is spelt right.
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
        self._names: dict[Group, dict[str, str]] = {}  # group -> plain name -> as given
        self._rows: list[_Name[Group]] = []
        self._near: dict[str, list[int]] = {}  # a short name, whole or with a character left out -> its rows
        self._long: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # column of the table -> row
        self._words: frozenset[str] = frozenset()  # of all names
        self._need: NDArray[np.int16] = np.zeros(0, dtype=np.int16)
        self._table: Any = None  # [2**16, long names] int16, or None until the next question

    def __len__(self) -> int:
        """Number of groups that have a name."""
        return len(self._names)

    def set(self, names: Mapping[Group, Sequence[str]]) -> None:
        """Replaces all groups: group id -> subject and aliases."""
        self._names = {}
        self._table = None
        for group, given in names.items():
            self.add(group, given)

    def add(self, group: Group, names: Sequence[str]) -> None:
        """Adds names to a group. Names without a letter or a digit are left out: no text can name them."""
        for name in names:
            key = plain(name)
            if key.strip() and key not in self._names.get(group, {}):
                self._names.setdefault(group, {})[key] = name.strip()
                self._table = None

    def drop(self, groups: Iterable[Group]) -> None:
        """Forgets groups; unknown ones are passed over."""
        for group in groups:
            if self._names.pop(group, None) is not None:
                self._table = None

    def keep(self, subjects: Collection[Group]) -> None:
        """Holds these subjects and no others, each under its own name."""
        self.drop(self._names.keys() - subjects)
        for subject in subjects:
            if subject not in self._names:
                self.add(subject, [str(subject)])

    def named(self, texts: Sequence[str]) -> list[list[Group]]:
        """For each text the ids of the groups that it names, ascending.

        Takes memory for every pair of a text and a name that have letters in common: ask for some hundreds at a time.
        """
        found: list[set[Group]] = [set() for _ in texts]
        if not self._names or not texts:
            return [[] for _ in texts]
        if self._table is None:
            self._build()
        lines = [plain(text) for text in texts]
        for text, row in set(self._candidates(lines)):
            name = self._rows[row]
            if name.group not in found[text] and name.within(lines[text], texts[text], self._words):
                found[text].add(name.group)
        return [sorted(groups) for groups in found]

    def _build(self) -> None:
        """Lays the names out for the search: short ones in a dictionary, long ones in a table of triples."""
        self._rows = [
            _Name(group, key, _typos(key, self.threshold), given)
            for group, names in self._names.items()
            for key, given in names.items()
        ]
        self._words = frozenset(word for name in self._rows for word in name.key.split())
        self._near = {}
        long = []
        for row, name in enumerate(self._rows):
            if len(name.key) - 2 >= _SHORT:
                long.append(row)
                continue
            for variant in _without_one(name.key[1:-1]) if name.typos else (name.key[1:-1], f"{name.key[1:-1]}s"):
                self._near.setdefault(variant, []).append(row)
        self._long = np.array(long, dtype=np.int64)
        column, triple = _triples([self._rows[row].key for row in long])
        codes = np.unique(column << _BITS | triple)
        column, triple = codes >> _BITS, codes & ((1 << _BITS) - 1)
        total = np.bincount(column, minlength=len(long))
        typos = np.array([self._rows[row].typos for row in long], dtype=np.int64)
        # One error breaks at most three triples, a transposition four.
        need = np.maximum(total - 4 * typos, np.ceil(_SHARE * total).astype(np.int64))
        # Frequent triples cost most and tell least. A text that holds `need` of all holds need - spared of the rest.
        spared = np.maximum(need - _RARE, 0)
        often = np.bincount(triple, minlength=1 << _BITS)[triple]
        order = np.lexsort((-often, column))
        rank = np.arange(len(codes)) - np.repeat(np.cumsum(total) - total, total)
        kept = order[rank >= spared[column[order]]]
        self._need = (need - spared).astype(np.int16)
        starts = np.searchsorted(np.sort(triple[kept]), np.arange((1 << _BITS) + 1)).astype(np.int32)
        columns = column[kept][np.argsort(triple[kept], kind="stable")].astype(np.int32)
        self._table = csr_array((np.ones(len(kept), dtype=np.int16), columns, starts), shape=(1 << _BITS, len(long)))

    def _candidates(self, lines: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Pairs of a text and the row of a name that may stand in it."""
        near = self._near
        for text, line in enumerate(lines):
            for window in _windows(line, _SHORT):
                # A name that forgives an error has five characters, so four are one of its variants as they stand.
                for variant in _without_one(window) if len(window) > 4 else (window,):
                    if variant in near:
                        for row in near[variant]:
                            yield text, row
        if not len(self._long):
            return
        rows, triple = _triples(lines)
        # A triple that the text holds twice counts twice; that only adds candidates.
        starts = np.searchsorted(rows, np.arange(len(lines) + 1)).astype(np.int32)
        ones = np.ones(len(rows), dtype=np.int16)
        asked = csr_array((ones, triple.astype(np.int32), starts), shape=(len(lines), 1 << _BITS))
        shared = asked @ self._table
        hits = np.flatnonzero(shared.data >= self._need[shared.indices])
        texts = np.searchsorted(shared.indptr, hits, side="right") - 1
        yield from zip(texts.tolist(), self._long[shared.indices[hits]].tolist(), strict=True)


@dataclass(frozen=True, slots=True)
class _Name(Generic[Group]):
    """One name of a group: its plain form, how many errors it forgives, and its spelling as given."""

    group: Group
    key: str
    typos: int
    given: str

    def within(self, line: str, text: str, words: frozenset[str]) -> bool:
        """Whether the text, whose plain form is ``line``, holds this name between word boundaries.

        Args:
            words: of all names; none of them is another one misspelt.
        """
        name = self.key[1:-1]
        if self.key in line:
            return name not in _ORDINARY or re.search(rf"(?<!\w){re.escape(self.given)}(?!\w)", text) is not None
        if len(name) > 3 and f"{self.key[:-1]}s " in line:
            return True
        if not self.typos:
            return False
        # Most candidates fail here: no stretch of the text, wherever it begins, is near enough. 5 covers the ends.
        if not partial_ratio(self.key, line, score_cutoff=100 * (1 - self.typos / len(self.key)) - 5):
            return False
        start = 0
        while (start := line.find(" ", start) + 1) and start < len(line):
            stop = line.find(" ", max(start + len(name) - self.typos, start + 1))
            while 0 <= stop <= start + len(name) + self.typos:
                window = line[start:stop]
                if OSA.distance(name, window, score_cutoff=self.typos) <= self.typos and _same(name, window, words):
                    return True
                stop = line.find(" ", stop + 1)
        return False


def _typos(key: str, threshold: float) -> int:
    size = len(key) - 2
    return 0 if size < 5 else min(1 if size < _SHORT else TYPOS, int((100 - threshold) * size / 100 + 1e-9))


def _same(name: str, window: str, words: frozenset[str]) -> bool:
    """Whether two texts that differ by few errors can be the same name, word by word."""
    if name.replace(" ", "") == window.replace(" ", ""):
        return not any(c.isdigit() for c in name)  # "1 11" and "11 1" differ by more than a space
    ours, theirs = name.split(), window.split()
    if [word for word in ours if not word.isalpha()] != [word for word in theirs if not word.isalpha()]:
        return False
    if len(ours) != len(theirs):  # a letter stands for a space, or a space for a letter; nothing else is wrong
        return OSA.distance(name, window) == 1
    return all(
        a == b or (b not in words and OSA.distance(a, b) <= (0 if len(a) < 4 else 1 if len(a) < 8 else TYPOS))
        for a, b in zip(ours, theirs, strict=True)
    )


def _windows(line: str, size: int) -> Iterator[str]:
    """Runs of whole words of at most ``size`` characters."""
    start = 1
    while start < len(line):
        first = stop = line.find(" ", start)
        while start < stop <= start + size:
            yield line[start:stop]
            stop = line.find(" ", stop + 1)
        start = first + 1


def _without_one(text: str) -> list[str]:
    """The text, and what is left of it without one of its characters; two texts one error apart share one."""
    return [text, *[text[:i] + text[i + 1 :] for i in range(len(text))]]


def _triples(lines: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hashes of the triples of characters of each line: [n] line, ascending, and [n] hash below 2**16."""
    codes = np.frombuffer("".join(lines).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    sizes = np.array([len(line) for line in lines], dtype=np.int64)
    row = np.repeat(np.arange(len(lines)), sizes)
    pair = codes[:-2] * np.uint32(0x9E3779B1) + codes[1:-1] * np.uint32(0x85EBCA6B)
    triple = (pair ^ (pair >> np.uint32(15))) * np.uint32(0xC2B2AE35) + codes[2:] * np.uint32(0x27D4EB2F)
    inside = row[:-2] == row[2:]
    return row[:-2][inside], (triple >> np.uint32(32 - _BITS)).astype(np.int64)[inside]
