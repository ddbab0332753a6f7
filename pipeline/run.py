"""One run from top to bottom: reports in, edits, a version, its scores, the gate, and the version in use.

Every step is journaled when it has ended, so a run that was killed goes on where it stopped when it is started
again, and comes to the same version (rules 6 and 9).
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.credentials import shown
from pipeline.editing.folder import read_manifest
from pipeline.editing.index import Collection
from pipeline.editing.index.points import IndexHomeError
from pipeline.editlog import EditLog, records_of, taken_back
from pipeline.evaluation import Scores, Verdict, failures, judge, questions
from pipeline.evaluation.figures import conflicts, distances_and_radii, scope_by_kind, scores_over_edits
from pipeline.evaluation.probes import Probing
from pipeline.events import step, watched
from pipeline.journal import Journal, Night, user_name
from pipeline.registry.store import RegistryError
from pipeline.registry.tracking import Registry
from pipeline.report import write_page
from pipeline.review import ReviewQueue
from pipeline.settings import Settings
from pipeline.sources import files, pairs
from pipeline.telling import Teller
from pipeline.trust import check_models
from schemas.reports import CONTRADICTIONS, DUPLICATES, QUARANTINE, REPORTS, REVIEW
from workers.connect import connected
from workers.ingestion import IngestionWorker
from workers.models import ModelSpec
from workers.scoring import score
from workers.spread import SpreadError, crew_of
from workers.teaching import teach
from workers.trainer import TrainerWorker

TABLES = {
    "edits": REPORTS,
    "quarantine": QUARANTINE,
    "review": REVIEW,
    "duplicates": DUPLICATES,
    "contradictions": CONTRADICTIONS,
}
"""What ingestion counts and writes into a night's folder, and its schemas."""
PASSING = (OSError, IndexHomeError, RegistryError, SpreadError, sqlite3.OperationalError)
"""Errors that a night waits out: it goes on where it stopped. After any other, the next night begins anew."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run.

    Attributes:
        night: its number.
        source: where its reports came from. Of a night that was gone on with, not the one that was asked for.
        counts: rows by what became of them: reports, edits, duplicates, contradictions, quarantine (and of those
            confirmed: the answer was right), review.
        folder: of the night, with all tables.
        digest, number: of the new version; None when there was nothing new.
        promoted: whether it is the champion now.
        scores, verdict: its own; None likewise.
        refused: edits that the model cannot take, and why.
        expired: how many edits it has no more since their time was over.
    """

    night: int
    source: str
    counts: dict[str, int]
    folder: Path
    digest: str | None = None
    number: int | None = None
    promoted: bool = False
    scores: Scores | None = None
    verdict: Verdict | None = None
    refused: dict[str, str] | None = None
    expired: int = 0


def run(settings: Settings, source: str, backbone: str, teller: Teller) -> RunResult:
    """Reads a source, edits, evaluates, registers and, if the gate lets it, promotes.

    A night that did not end is gone on with first, and alone; its own source is in the result.

    Args:
        settings: all of them.
        source: file, folder or URL of reports; or ``UNDO`` and ids of the champion's edits, with commas.
        backbone: folder or hub id.
        teller: tells what is being done.

    Raises:
        BusyError: another run is at work in this home.
        RegistryError, SpreadError, IndexHomeError: a part that is named in the settings cannot be reached.
        SourceError: there is no such source.
        TrustError: the settings do not let the source be read, or the backbone or encoder be loaded.
    """
    journal = Journal(settings.home)
    try:
        with journal.at_work():
            if settings.qdrant_url is not None:
                from pipeline.editing.index.server import check_server  # takes a second to import

                check_server(settings.qdrant_url)
            check_models((backbone, settings.editing.encoder), settings.trust.models)
            artifacts = journal.home / "artifacts"
            registry = Registry(settings.tracking_uri, settings.name, artifacts, settings.trust.models)
            with connected(settings.ray_address):
                return _Run(settings, journal, registry, backbone, teller).night(source)
    finally:
        journal.close()


