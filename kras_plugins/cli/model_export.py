"""`kras model export`: models as ONNX in a repository that a Triton server reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import stdout
from kras_plugins.cli.options import ModelNames, Plugins


@command
def export_models(
    names: ModelNames = None,
    repository: Annotated[
        Path, typer.Option("--repository", help="folder to write NAME/config.pbtxt and models into")
    ] = Path("model_repository"),
    precision: Annotated[Literal["f32", "f16"], typer.Option(help="arithmetic of the graph: f16 for GPUs")] = "f32",
    opset: Annotated[int, typer.Option(help="ONNX operator set")] = 18,
    plugins: Plugins = Plugins(),
) -> None:
    """Write models into a Triton model repository.

    Each as ONNX, verified against PyTorch, with its configuration.
    """
    from kras_plugins.host.catalog import configured_models
    from kras_plugins.models.repository import export_model
    from kras_plugins.study.outputs import make_folder

    make_folder(repository)
    session = plugins.session()
    for _, spec in configured_models(session.registry, session.config, session.notify.warn, names or ()):
        stdout().print(str(export_model(spec, repository, precision=precision, opset=opset)))
