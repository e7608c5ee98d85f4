"""Triton in a Kubernetes cluster: its objects, as data, and the same objects as a Helm chart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kras_plugins.errors import ConfigError
from kras_plugins.files.atomic import write_atomic
from kras_plugins.serving.orders import ENGINES, ENVIRONMENT, NOT_RUN, Order, command, dumped

NAME = "kras-triton"

CLIENT = {"kras-client": "true"}
"""The label of pods that may speak to the server."""

_USER = 1000

_HEAD = """\
# Needs: a volume claim `kras-models` with the exported repository{tls}.
# Clients carry the label kras-client=true and name every replica, since each is checked and balanced separately:
# -o backend.triton.url=kras-triton-0.kras-triton:8001,kras-triton-1.kras-triton:8001 or dns:///kras-triton:8001.
"""


def objects(
    order: Order, *, image: str | None = None, replicas: Any = 1, gpus: Any = None, shown: str | None = None
) -> list[dict[str, Any]]:
    """A StatefulSet, its headless Service and a NetworkPolicy.

    `image`, `replicas` and `gpus` are the order's where None, else a chart's placeholders; `shown` is the image as the
    server's identity names it. Raises ConfigError for `gpus=-1`: Kubernetes hands out a number of them.
    """
    if order.gpus < 0:
        raise ConfigError("--gpus -1: Kubernetes has no `all`", "give the number of GPUs per pod")
    image = image or order.image
    shown = shown or image.rpartition("/")[2]
    labels = {"app": NAME}
    meta = {"name": NAME, "labels": labels}
    scraped = {"prometheus.io/scrape": "true", "prometheus.io/port": "8002", "prometheus.io/path": "/metrics"}
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 45,
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(order, image, shown, gpus if gpus is not None else order.gpus)],
        "volumes": [
            {"name": "models", "persistentVolumeClaim": {"claimName": "kras-models", "readOnly": True}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": _quantity(order.shm)}},
            *([{"name": "tls", "secret": {"secretName": f"{NAME}-tls", "defaultMode": 0o440}}] if order.tls else []),
        ],
    }
    stateful = {
        "serviceName": NAME,
        "replicas": replicas,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels, "annotations": scraped}, "spec": pod},
        # Each replica's own: nodes may have different GPUs, and an engine is for one kind.
        "volumeClaimTemplates": [
            {
                "metadata": {"name": "engines"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Gi"}}},
            }
        ],
    }
    service = {
        "clusterIP": "None",
        "selector": labels,
        "ports": [{"name": "grpc", "port": 8001}, {"name": "metrics", "port": 8002}],
    }
    # Kubelets reach their own pods whatever a policy says. Nothing goes out: the server makes no requests.
    policy = {
        "podSelector": {"matchLabels": labels},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [{"podSelector": {"matchLabels": CLIENT}}], "ports": [{"port": 8001}]},
            {"from": [{"namespaceSelector": {}}], "ports": [{"port": 8002}]},
        ],
    }
    return [
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": stateful},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service},
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": policy},
    ]


def objects_text(order: Order) -> str:
    """The objects as YAML."""
    return _head(order) + dumped(*objects(order))


def write_chart(order: Order, folder: Path) -> list[Path]:
    """Write the objects as a Helm chart whose values are image, replicas and GPUs; returns its files."""
    values = {"image": order.image, "replicas": 1, "gpus": order.gpus}
    template = dumped(
        *objects(
            order,
            image="{{ .Values.image }}",
            shown="{{ .Values.image | base }}",
            replicas="{{ .Values.replicas }}",
            gpus="{{ .Values.gpus }}" if order.gpus else 0,
        )
    )
    # YAML quotes what begins with a brace; replicas are to be a number.
    template = re.sub(r"'(\{\{ \.Values\.(?:replicas|gpus) \}\})'", r"\1", template)
    files = {
        "Chart.yaml": dumped(
            {"apiVersion": "v2", "name": NAME, "version": "0.1.0", "description": "Triton with kras' exported models"}
        ),
        "values.yaml": NOT_RUN + _head(order) + dumped(values),
        "templates/triton.yaml": template,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / name, text)
    return [folder / name for name in files]


def _head(order: Order) -> str:
    return _HEAD.format(tls=f", a secret `{NAME}-tls` with server.crt, server.key and ca.crt" if order.tls else "")


def _container(order: Order, image: str, shown: str, gpus: Any) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/metrics", "port": "metrics"}}
    resources: dict[str, Any] = {"requests": {"cpu": "4", "memory": "8Gi"}}
    if gpus:
        resources["limits"] = {"nvidia.com/gpu": gpus}
    return {
        "name": "triton",
        "image": image,
        "args": command(order, image=shown, one_host=False),
        "env": [{"name": name, "value": value} for name, value in ENVIRONMENT.items()],
        "ports": [{"name": "grpc", "containerPort": 8001}, {"name": "metrics", "containerPort": 8002}],
        # The metrics port opens when all models are loaded. TensorRT's first start may take half an hour.
        "startupProbe": {**probe, "periodSeconds": 10, "failureThreshold": 180},
        "readinessProbe": {**probe, "periodSeconds": 5},
        "livenessProbe": {**probe, "periodSeconds": 15, "failureThreshold": 4},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": resources,
        "volumeMounts": [
            {"name": "models", "mountPath": "/models", "readOnly": True},
            {"name": "engines", "mountPath": ENGINES},
            {"name": "shm", "mountPath": "/dev/shm"},
            *([{"name": "tls", "mountPath": "/tls", "readOnly": True}] if order.tls else []),
        ],
    }


def _quantity(shm: str) -> str:
    return f"{shm[:-1]}{shm[-1].upper()}i"
