"""What starts NVIDIA's container: complete, closed by default, and read by the parsers it is meant for."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from kras_plugins.host.telemetry import OPT_OUTS
from kras_plugins.serving.orders import Order, order_text

MODELS = Path("/srv/models")


def test_docker_runs_the_same_repository_read_only_on_the_gpus_asked_for() -> None:
    words = shlex.split(order_text("docker", Order(repository=MODELS, gpus=2)), comments=True)
    assert words[:2] == ["docker", "run"]
    assert words[words.index("--gpus") + 1] == "2"
    assert words[words.index("--ipc") + 1] == "host"
    assert f"{MODELS}:/models:ro" in words
    assert "--model-repository=/models" in words
    published = [words[i + 1] for i, w in enumerate(words) if w == "--publish"]
    assert {p.split(":")[0] for p in published} == {"127.0.0.1"}
    assert "--gpus" not in order_text("docker", Order(repository=MODELS, gpus=0))


@pytest.mark.parametrize("gpus", [0, 1])
@pytest.mark.parametrize("tls", [None, Path("/srv/tls")])
def test_the_compose_file_is_yaml_with_health_and_gpus(gpus: int, tls: Path | None) -> None:
    (service,) = yaml.safe_load(order_text("compose", Order(repository=MODELS, gpus=gpus, tls=tls)))[
        "services"
    ].values()
    assert service["healthcheck"]["test"][-1].endswith("/v2/health/ready")
    assert f"{MODELS}:/models:ro" in service["volumes"]
    assert ("deploy" in service) == bool(gpus)
    assert ("--grpc-use-ssl-mutual=true" in service["command"]) == bool(tls)
    assert (f"{tls}:/tls:ro" in service["volumes"]) == bool(tls)


@pytest.mark.parametrize("tls", [None, Path("/srv/tls")])
def test_kubernetes_objects_have_probes_metrics_gpus_and_shared_memory(tls: Path | None) -> None:
    deployment, service = yaml.safe_load_all(
        order_text("kubernetes", Order(repository=MODELS, gpus=4, shm="2g", tls=tls))
    )
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 4}
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == "8002"
    shm = next(v for v in pod["spec"]["volumes"] if v["name"] == "shm")
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}
    mounts = {m["name"] for m in container["volumeMounts"]}
    assert mounts == {v["name"] for v in pod["spec"]["volumes"]}
    assert ("tls" in mounts) == bool(tls)
    assert {p["name"] for p in service["spec"]["ports"]} == {"grpc", "metrics"}  # HTTP goes round TLS
    assert service["spec"]["selector"] == pod["metadata"]["labels"]


def test_a_container_reports_nothing_to_the_makers_of_its_libraries() -> None:
    order = Order(repository=MODELS)
    words = shlex.split(order_text("docker", order), comments=True)
    assert {words[i + 1] for i, w in enumerate(words) if w == "--env"} == {f"{k}={v}" for k, v in OPT_OUTS.items()}
    (service,) = yaml.safe_load(order_text("compose", order))["services"].values()
    assert service["environment"] == OPT_OUTS
    deployment, _ = yaml.safe_load_all(order_text("kubernetes", order))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {v["name"]: v["value"] for v in container["env"]} == OPT_OUTS


def test_each_says_that_it_was_not_run_here() -> None:
    for kind in ("docker", "compose", "kubernetes"):
        assert "Not run" in order_text(kind, Order(repository=MODELS)).splitlines()[0]  # type: ignore[arg-type]
