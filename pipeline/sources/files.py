"""The files behind a source, and whether each is at rest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import fsspec

from pipeline import credentials
from pipeline.errors import MeloError
from pipeline.trust import TrustError, covered, paths

if TYPE_CHECKING:
    from aiohttp import ClientResponse

UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".swp", "~")
"""Endings that programs give to what they have not finished writing."""


class SourceError(MeloError, ValueError):
    """A source that is not there or cannot be reached; nothing was read."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source.

    Attributes:
        system: where it is.
        path: by which the system knows it.
        name: how it is shown: a local path, or a URL without passwords.
        size: in bytes; None where the system does not say.
        modified: when it was last changed, UTC; None where the system does not say.
        regular: False for links in a folder, devices and pipes.
    """

    system: fsspec.AbstractFileSystem
    path: str
    name: str
    size: int | None
    modified: datetime | None
    regular: bool

    @property
    def suffix(self) -> str:
        """Its ending, in lower case."""
        return PurePosixPath(urlsplit(self.name).path).suffix.casefold()

    def open(self) -> IO[bytes]:
        """The file, to be read from its start.

        Raises:
            OSError: it cannot be opened.
        """
        try:
            return self.system.open(self.path, "rb")
        except Exception as error:  # each remote file system has errors of its own
            raise OSError(_without_secrets(error, self.path)) from error

    def unsettled(self, seconds: float, now: datetime) -> str:
        """Why somebody seems to be writing it: its name, or a change less than ``seconds`` ago; empty if nobody is."""
        if self.path.casefold().endswith(UNFINISHED):
            return f"its name ends in one of {' '.join(UNFINISHED)}"
        # Another machine's clock may be ahead by seconds; by more than that, its times say nothing.
        age = None if self.modified is None else abs((now - self.modified).total_seconds())
        return f"it changed {age:.1f} s ago, expected at least {seconds:g}" if age is not None and age < seconds else ""

    def changed(self) -> bool:
        """Whether its size or time is no longer what it was when it was found."""
        return (_size(self.system.info(self.path)), _modified(self.system, self.path)) != (self.size, self.modified)


def files(source: str, allowed: Sequence[str] = ()) -> list[SourceFile]:
    """The file, or those of the folder and the folders in it, in the order of their paths.

    Names that begin with a dot or an underscore are passed over, as everywhere in Arrow's world.

    Args:
        source: a path or any fsspec URL.
        allowed: patterns of places that may be read; see ``pipeline.trust``. None: all.

    Raises:
        SourceError: there is nothing there, or the place cannot be reached.
        TrustError: it, or a file in it, lies elsewhere than in an allowed place; nothing was opened.
    """
    try:
        if allowed and "::" in source:
            raise TrustError(f"{shown(source)} is not read: a chain of URLs can't be held against MELO_TRUST__SOURCES")
        system, path = fsspec.url_to_fs(source, **_manners(source, allowed))
        _check(system, path, allowed)
        system.invalidate_cache()
        info = system.info(path)
        if info["type"] != "directory":
            found = {path: info}
        else:
            listed = system.find(path, detail=True)
            found = {name: listed[name] for name in sorted(listed) if not _is_hidden(name, path)}
        for name in found:
            # A link in a folder is not followed but told; what lies behind one in the path to it would be.
            _check(system, name if found[name]["type"] == "file" else path, allowed)
        return [_file(system, name, info) for name, info in found.items()]
    except TrustError:
        raise
    except FileNotFoundError as error:
        if isinstance(error.__cause__, TrustError):
            raise error.__cause__ from None
        # Over HTTP a server that is down raises this too, with what happened as its cause.
        cause = f" ({_without_secrets(error.__cause__, source)})" if error.__cause__ else ""
        raise SourceError(f"no file or folder at {shown(source)}{cause}: name one that is there") from None
    except Exception as error:  # each remote file system has errors of its own
        raise SourceError(f"{shown(source)} cannot be reached: {_without_secrets(error, source)}") from None


def shown(url: str) -> str:
    """A path as it is; a URL without user, password and query, which may hold keys."""
    parts = urlsplit(url)
    if not parts.netloc or "://" not in url:
        return url
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _check(system: fsspec.AbstractFileSystem, path: str, allowed: Sequence[str]) -> None:
    """Raises TrustError for a place that is not allowed, wherever links, ``..`` and escapes in its name lead."""
    if not allowed:
        return
    local = _is_local(system)
    place = os.path.realpath(path) if local else unquote(shown(system.unstrip_protocol(path)))
    if ".." in place.split("/") or not covered(place, paths(allowed) if local else allowed):
        raise TrustError(
            f"{place} is not read: MELO_TRUST__SOURCES allows {', '.join(allowed)}. Add it there, if you trust whoever "
            "can write to it"
        )


def _manners(source: str, allowed: Sequence[str]) -> dict[str, Any]:
    """Options of a file system: a web server that is listed sends nobody on, since it could send to one that is not."""
    if not allowed or urlsplit(source).scheme not in ("http", "https"):
        return {}
    return {"allow_redirects": False, "client_kwargs": {"raise_for_status": _refuse_to_be_sent_on}}


async def _refuse_to_be_sent_on(answer: ClientResponse) -> None:
    if 300 <= answer.status < 400 and (elsewhere := answer.headers.get("Location")) is not None:
        here, there = str(answer.url), urljoin(str(answer.url), elsewhere)
        raise TrustError(
            f"{shown(here)} is not read: it sends on to {shown(there)}. Name that place as the source, and in "
            "MELO_TRUST__SOURCES, if you trust whoever can write to it"
        )


def _is_local(system: fsspec.AbstractFileSystem) -> bool:
    return "file" in ((system.protocol,) if isinstance(system.protocol, str) else system.protocol)


def _file(system: fsspec.AbstractFileSystem, path: str, info: dict[str, Any]) -> SourceFile:
    name = path if _is_local(system) else shown(system.unstrip_protocol(path))
    regular = info["type"] == "file"
    return SourceFile(system, path, name, _size(info), _modified(system, path) if regular else None, regular)


def _size(info: dict[str, Any]) -> int | None:
    size = info.get("size")
    return None if size is None else int(size)


def _modified(system: fsspec.AbstractFileSystem, path: str) -> datetime | None:
    try:
        time = system.modified(path)
    except (NotImplementedError, KeyError, FileNotFoundError):  # no times there, or it has gone since it was listed
        return None
    if not isinstance(time, datetime):
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _is_hidden(path: str, root: str) -> bool:
    inside = path[len(root) :] if path.startswith(root) else path
    return any(part.startswith((".", "_")) for part in inside.split("/"))


def _without_secrets(error: BaseException, source: str) -> str:
    return credentials.shown(str(error).replace(source, shown(source)))
