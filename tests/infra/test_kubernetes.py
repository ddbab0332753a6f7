"""The manifests by Kubernetes' own schemas, and by what a careful operator asks of them."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.infra.names import exists, is_secret

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "infra" / "kubernetes"
VERSION = "1.34"
"""Of Kubernetes, whose schemas are asked."""


def documents() -> list[dict[str, Any]]:
    """All resources, and the kustomization's own."""
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    files = [*kustomization["resources"], "secrets.example.yaml"]
    return [each for file in files for each in yaml.safe_load_all((FOLDER / file).read_text())]


def rayjob() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    return found


def templates() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod template, with the name of what makes its pods."""
    for each in documents():
        name, spec = f"{each['kind']} {each['metadata']['name']}", each.get("spec", {})
        if each["kind"] == "CronJob":
            yield name, spec["jobTemplate"]["spec"]["template"]
        elif "template" in spec:
            yield name, spec["template"]
    cluster = rayjob()["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield f"RayJob {group.get('groupName', 'head')}", group["template"]


TEMPLATES = dict(templates())


def only(kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in documents() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


@pytest.mark.parametrize("document", documents(), ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_the_schema_takes_it(document: dict[str, Any]) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name.startswith("RayJob")])
def test_the_schema_takes_the_pods_of_a_night(name: str) -> None:
    import kubernetes_validate

    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node"} | TEMPLATES[name]["metadata"]}
    kubernetes_validate.validate(pod | {"spec": TEMPLATES[name]["spec"]}, VERSION, strict=True)


def test_a_misspelt_field_would_be_seen() -> None:
    import kubernetes_validate

    wrong = only("CronJob", "melo-night")
    wrong["spec"]["concurencyPolicy"] = wrong["spec"].pop("concurrencyPolicy")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_a_night_is_a_rayjob_of_kuberay() -> None:
    schema = json.loads((HERE / "rayjob.schema.json").read_text())
    jsonschema.validate(rayjob(), schema)
    spec = rayjob()["spec"]
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert spec["shutdownAfterJobFinishes"] is True
    pinned = (FOLDER.parents[1] / "constraints.txt").read_text().splitlines()
    assert f"ray=={spec['rayClusterSpec']['rayVersion']}" in pinned
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(rayjob() | {"apiVersion": "ray.io/v1alpha1"}, schema)


def test_nights_do_not_overlap() -> None:
    cron, deadline = only("CronJob", "melo-night")["spec"], rayjob()["spec"]["activeDeadlineSeconds"]
    assert cron["concurrencyPolicy"] == "Forbid"
    assert cron["jobTemplate"]["spec"]["activeDeadlineSeconds"] > deadline  # waits longer than a night may take
    (container,) = cron["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["sh", "/etc/melo/night.sh"]


def test_what_starts_a_night_may_nothing_else() -> None:
    assert only("Role", "melo-night")["rules"] == [
        {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get"]}
    ]
    others = {name for name, pod in TEMPLATES.items() if pod["spec"].get("automountServiceAccountToken") is not False}
    assert others == {"CronJob melo-night"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_pods_have_few_rights_and_bounds(name: str) -> None:
    spec = TEMPLATES[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not any("hostPath" in volume for volume in spec["volumes"])
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= container["resources"].keys()
        assert container["image"].rpartition(":")[2][:1] in "v0123456789"
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        claims = {claim["metadata"]["name"] for claim in claims_of(name)}
        assert mounted == {volume["name"] for volume in spec["volumes"]} | claims


def claims_of(name: str) -> list[dict[str, Any]]:
    kind, _, which = name.partition(" ")
    return only(kind, which)["spec"]["volumeClaimTemplates"] if kind == "StatefulSet" else []


def test_all_of_ours_is_one_image() -> None:
    images = {container["image"] for pod in TEMPLATES.values() for container in pod["spec"]["containers"]}
    assert len([image for image in images if "/melo:" in image]) == 1


def test_every_variable_is_read_by_something_and_secrets_are_references() -> None:
    settings = dict(line.split("=", 1) for line in (FOLDER / "settings.env").read_text().splitlines())
    assert [name for name in settings if not exists(name)] == []
    assert [name for name in settings if is_secret(name)] == []
    keys = only("Secret", "melo-secrets")["stringData"]
    assert set(keys.values()) == {"REPLACE_ME"}
    used = set()
    for pod in TEMPLATES.values():
        for variable in (each for container in pod["spec"]["containers"] for each in container.get("env", ())):
            assert exists(variable["name"]), variable
            if is_secret(variable["name"]):
                reference = variable["valueFrom"]["secretKeyRef"]
                assert reference["name"] == "melo-secrets"
                used.add(reference["key"])
    assert used == keys.keys()


def test_probes_ask_what_the_server_answers() -> None:
    from unittest.mock import Mock

    from pipeline.serving.app import make_app

    (serve,) = TEMPLATES["Deployment melo-serve"]["spec"]["containers"]
    there = set(make_app(Mock()).openapi()["paths"])
    probes = {kind: serve[kind]["httpGet"]["path"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert probes == {"startupProbe": "/health", "readinessProbe": "/ready", "livenessProbe": "/health"}
    assert set(probes.values()) <= there


def test_no_request_is_dropped_while_a_server_is_replaced() -> None:
    serve = only("Deployment", "melo-serve")["spec"]
    assert serve["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert serve["replicas"] > only("PodDisruptionBudget", "melo-serve")["spec"]["minAvailable"]
    pod = serve["template"]["spec"]
    assert pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] < pod["terminationGracePeriodSeconds"]


def test_services_lead_to_pods_and_nothing_is_reached_from_outside() -> None:
    labels = [pod["metadata"]["labels"].items() for pod in TEMPLATES.values()]
    for service in (each for each in documents() if each["kind"] == "Service"):
        assert service["spec"]["type"] == "ClusterIP"
        assert any(service["spec"]["selector"].items() <= found for found in labels)


def test_the_network_is_closed_but_for_what_is_named() -> None:
    policies = [each["spec"] for each in documents() if each["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    ours = {pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in TEMPLATES.values()}
    named = {policy["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/name") for policy in policies}
    assert ours == named - {None}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_builds_it() -> None:
    built = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, timeout=60)
    assert built.returncode == 0, built.stderr
    made = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(built.stdout)}
    assert {each["metadata"].get("namespace") for key, each in made.items() if key[0] != "Namespace"} == {"melo"}
    assert yaml.safe_load(made["ConfigMap", "melo-night"]["data"]["rayjob.yaml"]) == rayjob()
    mounted = {
        volume["configMap"]["name"]
        for pod in TEMPLATES.values()
        for volume in pod["spec"]["volumes"]
        if "configMap" in volume
    }
    assert mounted <= {name for kind, name in made if kind == "ConfigMap"}


KUBECTL = """#!/bin/sh
echo "$@" >> "$STATE/calls"
case "$1" in
    create)
        if [ -e "$STATE/made" ]; then echo 'Error (AlreadyExists): rayjobs "x" already exists' >&2; exit 1; fi
        if [ -e "$STATE/forbidden" ]; then echo 'Error (Forbidden): no' >&2; exit 1; fi
        cp "$3" "$STATE/made"; echo created ;;
    get) head -n 1 "$STATE/answers"; sed -i '$!{1d}' "$STATE/answers" ;;
