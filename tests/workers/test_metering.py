"""What actors tell: metrics at their nodes' ports, and lines with the night and their name."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families

from pipeline.logs import NIGHT_LOG, about, night_log
from schemas.reports import REPORTS
from tests.workers.nights import FACTS, write
from workers.actor import Actor
from workers.ingestion import IngestionWorker
from workers.spread import Crew

pytestmark = pytest.mark.usefixtures("cluster")


class MortalWorker(Actor):
    """Dies once."""

    def work(self, marker: Path) -> int:
        if not marker.exists():
            marker.touch()
            os._exit(1)
        return 42


def told_at_nodes() -> dict[str, float]:
    """Samples of our metrics at all nodes, summed over actors, by name and the values of our labels."""
    found: defaultdict[str, float] = defaultdict(float)
    for node in ray.nodes():
        with urllib.request.urlopen(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics", timeout=10) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        for sample in (sample for family in families for sample in family.samples):
            if sample.name.startswith("ray_melo_"):
                own = [sample.labels[label] for label in ("actor", "became", "reason") if label in sample.labels]
                found[" ".join([sample.name, *own])] += sample.value
    return dict(found)


def more(before: Mapping[str, float], wanted: Mapping[str, float]) -> dict[str, float]:
    """How much was added, once it is what is wanted, or after a minute; Ray's agents hear of it after a while."""
    deadline = time.monotonic() + 60
    while True:
        now = told_at_nodes()
        added = {name: now.get(name, 0) - before.get(name, 0) for name in wanted}
        if added == wanted or time.monotonic() > deadline:
            return added
        time.sleep(0.5)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_actor_counts_what_it_does_and_logs_who_it_is(tmp_path: Path) -> None:
    source = write(tmp_path / "reports.jsonl", FACTS, '{"prompt": "broken', json.dumps({"prompt": "no target"}))
    before = told_at_nodes()
    with night_log(tmp_path), about(night=12), Crew(IngestionWorker, lambda place: (), log="json") as crew:
        nothing = pa.RecordBatch.from_pylist([], schema=REPORTS)
        crew.call("ingest", str(source), {}, frozenset(), nothing, tmp_path)
    wanted = {
        "ray_melo_ingestion_reports_total": len(FACTS) + 2,
        "ray_melo_ingestion_became_total edits": len(FACTS),
        "ray_melo_ingestion_became_total quarantine": 2,
        "ray_melo_ingestion_quarantined_total row": 2,
        "ray_melo_actors_started_total ingestion": 1,
        "ray_melo_actors_replaced_total ingestion": 0,
    }
    assert more(before, wanted) == wanted
    begins, read = lines(tmp_path / "log-ingestion-0.jsonl")
    assert (begins["event"], read["event"], read["reports"]) == ("actor begins", "read", len(FACTS) + 2)
    assert {(line["night"], line["actor"]) for line in (begins, read)} == {(12, "ingestion-0")}


def test_an_actor_that_dies_is_counted_and_told(tmp_path: Path) -> None:
    before = told_at_nodes()
    with night_log(tmp_path), about(night=13), Crew(MortalWorker, lambda place: ()) as crew:
        assert crew.call("work", tmp_path / "marker") == 42
    wanted = {
        "ray_melo_actors_started_total mortal": 2,
        "ray_melo_actors_replaced_total mortal": 1,
        "ray_melo_actor_calls_retried_total mortal": 1,
    }
    assert more(before, wanted) == wanted
    (replaced,) = [line for line in lines(tmp_path / NIGHT_LOG) if line["event"] == "actor replaced"]
    assert (replaced["level"], replaced["actor"], replaced["night"]) == ("warning", "mortal-0", 13)
    assert [line["event"] for line in lines(tmp_path / "log-mortal-0.jsonl")] == ["actor begins", "actor begins"]
