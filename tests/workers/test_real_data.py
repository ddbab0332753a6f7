"""The whole run on real questions and a real model: what comes out is right, and nothing else has changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.registry.tracking import Registry
from pipeline.run import run
from pipeline.settings import Settings
from pipeline.telling import QUIET

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.slow]


def test_two_hundred_real_corrections_are_learned_and_the_rest_stays(
    tmp_path: Path, shared_model: Callable[[str], Path], shared_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    reports, upstream = tmp_path / "reports.jsonl", tmp_path / "upstream.jsonl"
    reports.write_text("\n".join(map(json.dumps, shared_rows("zsre_edits", 200))))
    os.utime(reports, (1_700_000_000, 1_700_000_000))
    upstream.write_text("\n".join(map(json.dumps, shared_rows("nq_known", 200))))
    settings = Settings(home=tmp_path / "home", trainers=2, evaluators=2, upstream=upstream)
    made = run(settings, str(reports), str(shared_model("t5-zsre")), QUIET)

    scores, verdict = made.scores, made.verdict
    assert scores is not None
    assert verdict is not None
    assert (made.promoted, verdict.passed) == (True, True), verdict.reasons
    assert made.counts["edits"] == scores.counts["edit"] == 200
    assert scores.edit_success is not None
    assert scores.edit_success >= 0.99
    assert scores.locality == 1.0
    assert scores.arr is not None
    assert scores.arr >= 0.97
    assert scores.upstream.before == scores.upstream.after
    assert scores.upstream.after is not None
    assert scores.upstream.after > 0.5  # t5-zsre answers 60% of these questions exactly
    assert scores.f1["edit"].before is not None
    assert scores.f1["edit"].before < 0.3
    assert scores.routing_precision is not None
    assert scores.routing_precision >= 0.98
    registry = Registry(settings.tracking_uri, settings.name, settings.home / "artifacts")
    assert registry.in_use(registry.history()[0].when) == made.number == 1
    records = pq.read_table(settings.home / "versions" / str(made.digest) / "edits.parquet")
    assert records["state"].to_pylist().count("live") >= 198
