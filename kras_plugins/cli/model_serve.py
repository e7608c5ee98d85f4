"""`kras model serve`: a real Triton server for a model repository, or the orders that start one elsewhere."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import stderr, stdout
from kras_plugins.errors import BackendError


@command
def serve_models(
    repository: Annotated[Path, typer.Argument(help="model repository written by `kras model export`")] = Path(
        "model_repository"
    ),
    install: Annotated[bool, typer.Option("--install", help="make the server's environment, once, and exit")] = False,
    show: Annotated[
        Literal["docker", "compose", "kubernetes", "prometheus", "grafana"] | None,
        typer.Option("--print", help="print what starts or monitors NVIDIA's container, instead"),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="where to listen; any address but loopback is open to others")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="gRPC port, 0 for Triton's own or free ones")] = 0,
    precision: Annotated[Literal["auto", "f32", "bf16"], typer.Option(help="arithmetic on the CPU")] = "auto",
    gpus: Annotated[int, typer.Option(help="with --print: GPUs, 0 for none, -1 for all")] = 1,
    shm: Annotated[str, typer.Option(metavar="SIZE", help="with --print kubernetes: shared memory")] = "1g",
    tls: Annotated[Path | None, typer.Option(help="with --print: folder with server.crt, server.key, ca.crt")] = None,
    chart: Annotated[Path | None, typer.Option(help="write a Helm chart into this folder instead")] = None,
) -> None:
    """Serve a model repository on this machine, until Ctrl-C.

    A real Triton server, on the CPU; --print shows what starts NVIDIA's container for GPUs.
    """
    from kras_plugins.serving.cluster import write_chart
    from kras_plugins.serving.environment import install as install_server
    from kras_plugins.serving.orders import Order, order_text
    from kras_plugins.serving.server import serving
    from kras_plugins.serving.watch import grafana_dashboard, prometheus_rules

    order = Order(repository=repository, gpus=gpus, shm=shm, tls=tls)
    if chart is not None:
        for file in write_chart(order, chart):
            stdout().print(str(file), markup=False, soft_wrap=True)
        return
    if show is not None:
        if show == "prometheus":
            text = prometheus_rules()
        elif show == "grafana":
            text = grafana_dashboard()
        else:
            text = order_text(show, order)
        stdout().print(text, markup=False, soft_wrap=True, highlight=False)
        return
    if install:
        with stderr().status("installing the Triton server: half a minute, once"):
            found = install_server()
        stdout().print(f"{found.python.parent.parent}: Triton with {found.engine}", markup=False)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # ended by a service manager: also stop the server
    with serving(repository, host=host, ports={"grpc": port} if port else None, precision=precision) as server:
        stdout().print(f"serving {repository} at {server.url} (Ctrl-C ends it)", markup=False)
        stderr().print(
            f"use it:   kras run … --backend triton -o backend.triton.url={server.url}\n"
            f"metrics:  http://{host}:{server.metrics}/metrics\nlog:      {server.log}",
            markup=False,
        )
        server.process.wait()
        raise BackendError(f"the Triton server ended:\n{server.last_words()}", "the lines above say why")
