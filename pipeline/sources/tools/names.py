"""What people call the questions that they ask of annotators: their names say whether a text is the right answer."""

from __future__ import annotations

import re

_COMMENT = re.compile(r"comment|reason|rationale|explan|note|feedback|evidence|why|justif|remark|source")
_CORRECTION = re.compile(r"correction|corrected|answer|expected|target|response|rewrit|gold|reference|truth|completion")
_RATING = re.compile(
    r"correct(?:ness)?$|^is |quality|rating|score|relevan|helpful|prefer|length|tone|style|right|wrong"
)


def is_comment(name: str) -> bool:
    """Whether a text under this name says why, not what is right."""
    return bool(_COMMENT.search(name.casefold()))


def is_correction(name: str) -> bool:
    """Whether a text under this name is the right answer, where nothing else tells texts from ratings."""
    words = name.casefold().replace("_", " ").replace("-", " ")
    return bool(_CORRECTION.search(words)) and not _RATING.search(words) and not is_comment(name)
