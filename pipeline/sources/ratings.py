"""Whether a rating says that an answer was right."""

from __future__ import annotations

import re
from typing import Any

RIGHT = frozenset(
    {"correct", "right", "true", "good", "pass", "passed", "accurate", "accept", "accepted", "approve", "approved"}
    | {"up", "positive", "like", "liked", "ok", "okay", "factual", "helpful", "👍"}
)
"""Words that say so, alone or before "answer" or "response"; "thumbs" before them makes no difference."""
WRONG = frozenset(
    {"incorrect", "wrong", "false", "bad", "fail", "failed", "inaccurate", "reject", "rejected", "untrue", "down"}
    | {"negative", "dislike", "disliked", "hallucinated", "hallucination", "👎"}
    | {"not correct", "not right", "not true", "not accurate", "partially correct", "partly correct"}
)
_FAULT = re.compile(r"hallucinat|incorrect|inaccura|wrong|error|mistake|fault|false|issue|problem|toxic|harmful|bias")
_STARS = re.compile(r"star|rating|scale|grade|rank|level")
_AFTER = re.compile(r"^thumbs? |\b(?: answer| response)$")


def is_right(name: str, value: Any) -> bool | None:
    """What a rating says: that the answer was right, or wrong; None when it says neither.

    Where the name is that of a fault ("hallucination"), true and 1 say that the answer had it. Numbers count as
    truth values; nobody can tell what 0.5 or three stars are, nor what 1 is where it may be one star.

    Args:
        name: what was rated.
        value: true or false, a number, a word, or anything else.
    """
    words = re.sub(r"[\s_-]+", " ", name.casefold())
    if isinstance(value, str):
        word = _AFTER.sub("", re.sub(r"[\s_-]+", " ", value.strip().casefold()).rstrip(".!"))
        if word in {"yes", "no", "true", "false"}:
            value = word in {"yes", "true"}
        else:
            return True if word in RIGHT else False if word in WRONG else None
    if not isinstance(value, bool | int | float) or value not in (-1, 0, 1):
        return None
    if not isinstance(value, bool) and _STARS.search(words):
        return None
    return (value > 0) is not bool(_FAULT.search(words))
