"""The version that is served: the registry's champion, and the next one once there is another.

A new champion is loaded beside the old one, on the same backbone, reads what its edits' wordings ask, and takes over
between two requests. What is being answered goes on with the version that it began with, which is closed after its last
answer. The first champion answers while it reads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipeline.editing.backbone import Backbone
from pipeline.editing.folder import read_manifest
from pipeline.editing.model import EditedModel
from pipeline.errors import MeloError
from pipeline.registry.tracking import Registered, Registry

logger = logging.getLogger(__name__)

Loader = Callable[[Registered, Backbone | None], EditedModel]
"""Makes an edited model of a version, on the backbone that is there already if it is the same."""


@dataclass(eq=False)
class Served:
    """A version in memory.

    Attributes:
        number: of the registry.
        digest: of the version.
        model: answers.
        edits: how many of its edits are live.
        asked: requests that are being answered by it.
        leaving: whether another one has taken its place.
        warm: whether it has read what its edits' wordings ask.
    """

    number: int
    digest: str
    model: EditedModel
    edits: int
    asked: int = field(default=0)
    leaving: bool = field(default=False)
    warm: bool = field(default=False)


def loaded(version: Registered, backbone: Backbone | None) -> EditedModel:
    """A version's model, its digests checked; its index in memory.

    Raises:
        CheckpointError, BackboneError: see ``EditedModel.load``.
    """
    same = backbone is not None and read_manifest(version.folder).backbone.digest == backbone.digest
    return EditedModel.load(version.folder, backbone=backbone if same else None, index="memory")


class Champion:
    """What is served now. ``close`` ends it.

    Args:
        registry: names the champion.
        every: seconds between two looks at the registry.
        load: makes a model of a version.

    Attributes:
        seen: number of the champion at the last look; None when there was none.
        swaps: champions taken in.
        failures: looks and take-ins that failed.
    """

    def __init__(self, registry: Registry, every: float, load: Loader = loaded) -> None:
        self._registry = registry
        self._load = load
        self.seen: int | None = None
        self.swaps = self.failures = 0
        self._lock = threading.Lock()
        self._served: Served | None = None
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look_again, args=(every,), name="champion", daemon=True)

    def start(self) -> None:
        """Loads the champion, if there is one yet, and begins to look out for others."""
        self.refresh()
        self._watch.start()

    @property
    def served(self) -> Served | None:
        """The version that new requests get; None before the first."""
        return self._served

    @contextmanager
    def held(self) -> Iterator[Served | None]:
        """The version for one request, which stays open as long as that takes."""
        with self._lock:
            served = self._served
            if served is not None:
                served.asked += 1
        try:
            yield served
        finally:
            if served is not None:
                with self._lock:
                    served.asked -= 1
                    last = served.leaving and served.asked == 0
                if last:
                    served.model.close()

    def refresh(self) -> None:
        """Takes in another champion, if there is one. A failure is told, and what is served stays."""
        try:
            self.seen = self._registry.champion_number()
            if self.seen == (self._served.number if self._served else None):
                return
            champion = self._registry.champion()
            if champion is None:
                return
            backbone = None if self._served is None else self._served.model.backbone
            model = self._load(champion, backbone)
            fresh = Served(champion.number, champion.digest, model, len(model.records.live()))
            if backbone is not None:  # another one answers meanwhile
                self._warm_up(fresh)
        except (MeloError, OSError) as error:
            self.failures += 1
            logger.error("the champion is not taken in, and what is served stays: %s", error)
            return
        self._swap(fresh)
        self.swaps += 1
        logger.info("serving version %d (%s)", fresh.number, fresh.digest[:12])

    def close(self) -> None:
        """Ends the look-out and lets go of the version; what is being answered is answered first."""
        self._over.set()
        if self._watch.is_alive():
            self._watch.join()
        self._swap(None)

    def _look_again(self, every: float) -> None:
        while True:
            with self.held() as served:
                if served is not None and not served.warm:
                    self._warm_up(served)
            if self._over.wait(every):
                return
            self.refresh()

    def _warm_up(self, version: Served) -> None:
        """Until it is warm, or all is over."""
        for _ in version.model.warm_up():
            if self._over.is_set():
                return
        version.warm = True

    def _swap(self, fresh: Served | None) -> None:
        with self._lock:
            old, self._served = self._served, fresh
            if old is not None:
                old.leaving = True
            idle = old is not None and old.asked == 0
        if old is not None and idle:
            old.model.close()
