"""Lists of what may be opened: folders, files, URLs and hub ids, by globs."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.errors import MeloError

_PATHS = ("/", ".", "~")


class TrustError(MeloError, ValueError):
    """Something that the trust settings do not name; it was not opened."""


def covered(place: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern names a place or a folder that it lies in.

    Args:
        place: an absolute path without links, a URL, or a hub id.
        patterns: the same with ``*``, ``?`` and ``[...]``, which do not reach beyond a slash.
    """
    parts = place.split("/")
    return any(_covers(pattern.rstrip("/").split("/"), parts) for pattern in patterns)


def paths(patterns: Iterable[str]) -> list[str]:
    """The patterns that are no URLs as absolute paths without links."""
    local = (pattern.removeprefix("file://") for pattern in patterns)
    return [os.path.realpath(os.path.expanduser(pattern)) for pattern in local if "://" not in pattern]


def check_models(references: Iterable[str | Path | None], allowed: Sequence[str]) -> None:
    """Makes sure that backbones and encoders may be loaded, before anything of them is.

    Args:
        references: folders, hub ids, or names of what a package brings.
        allowed: patterns; none allow everything. One for a hub id does not let a folder of that name in: folders are
            named by paths that begin with ``/``, ``.`` or ``~``, and looked for where their links lead.

    Raises:
        TrustError: one may not.
    """
    if not allowed:
        return
    folders = paths(pattern for pattern in allowed if pattern.startswith(_PATHS))
    for reference in map(str, filter(None, references)):
        path = Path(reference).expanduser()
        local = path.exists() or reference.startswith(_PATHS)
        place = os.path.realpath(path) if local else reference
        if not covered(place, folders if local else allowed):
            raise TrustError(
                f"the model {place} is not loaded: MELO_TRUST__MODELS allows {', '.join(allowed)}. Add it there, if "
                "you trust where it comes from"
            )


def _covers(pattern: list[str], place: list[str]) -> bool:
    return len(pattern) <= len(place) and all(map(fnmatch.fnmatchcase, place, pattern))
