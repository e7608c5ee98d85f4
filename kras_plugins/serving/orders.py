"""Commands that start NVIDIA's Triton container on an exported repository, as text. Never run by this project."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kras_plugins.host.telemetry import OPT_OUTS
from kras_plugins.models.repository import CONTAINER

Kind = Literal["docker", "compose", "kubernetes"]

NOT_RUN = "# Not run on kras' own machines, which have neither a GPU nor containers: check it on yours.\n"

ENVIRONMENT = {**OPT_OUTS, "NVIDIA_TF32_OVERRIDE": "0"}
"""The container's variables. Float32 products that a GPU rounds to TF32 are not float32: the last one forbids that."""

ENGINES = "/tmp"
"""Where TensorRT's engines are kept (`trt_engine_cache_path` lies below): a volume, as building them takes minutes."""

_HEALTH = "http://localhost:8002/metrics"
"""Answers when all models are loaded: Triton opens this port last. (HTTP proper, on port 8000, is off.)"""

_USER = "1000:1000"
if sys.platform != "win32":
    _USER = f"{os.getuid()}:{os.getgid()}"


@dataclass(frozen=True, kw_only=True)
class Order:
    """The settings of a container.

    `repository`: the folder of models. `gpus`: 0 for none, -1 for all. `shm`: a pod's shared memory. `tls`: a folder
    with `server.crt`, `server.key` and `ca.crt`; clients must then show a certificate of that CA. `user`: UID:GID on a
    host; that of the clients, whose shared memory (mode 0600) the server opens.
    """

    repository: Path
    gpus: int = 1
    shm: str = "1g"
    image: str = CONTAINER
    tls: Path | None = None
    user: str = _USER


def order_text(kind: Kind, order: Order) -> str:
    """A command, a compose file or Kubernetes objects; ConfigError for what Kubernetes does not support."""
    from kras_plugins.serving.cluster import objects_text

    return NOT_RUN + {"docker": _docker, "compose": _compose, "kubernetes": objects_text}[kind](order)


def command(order: Order, *, image: str, one_host: bool) -> list[str]:
    """The words that a container runs: a shell line that becomes tritonserver, and its arguments.

    The identity says which GPUs and which `image` compute (no server says so itself). Tracing and logging, by which a
    client could have files written, are locked with a password that nobody knows. HTTP has the powers of gRPC without
    its TLS and tokens, and is off. `one_host`: clients pass tiles in shared memory (must be enabled from 26.04 on).
    """
    gpus = "`nvidia-smi --query-gpu=name --format=csv,noheader | sort -u | tr / - | paste -s -d +`"
    start = (
        f'exec tritonserver --id="native/{gpus if order.gpus else "cpu"}/{image}" '
        '--grpc-restricted-protocol="trace,logging:admin=`cat /proc/sys/kernel/random/uuid`" "$@"'
    )
    arguments = ["--model-repository=/models", "--allow-http=false", "--exit-timeout-secs=30"]
    if one_host:
        arguments.append("--allow-client-shm=true")
    if order.tls is not None:
        arguments += [
            "--grpc-use-ssl=true",
            "--grpc-use-ssl-mutual=true",
            "--grpc-server-cert=/tls/server.crt",
            "--grpc-server-key=/tls/server.key",
            "--grpc-root-cert=/tls/ca.crt",
        ]
    return ["sh", "-c", start, "tritonserver", *arguments]


def dumped(*documents: Any) -> str:
    """Values as YAML documents, in their own order."""
    import yaml

    class Plain(yaml.SafeDumper):  # type: ignore[misc]  # it has no types
        def ignore_aliases(self, data: Any) -> bool:
            return True  # what occurs twice is written twice

    return str(yaml.dump_all(documents, Dumper=Plain, sort_keys=False, width=1_000))


def _short(image: str) -> str:
    return image.rpartition("/")[2]


def _docker(order: Order) -> str:
    # Only gRPC leaves this host by default; metrics stay on loopback.
    words = [
        "docker run --rm --name kras-triton",
        *([f"--gpus {'all' if order.gpus < 0 else order.gpus}"] if order.gpus else []),
        # The host's /dev/shm: clients on this host then pass tiles in shared memory.
        "--ipc host",
        f"--user {order.user}",
        "--publish 127.0.0.1:8001:8001 --publish 127.0.0.1:8002:8002",
        "--read-only --cap-drop ALL --security-opt no-new-privileges",
        f"--stop-timeout 45 --volume kras-engines:{ENGINES}",
        *(f"--env {name}={value}" for name, value in ENVIRONMENT.items()),
        f"--volume {shlex.quote(f'{order.repository.resolve()}:/models:ro')}",
        *([f"--volume {shlex.quote(f'{order.tls.resolve()}:/tls:ro')}"] if order.tls else []),
        order.image,
        *(shlex.quote(word) for word in command(order, image=_short(order.image), one_host=True)),
    ]
    return " \\\n  ".join(words) + "\n"


def _compose(order: Order) -> str:
    count = "all" if order.gpus < 0 else order.gpus
    devices = [{"driver": "nvidia", "count": count, "capabilities": ["gpu"]}]
    words = command(order, image=_short(order.image), one_host=True)
    service = {
        "image": order.image,
        "command": [word.replace("$", "$$") for word in words],  # compose would substitute its own variables
        "user": order.user,
        "ipc": "host",
        "environment": ENVIRONMENT,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
        "stop_grace_period": "45s",
        "ports": ["127.0.0.1:8001:8001", "127.0.0.1:8002:8002"],
        "volumes": [
            f"{order.repository.resolve()}:/models:ro",
            f"kras-engines:{ENGINES}",
            *([f"{order.tls.resolve()}:/tls:ro"] if order.tls else []),
        ],
        "healthcheck": {
            "test": ["CMD", "curl", "--fail", "--silent", "--output", "/dev/null", _HEALTH],
            "interval": "10s",
            "start_period": "1800s",
        },
        **({"deploy": {"resources": {"reservations": {"devices": devices}}}} if order.gpus else {}),
    }
    return dumped({"services": {"triton": service}, "volumes": {"kras-engines": {}}})
