"""Asking a version its questions: slices go to whichever evaluator is free, and every answered slice is kept."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.editing.folder import read_manifest
from pipeline.evaluation import Scores, summarise
from pipeline.journal import write_atomically
from pipeline.settings import Settings
from pipeline.telling import Advance, Track
from schemas.answers import ANSWERS
from workers.evaluator import EvaluatorWorker
from workers.models import ModelSpec
from workers.spread import Crew, crew_of

AT_ONCE = 256
"""Questions that one call of an evaluator gets."""


def score(settings: Settings, spec: ModelSpec, asked: pa.Table, folder: Path, track: Track) -> Scores:
    """Asks a saved version questions.

    Args:
        settings: how many evaluators, and on what.
        spec: names the version.
        asked: schema QUESTIONS.
        folder: gets ``answers.parquet``: schema ANSWERS.
        track: of a ``Teller``.
    """
    assert spec.version is not None
    version, count, gpus = Path(spec.version), settings.evaluators, settings.evaluator_gpus
    with (
        track(f"asking {asked.num_rows:,} questions", asked.num_rows) as advance,
        crew_of(settings, EvaluatorWorker, lambda place: (spec, 1), count, gpus) as crew,
    ):
        answers = answer(crew, asked, folder, advance)
    size = sum(file.stat().st_size for file in version.iterdir())
    return summarise(pq.read_table(answers), read_manifest(version).backbone.task, size)


def answer(crew: Crew, asked: pa.Table, folder: Path, advance: Advance) -> Path:
    """Has questions answered.

    Args:
        crew: of ``EvaluatorWorker``s.
        asked: schema QUESTIONS.
        folder: gets ``answers.parquet``. What was answered before a crash is found there.
        advance: told how many questions are answered.

    Returns:
        The file of the answers: schema ANSWERS, in the order of the questions.
    """
    parts = folder / "answers"
    parts.mkdir(parents=True, exist_ok=True)
    slices = [asked.slice(start, AT_ONCE) for start in range(0, asked.num_rows, AT_ONCE)]
    files = [parts / f"{_digest(part)}.parquet" for part in slices]
    missing = [number for number, file in enumerate(files) if not file.is_file()]
    advance(asked.num_rows - sum(slices[number].num_rows for number in missing))
    for call, table in crew.share("ask", [(slices[number],) for number in missing]):
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        write_atomically(files[missing[call]], buffer.getvalue())
        advance(table.num_rows)
    whole = folder / "answers.parquet"
    with pq.ParquetWriter(whole, ANSWERS) as writer:
        for file in files:
            writer.write_table(pq.read_table(file, schema=ANSWERS))
    shutil.rmtree(parts)
    return whole


def _digest(questions: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, questions.schema) as writer:
        writer.write_table(questions)
    return hashlib.sha256(sink.getvalue()).hexdigest()
