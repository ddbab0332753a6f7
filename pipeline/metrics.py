"""Every metric of the project: its name, what it means, its unit and its labels.

Three places write them. ``melo serve`` answers ``GET /metrics``. A night is a job that ends, so it leaves a file for
node_exporter's textfile collector. Actors tell Ray, which puts ``ray_`` before their names and exports them on each
node; an actor's series last as long as its node and begin anew with its successor, so sum over ``WorkerId``. None of
them is a histogram: Ray adds up the middles of buckets in place of what was observed.

Labels have few values, fixed in the code: no prompt, no id, no name that a stranger chose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

RAY = "ray_"
"""Begins what Ray exports."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PROMPTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: without what its kind adds; ends with its unit, if it has one.
        kind: as Prometheus calls it.
        help: what it is.
        labels: names.
        buckets: upper bounds of a histogram, in its unit.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def series(self) -> tuple[str, ...]:
        """The names under which Prometheus finds it."""
        endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
        return tuple(self.name + ending for ending in endings[self.kind])


# -- melo serve --------------------------------------------------------------------------------------------------------

REQUESTS = Metric("melo_serve_requests", "counter", "Requests for answers, by HTTP status", ("status",))
PROMPTS = Metric("melo_serve_prompts", "counter", "Prompts answered, by who spoke: edit or backbone", ("spoke",))
LATENCY = Metric(
    "melo_serve_request_seconds",
    "histogram",
    "From a request's first byte to its answer's last, by form: whole or stream",
    ("form",),
    _SECONDS,
)
BATCH = Metric("melo_serve_batch_prompts", "histogram", "Prompts answered side by side", buckets=_PROMPTS)
QUEUE = Metric("melo_serve_queue_requests", "gauge", "Requests that wait for their turn")
STREAMS_OPEN = Metric("melo_serve_streams", "gauge", "Streams that are open or wait for a thread")
READY = Metric("melo_serve_ready", "gauge", "1 when a version is served")
VERSION = Metric("melo_serve_version", "gauge", "Number of the version that is served")
CHAMPION_SEEN = Metric("melo_serve_champion", "gauge", "Number of the champion at the last look at the registry")
EDITS_SERVED = Metric("melo_serve_edits", "gauge", "Live edits of the version that is served")
SWAPS = Metric("melo_serve_swaps", "counter", "Champions taken in, the first one included")
TAKE_INS_FAILED = Metric("melo_serve_take_ins_failed", "counter", "Looks at the registry or take-ins that failed")

SERVING = (
    REQUESTS,
    PROMPTS,
    LATENCY,
    BATCH,
    QUEUE,
    STREAMS_OPEN,
    READY,
    VERSION,
    CHAMPION_SEEN,
    EDITS_SERVED,
    SWAPS,
    TAKE_INS_FAILED,
)
"""Of ``melo serve``."""

# -- the nightly run ---------------------------------------------------------------------------------------------------

NIGHT = Metric("melo_night_number", "gauge", "Number of the last night")
OUTCOME = Metric("melo_night_outcome", "gauge", "1 at how the last night ended, 0 at the others", ("outcome",))
BEGUN = Metric("melo_night_begun_timestamp_seconds", "gauge", "When the last night began, Unix time")
ENDED = Metric("melo_night_ended_timestamp_seconds", "gauge", "When it ended or stopped, Unix time")
LAST_SUCCESS = Metric(
    "melo_night_last_success_timestamp_seconds",
    "gauge",
    "When a night last did its work, Unix time: promoted, kept back, or nothing new",
)
STEP = Metric("melo_night_step_seconds", "gauge", "Seconds of each step of the last night", ("step",))
REPORTS_READ = Metric("melo_night_reports", "gauge", "Reports that the last night read")
BECAME = Metric("melo_night_reports_became", "gauge", "What became of reports in the last night", ("became",))
QUARANTINED = Metric("melo_night_quarantined", "gauge", "Rows in quarantine of the last night, by reason", ("reason",))
TAUGHT = Metric("melo_night_edits_taught", "gauge", "Edits that the last night taught")
REFUSED = Metric("melo_night_edits_refused", "gauge", "Edits of the last night that the model cannot take")
TEACHING = Metric("melo_night_teaching_seconds", "gauge", "Seconds of teaching in the last night")
GATE_PASSED = Metric("melo_night_gate_passed", "gauge", "1 when the last version that was judged passed the gate")
KEPT_BACK = Metric("melo_night_kept_back_in_a_row", "gauge", "Versions kept back since the last promotion")
SCORE = Metric(
    "melo_score", "gauge", "Scores of the last version judged (candidate) and promoted (champion)", ("of", "score")
)
CHECK = Metric("melo_gate_check", "gauge", "What the gate measured of the last version judged", ("check",))
THRESHOLD = Metric("melo_gate_threshold", "gauge", "What it asks for", ("check",))
CHAMPION = Metric("melo_champion_version", "gauge", "Number of the champion when the last night ended")
KNOWN = Metric("melo_champion_edits", "gauge", "Edits that it is to know")
REVIEW = Metric("melo_review_waiting", "gauge", "Complaints that wait for a reviewer")
REVIEW_OLDEST = Metric("melo_review_oldest_timestamp_seconds", "gauge", "When the oldest of them was rated, Unix time")

