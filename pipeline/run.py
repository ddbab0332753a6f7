"""One run from top to bottom: reports in, edits, a version, its scores, the gate, and the version in use.

Every step is journaled when it has ended, so a run that was killed goes on where it stopped when it is started
again, and comes to the same version (rules 6 and 9).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.editing.checkpoint import RECORDS
from pipeline.evaluation import Scores, Verdict, judge, questions, summarise
from pipeline.evaluation.figures import conflicts, distances_and_radii
from pipeline.journal import Journal, Night, user_name
from pipeline.registry.tracking import Registry
from pipeline.settings import Settings
from pipeline.units import UnitStore
from schemas.reports import CONTRADICTIONS, DUPLICATES, QUARANTINE, REPORTS
from workers.connect import connected
from workers.evaluator import EvaluatorWorker
from workers.ingestion import IngestionWorker
from workers.models import ModelSpec
from workers.spread import Crew
from workers.trainer import TrainerWorker

QUESTIONS_AT_ONCE = 256
"""Questions that one call of an evaluator gets."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run.

    Attributes:
        night: its number.
        counts: rows by what became of them: reports, edits, duplicates, contradictions, quarantine.
        folder: of the night, with all tables.
        digest, number: of the new version; None when there was nothing new.
        scores, verdict: its own; None likewise.
        refused: edits that the model cannot take, and why.
    """

    night: int
    counts: dict[str, int]
    folder: Path
    digest: str | None = None
    number: int | None = None
    scores: Scores | None = None
    verdict: Verdict | None = None
    refused: dict[str, str] | None = None


UNDO = "undo:"
"""A source that begins with it names edits that are to be taken back, by their ids."""


def run(settings: Settings, source: str, backbone: str, say: Say) -> RunResult:
    """Reads a source, edits, evaluates, registers and, if the gate lets it, promotes.

    Args:
        settings: all of them.
        source: file, folder or URL of reports; or ``UNDO`` and ids of the champion's edits, with commas.
        backbone: folder or hub id.
        say: told what is being done.

    Raises:
        BusyError: another run is at work in this home.
        RegistryError, SpreadError, IndexHomeError: a part that is named in the settings cannot be reached.
        SourceError: there is no such source.
    """
    journal = Journal(settings.home)
    try:
        with journal.at_work():
            registry = Registry(settings.tracking_uri, settings.name, journal.home / "artifacts")
            with connected(settings.ray_address):
                return _Run(settings, journal, registry, backbone, say).night(source)
    finally:
        journal.close()


class _Run:
    """The steps of one run, in order."""

    def __init__(self, settings: Settings, journal: Journal, registry: Registry, backbone: str, say: Say) -> None:
        self._settings = settings
        self._journal = journal
        self._registry = registry
        self._backbone = backbone
        self._say = say

    def night(self, source: str) -> RunResult:
        night = self._journal.unfinished()
        if night is None:
            champion = self._registry.champion()
            night = self._journal.begin(source, champion.digest if champion else None)
        else:
            self._say(f"night {night.number} did not end: going on where it stopped")
        counts = self._step(night, "reports", self._ingest)
        if not counts["edits"] and not night.source.startswith(UNDO):
            self._journal.end(night, "nothing new")
            return RunResult(night.number, counts, night.folder)
        made = self._step(night, "version", self._undo if night.source.startswith(UNDO) else self._teach)
        scores = Scores.model_validate(self._step(night, "scores", self._score))
        verdict = Verdict.model_validate(self._step(night, "gate", self._judge))
        number = self._step(night, "registered", self._register)["number"]
        self._step(night, "promoted", self._promote)
        self._journal.end(night, "promoted" if verdict.passed else "kept back by the gate")
        return RunResult(night.number, counts, night.folder, made["digest"], number, scores, verdict, made["refused"])

    def _step(self, night: Night, name: str, work: Callable[[Night], dict[str, Any]]) -> dict[str, Any]:
        return self._journal.step(night, name, lambda: work(night))

    # -- reports -------------------------------------------------------------------------------------------------

    def _ingest(self, night: Night) -> dict[str, int]:
        if night.source.startswith(UNDO):
            return _nothing(night.folder)
        self._say(f"reading reports from {night.source}")
        known = self._logged(before=night)["edit_id"].to_pylist()
        with self._crew(IngestionWorker, lambda place: (), 1) as crew:
            counts: dict[str, int] = crew.call("ingest", night.source, known, night.folder)
        return counts

    def _logged(self, before: Night | None = None) -> pa.Table:
        """The edits of all nights, or of those before one, in order: schema REPORTS."""
        nights = [night for night in self._journal.nights() if before is None or night.number < before.number]
        files = [file for night in nights if (file := night.folder / "edits.parquet").is_file()]
        return pa.concat_tables([REPORTS.empty_table(), *(pq.read_table(file, schema=REPORTS) for file in files)])

    # -- version -------------------------------------------------------------------------------------------------

    def _teach(self, night: Night) -> dict[str, Any]:
        """Plans, trains and commits what the base does not know: tonight's edits, and those of nights kept back."""
        log = self._logged()
        edits = log.filter(pc.invert(pc.is_in(log["edit_id"], pa.array(self._decided(night), pa.string()))))
        self._say(f"teaching {edits.num_rows} edits")
        settings, spec = self._settings, self._spec(night.base)

        def arguments(place: int) -> tuple[Any, ...]:
            return spec, self._index() if place == 0 else "memory", 1

        with self._crew(TrainerWorker, arguments, settings.trainers, gpus=settings.trainer_gpus) as crew:
            store = UnitStore(night.folder / "units", crew.call("circumstances"))
            plan, refused = crew.call("plan", edits)
            while units := plan.curriculum.units():
                kept = [(unit, store.get(unit)) for unit in units]
                ended = [trained for _, trained in kept if trained is not None]
                missing = [unit for unit, trained in kept if trained is None]
                for number, trained in crew.share("train", [(unit,) for unit in missing]):
                    ended.append(replace(trained, unit=missing[number]))
                    store.put(ended[-1])
                plan.curriculum.finish(ended)
            digest = crew.call("commit", plan, self._journal.versions)
        return {"digest": digest, "refused": refused}

    def _undo(self, night: Night) -> dict[str, Any]:
        """Takes edits of the base back; nothing is trained."""
        ids = night.source.removeprefix(UNDO).split(",")
        self._say(f"taking back {len(ids)} edits")
        spec = self._spec(night.base)
        with self._crew(TrainerWorker, lambda place: (spec, self._index(), 1), 1) as crew:
            digest = crew.call("undo", ids, self._journal.versions)
        return {"digest": digest, "refused": {}}

    def _index(self) -> str | Path:
        return self._settings.qdrant_url or self._journal.home / "index"

    def _decided(self, night: Night) -> list[str]:
        """Edits that the base has a record of, and those that the model cannot take."""
        known = [] if night.base is None else self._records(night.base)["edit_id"].to_pylist()
        return known + list(self._refused())

    def _refused(self) -> dict[str, str]:
        refused: dict[str, str] = {}
        for night in self._journal.nights():
            refused |= self._journal.results(night).get("version", {}).get("refused", {})
        return refused

    def _records(self, digest: str) -> pa.Table:
        return pq.read_table(self._journal.versions / digest / RECORDS)

    def _spec(self, digest: str | None) -> ModelSpec:
        version = None if digest is None else str(self._journal.versions / digest)
        return ModelSpec(self._backbone, self._settings.task, self._settings.editing, version)

    # -- scores --------------------------------------------------------------------------------------------------

    def _score(self, night: Night) -> dict[str, Any]:
        settings, digest = self._settings, self._digest(night)
        asked = questions(self._to_be_known(digest), self._upstream())
        self._say(f"asking {asked.num_rows} questions")
        slices = [(asked.slice(start, QUESTIONS_AT_ONCE),) for start in range(0, asked.num_rows, QUESTIONS_AT_ONCE)]
        spec = self._spec(digest)
        with self._crew(
            EvaluatorWorker, lambda place: (spec, 1), settings.evaluators, gpus=settings.evaluator_gpus
        ) as crew:
            answers = dict(crew.share("ask", slices))
        table = pa.concat_tables([answers[number] for number in range(len(slices))])
        pq.write_table(table, night.folder / "answers.parquet")
        return summarise(table, settings.task).model_dump(mode="json")

    def _to_be_known(self, digest: str) -> pa.Table:
        """The edits that a version is to know: those of its records that were neither replaced nor undone."""
        log, records = self._logged(), self._records(digest)
        standing = records.filter(pc.is_in(records["state"], pa.array(["live", "failed", "evicted"])))
        return log.filter(pc.is_in(log["edit_id"], standing["edit_id"].combine_chunks()))

    def _upstream(self) -> list[tuple[str, str]]:
        if self._settings.upstream is None:
            return []
        rows = map(json.loads, self._settings.upstream.read_text().splitlines())
        return [(row["prompt"], row["target"]) for row in rows]

    def _digest(self, night: Night) -> str:
        return str(self._journal.results(night)["version"]["digest"])

    # -- gate and registry ---------------------------------------------------------------------------------------

    def _judge(self, night: Night) -> dict[str, Any]:
        """Against the thresholds, and against the scores of the version that was edited, which is the champion."""
        results = self._journal.results(night)
        before = [
            found["scores"]
            for other in self._journal.nights()
            if (found := self._journal.results(other)).get("version", {}).get("digest") == night.base
            and "scores" in found
        ]
        champion = Scores.model_validate(before[-1]) if before else None
        verdict = judge(Scores.model_validate(results["scores"]), champion, self._settings.gate)
        return verdict.model_dump(mode="json")

    def _register(self, night: Night) -> dict[str, Any]:
        self._say("registering the version")
        results, digest, folder = self._journal.results(night), self._digest(night), night.folder
        verdict = Verdict.model_validate(results["gate"])
        tables = {
            name: pq.read_table(folder / f"{name}.parquet")
            for name in ("edits", "answers", "quarantine", "duplicates", "contradictions")
        }
        records = self._records(digest)
        figures = [
            distances_and_radii(tables["answers"], folder / "distances.png"),
            conflicts(records, folder / "conflicts.png"),
        ]
        number = self._registry.register(
            self._journal.versions / digest,
            digest,
            run_name=f"night {night.number}",
            params={"source": night.source, "base": night.base or "the backbone", "backbone": self._backbone}
            | self._settings.editing.model_dump(mode="json", exclude_none=True),
            scores=Scores.model_validate(results["scores"]).flat(),
            tags={"gate": "passed" if verdict.passed else "failed", "reasons": "; ".join(verdict.reasons)[:4000]},
            tables=tables,
            figures=figures,
            example=tables["edits"]["prompt"].to_pylist()[:3],
            edits=records.num_rows,
        )
        return {"number": number}

    def _promote(self, night: Night) -> dict[str, Any]:
        results = self._journal.results(night)
        if results["gate"]["passed"]:
            scores = Scores.model_validate(results["scores"]).flat()
            number = results["registered"]["number"]
            self._registry.promote(number, user_name(), f"night {night.number} passed the gate", scores)
        return {"promoted": results["gate"]["passed"]}

    def _crew(self, worker: type, arguments: Callable[[int], tuple[Any, ...]], count: int, gpus: float = 0) -> Crew:
        resources = {"num_cpus": 1, "num_gpus": gpus}
        return Crew(worker, arguments, count, resources, self._settings.patience)


def _nothing(folder: Path) -> dict[str, int]:
    """The tables of a night without reports."""
    tables = {"edits": REPORTS, "quarantine": QUARANTINE, "duplicates": DUPLICATES, "contradictions": CONTRADICTIONS}
    for name, schema in tables.items():
        pq.write_table(schema.empty_table(), folder / f"{name}.parquet")
    return dict.fromkeys(("reports", *tables), 0)
