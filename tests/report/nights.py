"""Nights as a run stores them, of tables made by hand: no model, no Ray."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.editing.clusters import Clusters
from pipeline.editing.edit import Edit, normalise
from pipeline.editing.folder import BLOCKS, CLUSTERS, KEYS, MANIFEST, RECORDS
from pipeline.evaluation.gate import GateSettings, judge
from pipeline.evaluation.scores import Scores, summarise
from pipeline.journal import Journal, Night
from pipeline.settings import Task
from schemas.edits import EDITS
from schemas.manifest import BackboneEntry, FileEntry, Manifest
from schemas.reports import CONTRADICTIONS, QUARANTINE
from tests.evaluation.tables import answers as answers_of
from tests.evaluation.tables import reports

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
COUNTS = {"reports": 3, "quarantine": 0, "review": 0, "confirmed": 0, "edits": 3, "duplicates": 0, "contradictions": 0}
DOT = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8ffff3f0005fe02fe"
    "dccc59e70000000049454e44ae426082"
)
"""A PNG of one white pixel."""


@dataclass
class Told:
    """What a night is to have stored.

    Attributes:
        edits: records of its version; ``state`` is live unless they say otherwise.
        answers: rows of schema ANSWERS, as ``tests.evaluation.tables.answers`` takes them.
        keys: where edits lie on a line, by prompt; those that are not named lie a hundred apart.
        source, task: of the night.
        gate: thresholds.
        quarantine, contradictions: rows.
        refused: edits that the model cannot take, by id.
        reported: edits of the night's reports.
    """

    edits: Sequence[dict[str, Any]]
    answers: Sequence[dict[str, Any]] = ()
    keys: dict[str, float] = field(default_factory=dict)
    source: str = "drop/reports.jsonl"
    task: Task = "seq2seq"
    gate: GateSettings = field(default_factory=GateSettings)
    quarantine: Sequence[dict[str, Any]] = ()
    contradictions: Sequence[dict[str, Any]] = ()
    refused: dict[str, str] = field(default_factory=dict)
    reported: Sequence[Edit] = ()


def edit_id(prompt: str, target: str) -> str:
    return Edit(prompt, target).edit_id


def asked(prompt: str, target: str, said: str, base: str = "the old answer", **more: Any) -> dict[str, Any]:
    """An answer to an edit's own prompt, or with ``kind`` to another wording of it (``wording``)."""
    right = float(said == target)
    of = {"kind": "edit", "edit_id": edit_id(prompt, target), "prompt": more.pop("wording", prompt), "expected": target}
    found = {"answer": said, "base_answer": base, "exact_match": right, "base_exact_match": float(base == target)}
    route = {"block": 0, "routed_edit": of["edit_id"], "distance": 0.0, "radius": 1.0, "oracle_exact_match": right}
    return of | found | route | more


def store(journal: Journal, told: Told, base: str | None = None, number: int | None = None) -> Night:
    """A night that ended, or with no ``number`` of its version one that is about to be registered."""
    night = journal.begin(told.source, base)
    digest = write_version(journal.versions, told, night.number)
    table = answers_of(*told.answers)
    pq.write_table(table, night.folder / "answers.parquet")
    pq.write_table(reports(told.reported), night.folder / "edits.parquet")
    refused = [{"time": NOON, "line": 7, "source": told.source, "detail": "{"} | row for row in told.quarantine]
    pq.write_table(pa.Table.from_pylist(refused, QUARANTINE), night.folder / "quarantine.parquet")
    dropped = [{"kept_edit_id": "a", "dropped_edit_id": "b"} | row for row in told.contradictions]
    pq.write_table(pa.Table.from_pylist(dropped, CONTRADICTIONS), night.folder / "contradictions.parquet")
    scores = summarise(table, told.task, size=1000)
    verdict = judge(scores, scores_of(journal, base), told.gate)
    taught = sum(row.get("state", "live") == "live" for row in told.edits)
    steps: dict[str, dict[str, Any]] = {
        "reports": COUNTS,
        "version": {"digest": digest, "refused": told.refused, "taught": taught, "seconds": 2.0},
        "scores": scores.model_dump(mode="json"),
        "gate": verdict.model_dump(mode="json"),
    }
    for name, result in steps.items():
        journal.step(night, name, partial(dict, result))
    for name in ("scores", "scope", "distances", "conflicts"):
        (night.folder / f"{name}.png").write_bytes(DOT)
    if number is not None:
        register(journal, night, number, verdict.passed)
    return night


def register(journal: Journal, night: Night, number: int, promoted: bool) -> None:
    """The steps after the page is made."""
    journal.step(night, "registered", lambda: {"number": number})
    journal.step(night, "promoted", lambda: {"promoted": promoted})
    journal.end(night, "promoted" if promoted else "kept back")


def digest_of(journal: Journal, night: Night) -> str:
    return str(journal.results(night)["version"]["digest"])


def scores_of(journal: Journal, digest: str | None) -> Scores | None:
    found = [journal.results(night) for night in journal.nights()] if digest is not None else []
    scored = [result["scores"] for result in found if result.get("version", {}).get("digest") == digest]
    return Scores.model_validate(scored[-1]) if scored else None


def write_version(versions: Path, told: Told, version: int) -> str:
    """The folder of an edited model whose blocks nobody reads."""
    live = [row for row in told.edits if row.get("state", "live") == "live"]
    clusters = Clusters(1, 1.0)
    places = [told.keys.get(row["prompt"], 100.0 * (1 + place)) for place, row in enumerate(live)]
    ids = [edit_id(row["prompt"], row["target"]) for row in live]
    labels = [normalise(row["target"]) for row in live]
    steps = clusters.fold(ids, labels, torch.tensor(places).reshape(-1, 1), [0] * len(live)) if live else []
    entered = {step.edit_id: {"action": step.action, "cluster": step.cluster, "block": 0} for step in steps}
    empty = {"rephrases": [], "locality": [], "aliases": [], "replaced": [], "reason": "", "steps": 3}
    rows = [
        {"edit_id": (own := edit_id(row["prompt"], row["target"])), "state": "live", "version": version}
        | empty
        | {"learned": row.get("state", "live") == "live"}
        | entered.get(own, {})
        | row
        for row in told.edits
    ]
    backbone = BackboneEntry(reference="backbones/a & b", task=told.task, digest="b" * 64)
    recipe = {"key_layer": "encoder.block.1", "radius": 1.0, "partial_rank": 2}
    held = dict(zip((CLUSTERS, KEYS), clusters.tables(), strict=True)) | {RECORDS: pa.Table.from_pylist(rows, EDITS)}
    written = {name: _parquet(table) for name, table in held.items()} | {BLOCKS: b""}
    files = {
        name: FileEntry(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in written.items()
    }
    manifest = Manifest(
        version=version, next_block=1, key_width=1, backbone=backbone, recipe=recipe, settings={"seed": 0}, files=files
    )
    manifest = manifest.model_copy(update={"digest": manifest.computed_digest()})
    folder = versions / manifest.digest
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in written.items():
        (folder / name).write_bytes(content)
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return manifest.digest


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())
