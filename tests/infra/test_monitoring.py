"""What watches the pipeline: rules and dashboard are what their tools take, and ask for metrics that there are."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.metrics import ACTORS, NIGHTLY, RAY, SERVING, exported

MONITORING = Path(__file__).resolve().parents[2] / "infra" / "monitoring"
GRAFANA = MONITORING / "grafana"

FOREIGN = {"up", "node_textfile_scrape_error", "ray_node_cpu_utilization", "ray_node_mem_used", "ray_node_mem_total"}
"""Metrics of Prometheus, node_exporter and Ray."""
WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right"}
GIVEN = {"job", "instance", "le"}
"""Labels that Prometheus adds."""

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is missing")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "melo.json").read_text())
    return found


def expressions() -> list[str]:
    targets = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    return [*(rule["expr"] for rule in rules()), *targets]


def selectors(expression: str) -> list[tuple[str, set[str]]]:
    """The metrics that an expression asks for, each with the labels that it is asked by."""
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", expression)
    bare = re.sub(r"\[[^]]*\]|\boffset\s+\w+", " ", bare)
    found = []
    for match in re.finditer(
        r'([a-zA-Z_:][\w:]*)\s*(\{(?:[^}"]|"[^"]*")*\})?(\s*\()?', re.sub(r"\b\d[\w.]*", " ", bare)
    ):
        name, labels, call = match.groups()
        if call is None and name not in WORDS:
            found.append((name, set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', labels or ""))))
    return found


@needs_promtool
@pytest.mark.parametrize(
    "arguments", ["check config prometheus.yml", "check rules alerts.yml", "test rules alerts_test.yml"]
)
def test_promtool_takes_it(arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments.split()], cwd=MONITORING, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    tests = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts  # and where it keeps still


def test_the_names_in_an_expression_are_found() -> None:
    found = selectors(
        'sum by (le) (rate(a_bucket{x="b{c", y=~"d"}[5m])) / on (z) group_left (w) e:f > 3 * 1e3 offset 1h'
    )
    assert found == [("a_bucket", {"x", "y"}), ("e:f", set())]


@pytest.mark.parametrize("expression", expressions())
def test_what_is_asked_for_is_what_there_is(expression: str) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    labels = {name: set(metric.labels) for metric in (*SERVING, *NIGHTLY) for name in metric.series()}
    labels |= {RAY + name: set(metric.labels) for metric in ACTORS for name in metric.series()}
    found = selectors(expression)
    assert found
    for name, asked in found:
        assert name in {*exported(), *recorded, *FOREIGN}
        assert asked <= labels.get(name, set()) | GIVEN


def test_grafana_takes_the_dashboard() -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk is not installed")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    told = dashboard()
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(told)))
    assert lacking(told, again) == []


def lacking(told: Any, again: Any, path: str = "") -> list[str]:
    """Where what Grafana's types have kept differs from what was written: a field that they do not know is gone."""
    if isinstance(told, dict) and isinstance(again, dict):
        return [hit for name, inner in told.items() for hit in lacking(inner, again.get(name), f"{path}/{name}")]
    if isinstance(told, list) and isinstance(again, list) and len(told) == len(again):
        return [hit for n, pair in enumerate(zip(told, again, strict=True)) for hit in lacking(*pair, f"{path}/{n}")]
    return [] if told == again or (not told and again is None) else [f"{path}: {told!r} became {again!r}"]


def test_the_dashboard_holds_together() -> None:
    panels = dashboard()["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == ["The night", "Quality of the champion", "Teaching", "Serving", "Cluster"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        across, down = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = set(itertools.product(across, down))
        assert max(across) < 24
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "melo.yml").read_text())["datasources"]
    uses = [panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"]
    assert set(uses) == {source["uid"]}
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "melo.yml").read_text())["providers"]
    assert provider["type"] == "file"


def test_every_metric_is_named_once_and_has_few_labels() -> None:
    names = list(exported())
    assert len(set(names)) == len(names)
    for metric in (*SERVING, *NIGHTLY, *ACTORS):
        assert metric.help
        assert not {"prompt", "edit_id", "digest", "source", "request_id", "path"} & set(metric.labels)
        assert bool(metric.buckets) == (metric.kind == "histogram")
