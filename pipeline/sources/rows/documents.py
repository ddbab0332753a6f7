"""JSON documents: a list of objects, or objects one after another, however they are laid out.

The file is never held as a whole: brackets and strings are followed to find where a value ends, and only that much is
parsed. One whose brackets do not match costs itself alone where the next can be told by its indentation, or by having
a line to itself.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import IO

from pipeline.sources.rows.row import CUT_SHORT, ROW_BYTES, Refused, Row
from pipeline.sources.strict_json import ReportError, parse

_CHUNK = 1 << 16
_INDENT = 200
_ENDLESS = 50
"""Values without an end in one file: each costs a look at the next ``ROW_BYTES``, so there must be a last one."""

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*+"|:\s*[\[{]|[\[\]{}"]')
_BETWEEN = re.compile(r"[\s,\]]*")
_SCALAR = re.compile(r'[^\s,\[\]{}"]+')
_STRAY = re.compile(r"\s*\}[\s}]*")
_ALONE = re.compile(r'\n(?=\{"[^\n]*\},?\s*(?:\n|$))')


class _BrokenError(Exception):
    """The value at the front has no end. ``endless``: as far as was looked, rather than for what stands in it."""

    def __init__(self, endless: bool) -> None:
        super().__init__()
        self.endless = endless


class _Window:
    """A stretch of the file's text, from line ``line`` on; ``before`` is what that line has to the left of it.

    Bytes that are no UTF-8 stand in it as lone surrogates.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._ended = False
        self.text = ""
        self.line = 1
        self.before = ""

    def grow(self) -> bool:
        """Reads on; False at the end of the file."""
        if not self._ended:
            chunk = self._file.read(_CHUNK)
            self._ended = not chunk
            self.text += self._decoder.decode(chunk, final=self._ended)
        return not self._ended

    def drop(self, length: int) -> str:
        """Takes so much off the front and gives it."""
        gone, self.text = self.text[:length], self.text[length:]
        self.line += gone.count("\n")
        self.before = gone[gone.rfind("\n") + 1 :] if "\n" in gone else (self.before + gone)[-_INDENT:]
        return gone

    def skip(self) -> str:
        """Drops what stands between values, and gives it; a hundred characters of it, where it is more."""
        passed = ""
        while True:
            match = _BETWEEN.match(self.text)
            passed = (passed + self.drop(match.end() if match else 0))[-100:]
            if self.text or not self.grow():
                return passed


def read_document(file: IO[bytes]) -> Iterator[Row | Refused]:
    """A row for each object, with the line that it starts at."""
    window = _Window(file)
    window.skip()
    is_list = window.text.startswith("[")
    if is_list:
        window.drop(1)
    elif not window.text:
        yield Refused(0, f"{CUT_SHORT}: there is nothing in it, expected JSON")
    between, endless = window.skip(), 0
    while window.text:
        line = window.line
        try:
            yield _row(line, window.drop(_end(window)))
        except _BrokenError as broken:
            endless += broken.endless
            text = window.text[:ROW_BYTES]
            indent = window.before.replace("[", " ")
            if endless > _ENDLESS or not _to_next(window, indent):
                reason = f"more than {ROW_BYTES} bytes in one value, or brackets that do not match"
                cut = broken.endless and len(text) < ROW_BYTES
                yield Refused(line, f"{CUT_SHORT}: the file ends within a value" if cut else reason, text)
                return
            yield Refused(line, "not JSON: brackets or quotes do not match before the next object", text)
        between = window.skip()
    if is_list and "]" not in between:
        yield Refused(window.line, f"{CUT_SHORT}: the list is not closed")


def _end(window: _Window) -> int:
    """Where the value at the front ends."""
    position, closers = 0, ""
    while True:
        scalar = _SCALAR.match(window.text)
        if scalar and scalar.end() < len(window.text):
            return scalar.end()
        for token in _TOKEN.finditer(window.text, 0 if scalar else position):
            mark = token.group()
            if mark == '"':  # the end of the string is still to be read, unless its line has ended
                if "\n" in window.text[token.end() :]:
                    raise _BrokenError(endless=False)
                break
            if mark[-1] in "[{":
                if closers.endswith("}") and mark[0] != ":":  # within an object a value follows a key
                    raise _BrokenError(endless=False)
                closers += "]" if mark[-1] == "[" else "}"
            elif mark in "]}":
                if closers and not closers.endswith(mark):
                    raise _BrokenError(endless=False)
                closers = closers[:-1]
            position = token.end()
            if not closers:
                return _past_strays(window, position)
        if len(window.text) > ROW_BYTES:
            raise _BrokenError(endless=True)
        if not window.grow():
            if scalar:
                return scalar.end()
            raise _BrokenError(endless=True)


def _past_strays(window: _Window, position: int) -> int:
    """The end of a value with the braces too many behind it, which make it one that cannot be parsed."""
    if position == len(window.text):
        window.grow()
    stray = _STRAY.match(window.text, position)
    return stray.end() if stray else position


def _to_next(window: _Window, indent: str) -> bool:
    """Drops what is left of a broken value, up to the line where the next object starts; False if none does."""
    if indent.strip():
        return False
    start = re.compile(rf"\n{re.escape(indent)}(?=\{{)") if indent else _ALONE
    while True:
        if match := start.search(window.text):
            window.drop(match.end())
            return True
        window.drop(max(0, len(window.text) - ROW_BYTES))
        if not window.grow():
            return False


def _row(line: int, text: str) -> Row | Refused:
    try:
        content = parse(text)
    except ReportError as error:
        return Refused(line, str(error), text)
    if not isinstance(content, dict):
        return Refused(line, f"a {type(content).__name__} came, expected an object", text)
    return Row(line, content, text)