class _Run:
    """The steps of one run, in order."""

    def __init__(self, settings: Settings, journal: Journal, registry: Registry, backbone: str, teller: Teller) -> None:
        self._settings = settings
        self._journal = journal
        self._registry = registry
        self._backbone = backbone
        self._say = teller.say
        self._track = teller.track
        self._upstream = pairs(str(settings.upstream)) if settings.upstream else []
        self._log = EditLog(journal, registry.history())

    def night(self, source: str) -> RunResult:
        """One night, or what is left of one that did not end."""
        night = self._journal.unfinished()
        if night is None:
            if not taken_back(source):
                files(source, self._settings.trust.sources)  # raises before anything begins
            champion = self._registry.champion()
            if champion is not None:
                self._journal.take_in(champion.digest, champion.folder)
            night = self._journal.begin(source, champion.digest if champion else None)
        else:
            self._say(f"night {night.number} did not end: going on where it stopped")
        with watched(self._settings, self._journal, self._registry, night):
            try:
                return self._go(night)
            except PASSING:
                self._say(f"night {night.number} stopped, nothing is lost: start it again when the cause is removed")
                raise
            except Exception as error:
                self._journal.end(night, f"failed: {error}")  # what it admitted waits for the next one
                raise

    def _go(self, night: Night) -> RunResult:
        counts = self._step(night, "reports", self._ingest)
        undone, edits, expired = taken_back(night.source), self._log.to_teach(night), self._log.expired(night)
        if not undone and not expired and not (edits.num_rows and self._log.waiting(night)):
            self._journal.end(night, "nothing new")
            return RunResult(night.number, night.source, counts, night.folder)
        version = partial(self._undo, ids=undone) if undone else partial(self._teach, edits=edits, expired=expired)
        made = self._step(night, "version", version)
        scores = Scores.model_validate(self._step(night, "scores", self._score))
        verdict = Verdict.model_validate(self._step(night, "gate", self._judge))
        number = self._step(night, "registered", self._register)["number"]
        promoted = self._step(night, "promoted", self._promote)["promoted"]
        shutil.rmtree(night.folder / "units", ignore_errors=True)  # the version has what was trained
        self._journal.end(night, "promoted" if promoted else "kept back")
        return RunResult(
            night.number,
            night.source,
            counts,
            night.folder,
            made["digest"],
            number,
            promoted,
            scores,
            verdict,
            made["refused"],
            len(made.get("expired", ())),
        )

    def _step(self, night: Night, name: str, work: Callable[[Night], dict[str, Any]]) -> dict[str, Any]:
        return self._journal.step(night, name, lambda: step(name, night, self._journal.versions, work))

    # -- reports -------------------------------------------------------------------------------------------------

    def _ingest(self, night: Night) -> dict[str, int]:
        if taken_back(night.source):
            for name, schema in TABLES.items():
                pq.write_table(schema.empty_table(), night.folder / f"{name}.parquet")
            return dict.fromkeys(("reports", *TABLES, "confirmed"), 0)
        self._say(f"reading reports from {night.source}")
        queue = ReviewQueue(self._journal)
        # What is answered while this night goes on is the next one's, however often this one is begun.
        self._step(night, queue.STEP, lambda night: {"up_to": queue.latest()})
        known, queued, answered = self._log.known(night), queue.came_before(night), queue.answered(night)
        trusting = self._settings.trust, self._log.earlier(night)
        with crew_of(self._settings, IngestionWorker, lambda place: (), 1) as crew:
            counts: dict[str, int] = crew.call("ingest", night.source, known, queued, answered, night.folder, *trusting)
        return counts

    # -- version -------------------------------------------------------------------------------------------------

    def _teach(self, night: Night, edits: pa.Table, expired: list[str]) -> dict[str, Any]:
        """Teaches what the base does not know: tonight's edits, and those of nights that were kept back.

        Edits whose time is over are taken out first.
        """
        settings, journal, spec = self._settings, self._journal, self._spec(night.base)

        def arguments(place: int) -> tuple[Any, ...]:
            return (spec, self._index(), 1, expired) if place == 0 else (spec, "memory", 1)

        if expired:
            self._say(f"taking out {len(expired):,} edits whose time is over")
        start = time.monotonic()
        with (
            self._track(f"teaching {edits.num_rows:,} edits", edits.num_rows) as advance,
            crew_of(settings, TrainerWorker, arguments, settings.trainers, settings.trainer_gpus) as crew,
        ):
            units = night.folder / "units"
            digest, refused = teach(crew, edits, settings.portion, units, journal.versions, advance)
            peak = crew.call("peak_bytes")
        seconds = time.monotonic() - start
        made = {"digest": digest, "refused": refused, "expired": expired, "taught": edits.num_rows}
        return made | {"seconds": seconds, "peak_bytes": peak}

    def _undo(self, night: Night, ids: list[str]) -> dict[str, Any]:
        """Takes edits of the base back; nothing is trained."""
        start = time.monotonic()
        self._say(f"taking back {len(ids)} edits")
        spec = self._spec(night.base)
        with crew_of(self._settings, TrainerWorker, lambda place: (spec, self._index(), 1), 1) as crew:
            digest = crew.call("undo", ids, self._journal.versions)
        return {"digest": digest, "refused": {}, "taught": 0, "seconds": time.monotonic() - start}

    def _index(self) -> Path | Collection:
        """Where the lead trainer keeps the keys of the version in work; it is rebuilt every night."""
        url = self._settings.qdrant_url
        return self._journal.home / "index" if url is None else Collection(url, self._settings.name)

    def _spec(self, digest: str | None) -> ModelSpec:
        version = None if digest is None else str(self._journal.versions / digest)
        return ModelSpec(self._backbone, self._settings.task, self._settings.editing, version)

    # -- scores --------------------------------------------------------------------------------------------------

    def _score(self, night: Night) -> dict[str, Any]:
        """Asks for all edits that the version is to know, not only tonight's, and for the upstream task.

        The questions that are derived from edits are others every night, so that nobody can learn them by heart.
        """
        digest = self._digest(night)
        version = self._journal.versions / digest
        probing = Probing(self._settings.probes, night.number, read_manifest(version).backbone.task)
        asked = questions(self._log.to_be_known(version), self._upstream, probing)
        return score(self._settings, self._spec(digest), asked, night.folder, self._track).model_dump(mode="json")

    def _digest(self, night: Night) -> str:
        return str(self._journal.results(night)["version"]["digest"])

    # -- gate and registry ---------------------------------------------------------------------------------------

    def _judge(self, night: Night) -> dict[str, Any]:
        """Against the thresholds, and against the scores of the version that was edited, which is the champion."""
        scores = Scores.model_validate(self._journal.results(night)["scores"])
        before = self._lineage(night)
        return judge(scores, before[-1] if before else None, self._settings.gate).model_dump(mode="json")

    def _lineage(self, night: Night) -> list[Scores]:
        """Scores of the versions that led to a night's base, the first one first."""
        made = {}
        for other in self._journal.nights():
            results = self._journal.results(other)
            if "scores" in results and other.number < night.number:
                made[results["version"]["digest"]] = other.base, Scores.model_validate(results["scores"])
        found: list[Scores] = []
        base = night.base
        while base in made:
            base, scores = made.pop(base)
            found.insert(0, scores)
        return found

    def _register(self, night: Night) -> dict[str, Any]:
        self._say("registering the version")
        results, digest, folder = self._journal.results(night), self._digest(night), night.folder
        verdict, scores = Verdict.model_validate(results["gate"]), Scores.model_validate(results["scores"])
        # A night that an earlier release began may lack a table.
        files = {name: folder / f"{name}.parquet" for name in (*TABLES, "answers")}
        tables = {name: pq.read_table(file) for name, file in files.items() if file.is_file()}
        tables["failures"] = failures(tables["answers"])
        records = records_of(self._journal.versions / digest)
        figures = [
            scores_over_edits([*self._lineage(night), scores], folder / "scores.png"),
            scope_by_kind(scores, folder / "scope.png"),
            distances_and_radii(tables["answers"], folder / "distances.png"),
            conflicts(records, folder / "conflicts.png"),
        ]
        made = results["version"]
        number = self._registry.register(
            self._journal.versions / digest,
            digest,
            run_name=f"night {night.number}",
            params={
                "source": shown(night.source)[:4000],
                "base": night.base or "the backbone",
                "backbone": self._backbone,
            }
            | {"trainers": self._settings.trainers, "portion": self._settings.portion}
            | self._settings.editing.model_dump(mode="json", exclude_none=True),
            scores=scores.flat() | {"edits_taught": made["taught"], "teaching_seconds": made["seconds"]},
            tags={"gate": "passed" if verdict.passed else "failed", "reasons": "; ".join(verdict.reasons)[:4000]},
            tables=tables,
            figures=figures,
            page=write_page(self._journal, night),
            example=tables["answers"]["prompt"].to_pylist()[:3],
            edits=records.num_rows,
        )
        return {"number": number}

    def _promote(self, night: Night) -> dict[str, Any]:
        """Into use, if the gate lets it and nobody moved the champion while the night went on."""
        results, champion = self._journal.results(night), self._registry.champion()
        if not results["gate"]["passed"]:
            return {"promoted": False}
        if champion is not None and champion.digest not in (night.base, self._digest(night)):
            self._say(f"version {champion.number} became champion meanwhile: it stays, decide with melo promote")
            return {"promoted": False}
        scores = Scores.model_validate(results["scores"]).flat()
        number = results["registered"]["number"]
        self._registry.promote(number, user_name(), f"night {night.number} passed the gate", scores)
        return {"promoted": True}
