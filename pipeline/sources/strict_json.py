"""JSON as it is accepted from strangers and written down: no NaN, no key twice, no nested bomb."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

MAX_DEPTH = 16
"""Lists and objects inside one another, at most."""


class ReportError(ValueError):
    """Why something is no report: what came and what was expected."""


def parse(text: str) -> Any:
    """What the text says.

    Args:
        text: one JSON value; bytes that were no UTF-8 stand in it as lone surrogates (``surrogateescape``).

    Raises:
        ReportError: it is no UTF-8, no JSON, or more than JSON should be.
    """
    check_unicode(text)
    try:
        value = json.loads(
            text, object_pairs_hook=unique, parse_constant=_not_a_number, parse_float=_finite, parse_int=_integer
        )
    except RecursionError:
        raise ReportError(f"nested too deeply, expected at most {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise ReportError(f"not JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1}") from None
    check_depth(value)
    return value


def dump(value: Any) -> str:
    """The value as JSON text; dates and decimals as they print.

    Raises:
        ReportError: it holds NaN, bytes, broken text, or is nested too deeply.
    """
    check_depth(value)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_printed)
    except (TypeError, ValueError) as error:
        raise ReportError(f"has no JSON form: {error}") from None
    check_unicode(text)
    return text


def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its keys and values.

    Raises:
        ReportError: a key comes twice, so that readers could disagree on what it says.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ReportError(f"the key {key[:60]!r} comes twice, expected it once")
        found[key] = value
    return found


def check_unicode(text: str) -> None:
    """Raises ReportError for text that cannot be written down: bytes that are no UTF-8, half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ReportError(f"not UTF-8 at character {error.start + 1}") from None


def check_depth(value: Any) -> None:
    """Raises ReportError for lists and objects that are nested too deeply; does not recurse itself."""
    layer = [value]
    for _ in range(MAX_DEPTH + 1):
        layer = [
            child
            for item in layer
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not layer:
            return
    raise ReportError(f"nested too deeply, expected at most {MAX_DEPTH} levels")


def _not_a_number(constant: str) -> NoReturn:
    raise ReportError(f"{constant} came, expected a number or null")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ReportError(f"the number {digits[:20]} is too large")
    return value


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python refuses thousands of digits, as reading them takes quadratic time
        raise ReportError(f"a number of {len(digits)} digits came") from None


def _printed(value: Any) -> str:
    if isinstance(value, bytes):
        raise TypeError("bytes came, expected text")
    return str(value)
