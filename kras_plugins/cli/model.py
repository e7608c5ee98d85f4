"""`kras model list|fetch|probe|quantize|export|check|serve`: networks, weights, ONNX files, a server."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from kras_plugins.cli import model_quantize, model_weights, probe
from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stderr, stdout
from kras_plugins.cli.model_weights import specs
from kras_plugins.cli.options import AsJson, ConfigFile, Overrides, PluginFiles, open_session
from kras_plugins.errors import BackendError

app = typer.Typer(help="Networks, their weights and licences.", no_args_is_help=True)
app.command("list")(model_weights.list_models)
app.command("fetch")(model_weights.fetch_models)
app.command("probe")(probe.probe)
app.command("quantize")(model_quantize.quantize_model)

Names = Annotated[list[str] | None, typer.Argument(help="names of models; all where none is given")]
Repository = Annotated[Path, typer.Option("--repository", help="folder to write NAME/config.pbtxt and models into")]
Precision = Literal["f16", "f32"]


@app.command("export")
@command
def export_models(
    names: Names = None,
    repository: Repository = Path("model_repository"),
    precision: Annotated[Precision, typer.Option(help="arithmetic of TensorRT on GPUs")] = "f16",
    opset: Annotated[int, typer.Option(help="ONNX operator set")] = 18,
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
) -> None:
    """Write each model into a Triton model repository: ONNX, verified against PyTorch, and its configuration."""
    from kras_plugins.models.repository import export_model
    from kras_plugins.study.outputs import make_folder

    make_folder(repository)
    for _, spec in specs(open_session(config, option, plugin), names):
        stdout().print(str(export_model(spec, repository, precision=precision, opset=opset)))


@app.command("check")
@command
def check_models(
    names: Names = None,
    backend: Annotated[str, typer.Option(help="the backend to be measured")] = "triton",
    slide: Annotated[Path | None, typer.Option(help="whose tiles to compare; a drawn one if not given")] = None,
    count: Annotated[int, typer.Option(min=1, help="tiles to compare")] = 32,
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """Compare a backend's results with `local` and with PyTorch in float32; exit code 1 beyond the limits."""
    from rich.table import Table

    from kras_plugins.probing.parity import compare, slide_tiles
    from kras_plugins.testing import draw_slide

    session = open_session(config, option, plugin)
    rows = []
    with tempfile.TemporaryDirectory(prefix="kras-check-") as work:
        if slide is None:
            slide = Path(work) / "drawn.tiff"
            draw_slide(slide, seed=0)
        for owner, spec in specs(session, names):
            pixels = slide_tiles(spec, slide, count, session.registry, session.config)
            rows += compare(spec, pixels, backend, session.registry, session.config, owner)
    if as_json:
        print_json([vars(row) | {"passed": row.passed} for row in rows])
    else:
        table = Table(
            "model", "output", "against", "tiles", "cosine", "at least", "relative error", "at most", "", box=None
        )
        for r in rows:
            table.add_row(
                r.model, r.output, r.against, str(r.tiles), f"{r.cosine:.6f}", f"{r.cosine_limit:g}", f"{r.error:.2g}",
                f"{r.error_limit:g}", "ok" if r.passed else "[red]TOO FAR[/]",
            )  # fmt: skip
        stdout().print(table)
    far = [r for r in rows if not r.passed]
    if far:
        raise BackendError(
            f"{far[0].model}: {backend} is too far from {far[0].against} (cosine {far[0].cosine:.6f}, relative error "
            f"{far[0].error:.2g})",
            "export the model anew; another precision may be needed",
        )


@app.command("serve")
@command
def serve_models(
    repository: Annotated[Path, typer.Argument(help="model repository written by `kras model export`")] = Path(
        "model_repository"
    ),
    install: Annotated[bool, typer.Option("--install", help="make the server's environment, once, and end")] = False,
    show: Annotated[
        Literal["docker", "compose", "kubernetes"] | None,
        typer.Option("--print", help="print what starts NVIDIA's container instead"),
    ] = None,
    host: Annotated[
        str, typer.Option(help="address to listen on; anything but loopback is open to others")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="gRPC port, 0 for Triton's own or free ones")] = 0,
    precision: Annotated[Literal["auto", "f32", "bf16"], typer.Option(help="arithmetic of the CPU")] = "auto",
    gpus: Annotated[int, typer.Option(help="with --print: GPUs, 0 for none")] = 1,
    shm: Annotated[str, typer.Option(help="with --print kubernetes: shared memory")] = "1g",
    tls: Annotated[Path | None, typer.Option(help="with --print: folder with server.crt, server.key, ca.crt")] = None,
) -> None:
    """Serve a model repository with a real Triton server on this machine's CPU, until Ctrl-C."""
    from kras_plugins.serving.environment import install as install_server
    from kras_plugins.serving.orders import Order, order_text
    from kras_plugins.serving.server import free_ports, serving

    if show is not None:
        stdout().print(
            order_text(show, Order(repository=repository, gpus=gpus, shm=shm, tls=tls)), markup=False, soft_wrap=True
        )
        return
    if install:
        with stderr().status("installing the Triton server: half a minute, once"):
            found = install_server()
        stdout().print(f"{found.python.parent.parent}: Triton with {found.engine}", markup=False)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # ended by a service manager: stop the server, too
    ports = free_ports(host) | ({"grpc": port} if port else {})
    with serving(repository, host=host, ports=ports, precision=precision) as server:
        stdout().print(f"serving {repository} at {server.url} (Ctrl-C ends it)", markup=False)
        stderr().print(
            f"use it:   kras run … --backend triton -o backend.triton.url={server.url}\n"
            f"metrics:  http://{host}:{server.metrics}/metrics\nlog:      {server.log}",
            markup=False,
        )
        server.process.wait()
        raise BackendError(f"the Triton server ended:\n{server.last_words()}", "the lines above say why")
