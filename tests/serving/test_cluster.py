"""Kubernetes objects and the Helm chart of the same: valid by Kubernetes' own schemas, closed, equal to each other."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own imports
    import kubernetes_validate

from kras_plugins.errors import ConfigError
from kras_plugins.serving.cluster import objects, write_chart
from kras_plugins.serving.orders import ENVIRONMENT, Order, order_text

MODELS = Path("/srv/models")
TLS = Path("/srv/tls")


def printed(**wanted: Any) -> dict[str, Any]:
    text = order_text("kubernetes", Order(repository=MODELS, **wanted))
    return {found["kind"]: found for found in yaml.safe_load_all(text)}


def container_of(found: dict[str, Any]) -> dict[str, Any]:
    (only,) = found["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    return dict(only)


def rendered(folder: Path, **changes: Any) -> list[Any]:
    """What `helm template` makes of a chart that uses values and the function `base` alone."""
    values = {**yaml.safe_load((folder / "values.yaml").read_text()), **changes}

    def value(match: re.Match[str]) -> str:
        found = str(values[match[1]])
        return found.rpartition("/")[2] if match[2] else found

    text = re.sub(r"\{\{ \.Values\.(\w+)( \| base)? \}\}", value, (folder / "templates" / "triton.yaml").read_text())
    assert "{{" not in text
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("tls", [None, TLS])
@pytest.mark.parametrize("gpus", [0, 4])
def test_kubernetes_own_schemas_take_the_objects(gpus: int, tls: Path | None) -> None:
    found = printed(gpus=gpus, tls=tls)
    assert set(found) == {"StatefulSet", "Service", "NetworkPolicy"}
    for one in found.values():
        kubernetes_validate.validate(one, "1.30", strict=True)


def test_the_schemas_refuse_a_wrong_object() -> None:
    wrong = printed()["StatefulSet"]
    wrong["spec"]["replicas"] = "one"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.30", strict=True)


def test_a_pod_has_few_rights_and_time_to_end() -> None:
    found = printed()
    pod = found["StatefulSet"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    rights = container_of(found)["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    (ends,) = [a for a in container_of(found)["args"] if a.startswith("--exit-timeout-secs=")]
    assert int(ends.partition("=")[2]) < pod["terminationGracePeriodSeconds"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]


def test_other_pods_reach_grpc_with_a_label_and_metrics_and_nothing_else() -> None:
    found = printed()
    policy = found["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"] == found["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    ports = {rule["ports"][0]["port"]: rule["from"] for rule in policy["ingress"]}
    assert set(ports) == {8001, 8002}
    assert ports[8001] == [{"podSelector": {"matchLabels": {"kras-client": "true"}}}]
    assert "Egress" in policy["policyTypes"]
    assert "egress" not in policy, "nothing goes out"
    assert "--allow-http=false" in container_of(found)["args"]
    assert {p["containerPort"] for p in container_of(found)["ports"]} == {8001, 8002}


@pytest.mark.parametrize("tls", [None, TLS])
def test_objects_have_probes_metrics_gpus_volumes_and_variables(tls: Path | None) -> None:
    found = printed(gpus=4, shm="2g", tls=tls)
    only, spec = container_of(found), found["StatefulSet"]["spec"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(only)
    ports = {p["name"] for p in only["ports"]}
    assert only["readinessProbe"]["httpGet"] == {"path": "/metrics", "port": "metrics"}
    assert "metrics" in ports, "the port that the probes name"
    assert only["resources"]["limits"] == {"nvidia.com/gpu": 4}
    assert "limits" not in container_of(printed(gpus=0))["resources"]
    assert spec["template"]["metadata"]["annotations"]["prometheus.io/port"] == "8002"
    volumes = {v["name"]: v for v in spec["template"]["spec"]["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}
    claims = {c["metadata"]["name"] for c in spec["volumeClaimTemplates"]}
    mounts = {m["name"]: m["mountPath"] for m in only["volumeMounts"]}
    assert set(mounts) == set(volumes) | claims
    assert mounts["engines"] == "/tmp"
    assert ("tls" in mounts) == bool(tls)
    assert {v["name"]: v["value"] for v in only["env"]} == ENVIRONMENT


def test_each_replica_has_a_name_of_its_own() -> None:
    found = printed()
    assert found["StatefulSet"]["spec"]["serviceName"] == found["Service"]["metadata"]["name"]
    assert found["Service"]["spec"]["clusterIP"] == "None"
    assert {p["name"] for p in found["Service"]["spec"]["ports"]} == {"grpc", "metrics"}


def test_all_gpus_are_no_number_for_kubernetes() -> None:
    with pytest.raises(ConfigError, match="no `all`"):
        order_text("kubernetes", Order(repository=MODELS, gpus=-1))


@pytest.mark.parametrize("tls", [None, TLS])
@pytest.mark.parametrize("gpus", [0, 2])
def test_a_chart_with_its_own_values_is_the_printed_objects(tmp_path: Path, gpus: int, tls: Path | None) -> None:
    order = Order(repository=MODELS, gpus=gpus, tls=tls)
    write_chart(order, tmp_path)
    assert rendered(tmp_path) == objects(order)
    chart = yaml.safe_load((tmp_path / "Chart.yaml").read_text())
    assert (chart["apiVersion"], chart["name"]) == ("v2", "kras-triton")


def test_a_charts_values_are_image_replicas_and_gpus(tmp_path: Path) -> None:
    write_chart(Order(repository=MODELS), tmp_path)
    found = rendered(tmp_path, image="mirror.example.org/a/triton:9", replicas=3, gpus=2)
    for one in found:
        kubernetes_validate.validate(one, "1.30", strict=True)
    (only,) = found[0]["spec"]["template"]["spec"]["containers"]
    assert found[0]["spec"]["replicas"] == 3
    assert only["image"] == "mirror.example.org/a/triton:9"
    assert only["resources"]["limits"] == {"nvidia.com/gpu": 2}
    assert '/triton:9"' in only["args"][2], "the identity names the image that runs"
