"""What starts NVIDIA's container: complete, closed by default, and read by the parsers it is meant for."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kras_plugins.host.telemetry import OPT_OUTS
from kras_plugins.models.repository import CONTAINER
from kras_plugins.serving.orders import Kind, Order, command, order_text

MODELS = Path("/srv/models")
KINDS: tuple[Kind, ...] = ("docker", "compose", "kubernetes")


def docker(**wanted: Any) -> list[str]:
    return shlex.split(order_text("docker", Order(repository=MODELS, **wanted)), comments=True)


def compose(**wanted: Any) -> dict[str, Any]:
    (service,) = yaml.safe_load(order_text("compose", Order(repository=MODELS, **wanted)))["services"].values()
    return dict(service)


def after(words: list[str], option: str) -> list[str]:
    return [words[i + 1] for i, word in enumerate(words) if word == option]


def test_docker_runs_the_same_repository_read_only_on_the_gpus_asked_for() -> None:
    words = docker(gpus=2)
    assert words[:2] == ["docker", "run"]
    assert after(words, "--gpus") == ["2"]
    assert after(words, "--ipc") == ["host"]
    assert f"{MODELS}:/models:ro" in words
    assert "--model-repository=/models" in words
    assert CONTAINER in words
    assert {p.split(":")[0] for p in after(words, "--publish")} == {"127.0.0.1"}
    assert after(docker(gpus=-1), "--gpus") == ["all"]
    assert "--gpus" not in docker(gpus=0)


def test_a_container_runs_as_the_one_who_prints_it_because_shared_memory_is_its_owners() -> None:
    """Root without capabilities does not open a file of mode 0600 of somebody else."""
    me = f"{os.getuid()}:{os.getgid()}"
    assert after(docker(), "--user") == [me]
    assert compose()["user"] == me


def test_engines_are_kept_in_a_volume_that_holds_the_folder_of_the_configuration() -> None:
    assert "kras-engines:/tmp" in after(docker(), "--volume")
    assert "kras-engines:/tmp" in compose()["volumes"]
    assert "--read-only" in docker()
    assert compose()["read_only"] is True


@pytest.mark.parametrize("gpus", [0, 1, -1])
@pytest.mark.parametrize("tls", [None, Path("/srv/tls")])
def test_the_compose_file_is_yaml_with_health_and_gpus(gpus: int, tls: Path | None) -> None:
    service = compose(gpus=gpus, tls=tls)
    assert service["healthcheck"]["test"][-1].endswith(":8002/metrics")
    assert f"{MODELS}:/models:ro" in service["volumes"]
    assert ("deploy" in service) == bool(gpus)
    if gpus:
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["count"] == ("all" if gpus < 0 else gpus)
    assert ("--grpc-use-ssl-mutual=true" in service["command"]) == bool(tls)
    assert (f"{tls}:/tls:ro" in service["volumes"]) == bool(tls)


@pytest.mark.parametrize("kind", ["docker", "compose"])
def test_http_is_off_and_shared_memory_asked_for_where_clients_are_on_the_same_host(kind: Kind) -> None:
    text = order_text(kind, Order(repository=MODELS))
    assert "--allow-http=false" in text
    assert "--allow-client-shm=true" in text
    assert "8000" not in text
    assert "--allow-client-shm" not in order_text("kubernetes", Order(repository=MODELS))


def test_a_container_reports_nothing_to_the_makers_of_its_libraries_and_rounds_no_float32() -> None:
    wanted = {**OPT_OUTS, "NVIDIA_TF32_OVERRIDE": "0"}
    assert set(after(docker(), "--env")) == {f"{k}={v}" for k, v in wanted.items()}
    assert compose()["environment"] == wanted


@pytest.mark.parametrize(
    ("gpus", "cards", "identity"),
    [
        (2, "NVIDIA H200\nNVIDIA H200\n", "native/NVIDIA H200/tritonserver:x"),
        (2, "NVIDIA L4\nNVIDIA A100\n", "native/NVIDIA A100+NVIDIA L4/tritonserver:x"),
        (1, "odd/name\n", "native/odd-name/tritonserver:x"),
        (0, "NVIDIA H200\n", "native/cpu/tritonserver:x"),
    ],
)
def test_the_shell_line_gives_the_server_its_gpus_for_a_name(
    tmp_path: Path, gpus: int, cards: str, identity: str
) -> None:
    for name, body in {"nvidia-smi": f"printf '{cards}'", "tritonserver": 'printf "%s\\n" "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    words = command(Order(repository=MODELS, gpus=gpus), image="tritonserver:x", one_host=True)

    def said() -> list[str]:
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(words, env={"PATH": path}, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    first = said()
    assert first[0] == f"--id={identity}"
    assert first[1].startswith("--grpc-restricted-protocol=trace,logging:admin=")
    assert first[2:] == words[4:]
    assert said()[1] != first[1], "each start draws another word, so that nobody knows it"


def test_compose_puts_none_of_its_own_variables_into_the_shell_line() -> None:
    asked = command(Order(repository=MODELS), image=CONTAINER.rpartition("/")[2], one_host=True)
    words = compose()["command"]
    assert [word.replace("$$", "$") for word in words] == asked
    assert all(word.replace("$$", "").count("$") == 0 for word in words)


@pytest.mark.parametrize("kind", KINDS)
def test_each_says_that_it_was_not_run_here(kind: Kind) -> None:
    assert "Not run" in order_text(kind, Order(repository=MODELS)).splitlines()[0]
