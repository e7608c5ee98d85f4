"""What starts NVIDIA's Triton container on an exported repository, as text. Never run on this project's machines."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kras_plugins.host.telemetry import OPT_OUTS
from kras_plugins.models.repository import CONTAINER

Kind = Literal["docker", "compose", "kubernetes"]

_NOT_RUN = "# Not run on kras' own machines, which have neither a GPU nor containers: check it on yours.\n"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is wanted of a container: the repository, GPUs (0 for none), a pod's shared memory, a folder of TLS files.

    `tls`: a folder with `server.crt`, `server.key` and `ca.crt`; clients must then show a certificate of that CA.
    """

    repository: Path
    gpus: int = 1
    shm: str = "1g"
    image: str = CONTAINER
    tls: Path | None = None


def order_text(kind: Kind, order: Order) -> str:
    """A command, a compose file or Kubernetes objects."""
    return _NOT_RUN + {"docker": _docker, "compose": _compose, "kubernetes": _kubernetes}[kind](order)


def _arguments(order: Order) -> list[str]:
    arguments = ["tritonserver", "--model-repository=/models", "--strict-readiness=true", "--exit-timeout-secs=30"]
    if order.tls is not None:
        arguments += [
            "--grpc-use-ssl=true",
            "--grpc-use-ssl-mutual=true",
            "--grpc-server-cert=/tls/server.crt",
            "--grpc-server-key=/tls/server.key",
            "--grpc-root-cert=/tls/ca.crt",
        ]
    return arguments


def _docker(order: Order) -> str:
    # Only gRPC leaves this host by default; health and metrics stay on loopback.
    words = [
        "docker run --rm --name kras-triton",
        *([f"--gpus {'all' if order.gpus < 0 else order.gpus}"] if order.gpus else []),
        # The host's /dev/shm: clients on this host then hand tiles over in shared memory.
        "--ipc host",
        "--publish 127.0.0.1:8001:8001 --publish 127.0.0.1:8000:8000 --publish 127.0.0.1:8002:8002",
        "--read-only --tmpfs /tmp:exec --cap-drop ALL --security-opt no-new-privileges",
        *(f"--env {name}={value}" for name, value in OPT_OUTS.items()),
        f"--volume {order.repository.resolve()}:/models:ro",
        *([f"--volume {order.tls.resolve()}:/tls:ro"] if order.tls else []),
        order.image,
        *_arguments(order),
    ]
    return " \\\n  ".join(words) + "\n"


def _compose(order: Order) -> str:
    gpus = f"""
        deploy:
          resources:
            reservations:
              devices: [{{driver: nvidia, count: {order.gpus}, capabilities: [gpu]}}]"""
    tls = f"\n          - {order.tls.resolve()}:/tls:ro" if order.tls else ""
    return textwrap.dedent(f"""\
    services:
      triton:
        image: {order.image}
        command: {_listed(_arguments(order))}
        ipc: host
        environment: {json.dumps(OPT_OUTS)}
        read_only: true
        tmpfs: ["/tmp:exec"]
        cap_drop: [ALL]
        security_opt: ["no-new-privileges:true"]
        restart: unless-stopped
        ports: ["127.0.0.1:8001:8001", "127.0.0.1:8000:8000", "127.0.0.1:8002:8002"]
        volumes:
          - {order.repository.resolve()}:/models:ro{tls}
        healthcheck:
          test: ["CMD", "curl", "--fail", "--silent", "localhost:8000/v2/health/ready"]
          interval: 10s
          start_period: 600s{gpus if order.gpus else ""}
    """)


def _kubernetes(order: Order) -> str:
    gpus = f"\n                limits: {{nvidia.com/gpu: {order.gpus}}}" if order.gpus else ""
    mount = "\n                - {name: tls, mountPath: /tls, readOnly: true}" if order.tls else ""
    volume = "\n            - {name: tls, secret: {secretName: kras-triton-tls}}" if order.tls else ""
    shm = f"{order.shm[:-1]}{order.shm[-1].upper()}i"
    return textwrap.dedent(f"""\
    apiVersion: apps/v1
    kind: Deployment
    metadata: {{name: kras-triton, labels: {{app: kras-triton}}}}
    spec:
      replicas: 1
      selector: {{matchLabels: {{app: kras-triton}}}}
      template:
        metadata:
          labels: {{app: kras-triton}}
          annotations: {{prometheus.io/scrape: "true", prometheus.io/port: "8002", prometheus.io/path: /metrics}}
        spec:
          containers:
            - name: triton
              image: {order.image}
              args: {_listed(_arguments(order))}
              env: {json.dumps([{"name": name, "value": value} for name, value in OPT_OUTS.items()])}
              ports:
                - {{name: grpc, containerPort: 8001}}
                - {{name: http, containerPort: 8000}}
                - {{name: metrics, containerPort: 8002}}
              # TensorRT builds its engines at the first start: allow ten minutes before liveness counts.
              startupProbe: {{httpGet: {{path: /v2/health/ready, port: http}}, periodSeconds: 10, failureThreshold: 60}}
              readinessProbe: {{httpGet: {{path: /v2/health/ready, port: http}}, periodSeconds: 5}}
              livenessProbe: {{httpGet: {{path: /v2/health/live, port: http}}, periodSeconds: 15, failureThreshold: 4}}
              securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
              resources:
                requests: {{cpu: "4", memory: 8Gi}}{gpus}
              volumeMounts:
                - {{name: models, mountPath: /models, readOnly: true}}
                - {{name: shm, mountPath: /dev/shm}}{mount}
          volumes:
            - {{name: models, persistentVolumeClaim: {{claimName: kras-models, readOnly: true}}}}
            - {{name: shm, emptyDir: {{medium: Memory, sizeLimit: {shm}}}}}{volume}
    ---
    # Headless: clients see every replica and balance by themselves (`url=` takes them all). HTTP, which TLS does not
    # cover, stays inside the pod for its probes.
    apiVersion: v1
    kind: Service
    metadata: {{name: kras-triton}}
    spec:
      clusterIP: None
      selector: {{app: kras-triton}}
      ports:
        - {{name: grpc, port: 8001}}
        - {{name: metrics, port: 8002}}
    """)


def _listed(words: list[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"