NIGHTLY = (
    NIGHT,
    OUTCOME,
    BEGUN,
    ENDED,
    LAST_SUCCESS,
    STEP,
    REPORTS_READ,
    BECAME,
    QUARANTINED,
    TAUGHT,
    REFUSED,
    TEACHING,
    GATE_PASSED,
    KEPT_BACK,
    SCORE,
    CHECK,
    THRESHOLD,
    CHAMPION,
    KNOWN,
    REVIEW,
    REVIEW_OLDEST,
)
"""Of the file that a night leaves."""

OUTCOMES = ("promoted", "kept back", "nothing new", "failed", "stopped")
"""How a night ends; one that stopped goes on when it is started again."""

# -- actors ------------------------------------------------------------------------------------------------------------

READ = Metric("melo_ingestion_reports", "counter", "Reports read")
SORTED = Metric("melo_ingestion_became", "counter", "What became of reports", ("became",))
REJECTED = Metric("melo_ingestion_quarantined", "counter", "Rows put into quarantine, by reason", ("reason",))
INGESTING = Metric("melo_ingestion_seconds", "counter", "Seconds of reading and admitting")
PLANNED = Metric("melo_trainer_edits_planned", "counter", "Edits that the lead trainer gave a key and a block")
UNFIT = Metric("melo_trainer_edits_refused", "counter", "Edits that the model cannot take")
LEARNED = Metric("melo_trainer_edits_learned", "counter", "Edits learned in a round of training")
NOT_LEARNED = Metric("melo_trainer_edits_not_learned", "counter", "Edits that a round left unlearned; most are retried")
BLOCKS = Metric("melo_trainer_blocks", "counter", "Blocks trained, those tried again included")
STEPS = Metric("melo_trainer_steps", "counter", "Optimiser steps")
UNITS = Metric("melo_trainer_units", "counter", "Units of work trained")
TRAINING = Metric("melo_trainer_seconds", "counter", "Seconds of training them")
INDEXING = Metric("melo_trainer_index_operations", "counter", "Calls that change the index", ("operation",))
COMMITTING = Metric("melo_trainer_commit_seconds", "counter", "Seconds of taking planned edits into the version")
QUESTIONS = Metric("melo_evaluator_questions", "counter", "Questions asked of a version and of its backbone")
SLICES = Metric("melo_evaluator_slices", "counter", "Slices of questions answered")
ASKING = Metric("melo_evaluator_seconds", "counter", "Seconds of answering them")
STARTED = Metric("melo_actors_started", "counter", "Actors started", ("actor",))
REPLACED = Metric("melo_actors_replaced", "counter", "Actors that died and were replaced", ("actor",))
RETRIED = Metric("melo_actor_calls_retried", "counter", "Calls given to another actor, as theirs died", ("actor",))

ACTORS = (
    READ,
    SORTED,
    REJECTED,
    INGESTING,
    PLANNED,
    UNFIT,
    LEARNED,
    NOT_LEARNED,
    BLOCKS,
    STEPS,
    UNITS,
    TRAINING,
    INDEXING,
    COMMITTING,
    QUESTIONS,
    SLICES,
    ASKING,
    STARTED,
    REPLACED,
    RETRIED,
)
"""Of Ray actors and of the run that leads them, without what Ray puts before their names."""


def exported() -> Iterator[str]:
    """Every name that Prometheus finds when it scrapes all of the project."""
    for metric in (*SERVING, *NIGHTLY):
        yield from metric.series()
    for metric in ACTORS:
        yield from (RAY + name for name in metric.series())