esac
"""
"""Stands for kubectl: remembers what was made, and tells one state after the other."""


def night(tmp_path: Path, *answers: str) -> subprocess.CompletedProcess[str]:
    """The script of the CronJob with that kubectl."""
    tool = tmp_path / "kubectl"
    tool.write_text(KUBECTL)
    tool.chmod(tool.stat().st_mode | stat.S_IEXEC)
    (tmp_path / "answers").write_text("\n".join(answers) + "\n")
    script = (FOLDER / "night.sh").read_text()
    script = script.replace("/etc/melo/", f"{FOLDER}/").replace("/tmp/rayjob", f"{tmp_path}/rayjob")
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "STATE": str(tmp_path)}
    environment |= {"MELO_DAY": "2026-03-01", "MELO_EVERY": "0"}
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, env=environment)


def test_a_night_is_waited_for_and_its_day_has_one(tmp_path: Path) -> None:
    first = night(tmp_path, "/", "Running/RUNNING", "Complete/SUCCEEDED")
    assert (first.returncode, "SUCCEEDED" in first.stdout) == (0, True), first
    made = yaml.safe_load((tmp_path / "made").read_text())
    assert (made["metadata"]["name"], made["spec"]["jobId"]) == ("melo-2026-03-01", "melo-2026-03-01")
    again = night(tmp_path, "Running/RUNNING", "Complete/SUCCEEDED")
    assert (again.returncode, "is not made again" in again.stdout) == (0, True), again


@pytest.mark.parametrize("end", ["Complete/FAILED", "Failed/", "Complete/STOPPED"])
def test_a_night_that_failed_is_a_cronjob_that_failed(tmp_path: Path, end: str) -> None:
    done = night(tmp_path, "Running/RUNNING", end)
    assert (done.returncode, end in done.stderr) == (1, True), done


def test_a_night_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "forbidden").touch()
    done = night(tmp_path, "/")
    assert (done.returncode, "Forbidden" in done.stderr) == (1, True), done


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (1, 1), (3, 0)])
def test_a_version_that_was_kept_back_is_a_night_that_ended(tmp_path: Path, code: int, ends: int) -> None:
    tool = tmp_path / "melo"
    tool.write_text(f"#!/bin/sh\nexit {code}\n")
    tool.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert subprocess.run(["sh", str(FOLDER / "run.sh")], env=environment, timeout=30).returncode == ends
