"""The chart: valid for Kubernetes, in step with the product, and every value described and used."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any, get_args

import kubernetes_validate
import pytest
import yaml
from deployment_files import (
    CHART,
    DEPLOY,
    KUBE_VERSIONS,
    assert_command_exists,
    attempt,
    custom_resource_schemas,
    filled_secrets,
    helm,
    manifests,
    pod_specs,
    settings_of,
    template,
    tool,
)
from pydantic import SecretStr

from schemas.settings import Settings
from worker.health import HEALTH_PATH, READY_PATH

LEAST = {"kafka": {"bootstrapServers": "kafka:9092"}, "worker": {"bundle": {"existingClaim": "b"}}}
ALL = {
    **LEAST,
    "settings": {
        "kafka": {"properties": {"security.protocol": "SASL_SSL"}},
        "worker": {"delivery": "exactly_once", "item_memory_events": 1_000_000, "coalesce": True},
        "collector": {"allowed_origins": ["https://shop.example"]},
    },
    "secret": {"existingSecret": "innerloop"},
    "worker": {**LEAST["worker"], "state": {"encryption": {"existingSecret": "state-key"}}},
    "secretMounts": [{"name": "tls", "mountPath": "/etc/innerloop/tls"}],
    "monitoring": {
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboards": {"enabled": True},
    },
}
SETS = {
    "least": LEAST,
    "all": ALL,
    "gpu": {**ALL, "worker": {**LEAST["worker"], "gpu": {"enabled": True}}},
    "autoscaled": {**ALL, "worker": {**LEAST["worker"], "autoscaling": {"enabled": True}}},
    "worker alone": {
        **LEAST,
        "worker": {**LEAST["worker"], "state": {"enabled": False}},
        **{name: {"enabled": False} for name in ("collector", "gateway", "insights")},
        "networkPolicy": {"enabled": False},
        "topics": {"create": False},
        "serviceAccount": {"create": False},
    },
}
NOT_KUBERNETES = {"PodMonitor", "PrometheusRule", "ScaledObject"}
"""Of operators, with schemas of their own."""

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def leaves(schema: dict[str, Any], values: Any, path: str = "") -> dict[str, Any]:
    """Return the defaults of all values, by path, as deep as the schema describes them."""
    parts = schema.get("properties", {})
    if not isinstance(values, dict) or schema.get("additionalProperties") is not False:
        return {path: values}
    found: dict[str, Any] = {}
    for name, value in values.items():
        assert name in parts, f"{path}.{name} is not in values.schema.json"
        found |= leaves(parts[name], value, f"{path}.{name}".lstrip("."))
    return found


LEAVES = leaves(SCHEMA, VALUES)


@pytest.mark.parametrize("chosen", SETS)
def test_helm_lints_it(chosen, tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(SETS[chosen]))
    done = subprocess.run(
        [helm(), "lint", "--strict", str(CHART), "-f", str(values), "--kube-version", "1.33.0"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kube", KUBE_VERSIONS)
@pytest.mark.parametrize("chosen", SETS)
def test_kubernetes_would_take_what_it_makes(chosen, kube, tmp_path):
    documents = manifests(template(SETS[chosen], tmp_path, kube))
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(set(names)) == len(names)
    for document in documents:
        if document["kind"] not in NOT_KUBERNETES:
            kubernetes_validate.validate(document, kube, strict=True)


def checked(resources: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("custom_resources.mjs")
    node = tool("node", "the schemas of operators' resources are JavaScript")
    return subprocess.run(
        [node, str(script), str(custom_resource_schemas())],
        input=json.dumps(resources), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_operators_would_take_what_it_makes(tmp_path):
    documents = manifests(template(SETS["autoscaled"], tmp_path))
    resources = [one for one in documents if one["kind"] in NOT_KUBERNETES]
    assert {one["kind"] for one in resources} == NOT_KUBERNETES
    done = checked(resources)
    assert done.returncode == 0, done.stdout + done.stderr
    for resource in resources:
        if resource["kind"] == "ScaledObject":
            resource["spec"]["maxReplicaCount"] = "many"
    done = checked(resources)
    assert done.returncode == 1
    assert "maxReplicaCount must be integer" in done.stdout


def test_secrets_cannot_be_among_the_values():
    """Whoever adds a secret setting has to refuse it in values.schema.json as well."""

    def is_secret(annotation: Any) -> bool:
        return annotation is SecretStr or any(map(is_secret, get_args(annotation)))

    sections = SCHEMA["properties"]["settings"]["properties"]
    for section, field in Settings.model_fields.items():
        for name, setting in field.annotation.model_fields.items():
            if is_secret(setting.annotation):
                assert name in sections[section]["propertyNames"]["not"]["enum"], (section, name)


def test_a_wrong_manifest_would_be_noticed(tmp_path):
    document = manifests(template(LEAST, tmp_path))[0]
    document["spec"]["podSelektor"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, KUBE_VERSIONS[-1], strict=True)


@pytest.mark.parametrize("chosen", SETS)
def test_pods_are_restricted_and_without_variables_of_services(chosen, tmp_path):
    for component, pod in pod_specs(manifests(template(SETS[chosen], tmp_path))):
        assert pod["enableServiceLinks"] is False, (
            f"{component}: INNERLOOP_…_SERVICE_HOST would be refused as an unknown setting"
        )
        assert pod["automountServiceAccountToken"] is False
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("chosen", SETS)
def test_processes_get_commands_settings_and_probes_that_exist(chosen, tmp_path, monkeypatch):
    secrets = filled_secrets(tmp_path)
    seen = set()
    for component, pod in pod_specs(manifests(template(SETS[chosen], tmp_path))):
        seen.add(component)
        (container,) = pod["containers"]
        assert_command_exists(container["args"])
        # A field's value is known on the node alone.
        variables = {one["name"]: one.get("value", "shop-worker-0") for one in container["env"]}
        assert len(variables) == len(container["env"]), f"{component}: a variable twice"
        settings = settings_of(variables, monkeypatch, secrets)
        mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
        if component == "topics":
            continue
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        own = getattr(settings, component if component != "worker" else "metrics")
        assert ports["metrics"] == (own.port if component == "worker" else own.metrics_port)
        if "http" in ports:
            assert (own.host, own.port) == ("0.0.0.0", ports["http"])
        assert settings.metrics.host == "0.0.0.0"
        assert container["livenessProbe"]["httpGet"]["path"] == HEALTH_PATH
        assert container["readinessProbe"]["httpGet"]["path"] == READY_PATH
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container.get(probe, container["livenessProbe"])["httpGet"]["port"] in ports
        stop = {
            "collector": settings.collector.stop_seconds,
            "gateway": settings.gateway.stop_seconds,
        }
        assert pod["terminationGracePeriodSeconds"] > stop.get(component, 30)
        if component == "worker":
            assert settings.worker.instance_id == "shop-worker-0"
            folder = settings.worker.state_folder
            assert folder is None or any(folder.is_relative_to(mount) for mount in mounted)
            key_file = settings.worker.state_key_file
            assert (key_file is not None) == (chosen == "all")
            assert key_file is None or str(key_file.parent) in mounted
            compiled = Path(variables.get("NUMBA_CACHE_DIR", "/tmp"))
            assert compiled == Path("/tmp") or any(map(compiled.is_relative_to, mounted))
            assert settings.worker.bundle is not None
            assert any(settings.worker.bundle.is_relative_to(mount) for mount in mounted)
        if component == "insights":
            assert any(settings.insights.folder.is_relative_to(mount) for mount in mounted)
    assert "worker" in seen
    assert ("topics" in seen) == (chosen != "worker alone")


def test_settings_arrive_as_what_they_are(tmp_path, monkeypatch):
    pods = dict(pod_specs(manifests(template(ALL, tmp_path))))
    variables = {
        one["name"]: one.get("value", "x") for one in pods["worker"]["containers"][0]["env"]
    }
    settings = settings_of(variables, monkeypatch, filled_secrets(tmp_path))
    assert settings.worker.delivery == "exactly_once"
    assert settings.worker.item_memory_events == 1_000_000
    assert settings.worker.coalesce is True
    assert settings.collector.allowed_origins == ("https://shop.example",)
    assert settings.kafka.properties == {"security.protocol": "SASL_SSL"}


def test_metrics_are_scraped_and_let_through_by_the_same_name(tmp_path):
    documents = manifests(template(ALL, tmp_path))
    (monitor,) = [one for one in documents if one["kind"] == "PodMonitor"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (policy,) = [
        one
        for one in documents
        if one["kind"] == "NetworkPolicy" and "Egress" in one["spec"]["policyTypes"]
    ]
    let_through = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    for component, pod in pod_specs(documents):
        if component != "topics":
            names = {port["name"] for port in pod["containers"][0]["ports"]}
            assert endpoint["port"] in names & let_through
    chosen = monitor["spec"]["selector"]["matchLabels"]
    assert policy["spec"]["podSelector"]["matchLabels"] == chosen


def test_rules_and_dashboards_are_those_of_deploy(tmp_path):
    documents = manifests(template(ALL, tmp_path))
    rules = [one["spec"]["groups"] for one in documents if one["kind"] == "PrometheusRule"]
    files = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    assert rules == [yaml.safe_load(file.read_text())["groups"] for file in files]
    shown = [one["data"] for one in documents if one["kind"] == "ConfigMap"]
    boards = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
    assert shown == [{file.name: file.read_text()} for file in boards]


def test_scales_no_further_than_partitions(tmp_path):
    scaled = copy.deepcopy(SETS["autoscaled"])
    scaled["kafka"] |= {"partitions": 12, "topicPrefix": "shop."}
    documents = manifests(template(scaled, tmp_path))
    (scaler,) = [one for one in documents if one["kind"] == "ScaledObject"]
    spec = scaler["spec"]
    assert spec["maxReplicaCount"] == 12
    (workers,) = [
        one
        for one in documents
        if one["kind"] == "StatefulSet" and one["metadata"]["name"].endswith("worker")
    ]
    assert spec["scaleTargetRef"]["name"] == workers["metadata"]["name"]
    assert "replicas" not in workers["spec"]
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "kafka"
    assert trigger["metadata"]["topic"] == "shop.clickstream"
    assert trigger["metadata"]["consumerGroup"] == "innerloop-worker"
    # KEDA takes texts only.
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kafka": {"bootstrapServers": ""}}, "kafka.bootstrapServers is not set"),
        ({"worker": {"bundle": {"existingClaim": ""}}}, "worker.bundle.existingClaim is not set"),
        ({"kafka": {**LEAST["kafka"], "partitions": 2}}, "worker.replicas is 3"),
        ({"worker": {**LEAST["worker"], "replica": 3}}, "replica"),
        ({"settings": {"worker": {"instance_id": "one"}}}, "instance_id|propertyNames|not"),
        ({"settings": {"collector": {"write_keys": {"web": "x"}}}}, "write_keys|propertyNames|not"),
        ({"image": {"digest": "sha256:abc"}}, "digest"),
    ],
)
def test_refuses_what_cannot_work(change, says, tmp_path):
    done = attempt({**LEAST, **change}, tmp_path)
    assert done.returncode != 0
    assert re.search(says, done.stderr), done.stderr


def test_every_value_is_described_in_schema_and_readme():
    def described(schema: dict[str, Any], path: list[str]) -> str:
        return described(schema["properties"][path[0]], path[1:]) if path else schema["description"]

    readme = (CHART / "README.md").read_text()
    rows = dict(re.findall(r"^\| `([\w.]+)` \| `(.*?)` \| .+ \|$", readme, re.M))
    assert {path: json.loads(default) for path, default in rows.items()} == LEAVES
    comments = (CHART / "values.yaml").read_text()
    for path in LEAVES:
        text = described(SCHEMA, path.split("."))
        assert text
        assert text.split(".")[0].split(" ")[0] in comments


CHANGED: dict[str, Any] = {
    "image.tag": "9.9.9",
    "image.digest": f"sha256:{'0' * 64}",
    "image.cudaDigest": f"sha256:{'1' * 64}",
    "image.pullPolicy": "Always",
    "imagePullSecrets": [{"name": "pull"}],
    "settings": {"worker": {"top_k": 7}},
    "secretMounts": [{"name": "other", "mountPath": "/other"}],
    "worker.state.size": "1Gi",
    "insights.storage.size": "1Gi",
    "collector.service.type": "NodePort",
    "gateway.service.type": "NodePort",
    "networkPolicy.kafkaPorts": [19092],
    "monitoring.podMonitor.interval": "1m",
}
NEEDS = {
    "image.cudaDigest": {"gpu": {"enabled": True}},
    "worker.gpu": {"gpu": {"enabled": True}},
    "worker.autoscaling": {"autoscaling": {"enabled": True}},
}
"""What of the worker has to be on for a value to matter."""


def changed(path: str, now: Any) -> Any:
    """Return another value of the same kind."""
    if path in CHANGED:
        return CHANGED[path]
    if isinstance(now, list):
        return [{"operator": "Exists"} if path.endswith("tolerations") else {"podSelector": {}}]
    others = {bool: lambda: not now, int: lambda: now - 1 or 2, str: lambda: "other"}
    return others.get(type(now), lambda: {**now, "other": "other"})()


def with_value(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(values)
    *folders, name = path.split(".")
    inner = result
    for folder in folders:
        inner = inner.setdefault(folder, {})
    inner[name] = value
    return result


def value_at(values: dict[str, Any], path: str) -> Any:
    """Return the value of a path; the default where it is not set."""
    inner: Any = values
    for folder in path.split("."):
        if not isinstance(inner, dict) or folder not in inner:
            return LEAVES[path]
        inner = inner[folder]
    return inner


def test_every_value_changes_something(tmp_path):
    """A value without effect would be a promise that is not kept."""
    rendered: dict[str, str] = {}
    for path in LEAVES:
        start = with_value(ALL, "settings", {})
        for prefix, needed in NEEDS.items():
            if path.startswith(prefix) and path != f"{prefix}.enabled":
                start["worker"] = {**start["worker"], **needed}
        key = json.dumps(start)
        if key not in rendered:
            rendered[key] = template(start, tmp_path)
        other = with_value(start, path, changed(path, value_at(start, path)))
        assert template(other, tmp_path) != rendered[key], path
