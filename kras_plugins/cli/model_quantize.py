"""`kras model quantize`: an int8 file of an encoder, and how close it stays to float32."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stderr, stdout
from kras_plugins.cli.options import AsJson, Plugins
from kras_plugins.errors import ConfigError


@command
def quantize_model(
    slides: Annotated[list[Path], typer.Argument(metavar="SLIDE", help="slides like those it will see")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="file to write (.onnx)")],
    name: Annotated[str, typer.Option("--model", help="configured model to quantize")] = "vit",
    count: Annotated[int, typer.Option(min=16, help="tiles per slide: half to calibrate, half to measure")] = 64,
    plugins: Plugins = Plugins(),
    as_json: AsJson = False,
) -> None:
    """Write an int8 file of an encoder, and report how close it stays.

    It is compared with float32 on tiles that were not used to calibrate it.
    """
    from kras_plugins.host.catalog import configured_models
    from kras_plugins.probing.quantization import quantize_and_measure
    from kras_plugins.study.outputs import make_folder

    if out.suffix != ".onnx":
        raise ConfigError(f"--out {out}: not an .onnx file", "end its name in .onnx; backends recognize it by that")
    session = plugins.session()
    ((_, spec),) = configured_models(session.registry, session.config, session.notify.warn, [name])
    make_folder(out.parent)
    found = quantize_and_measure(spec, slides, count, out, session.registry, session.config)
    if as_json:
        print_json({**asdict(found), "file": str(out), "bytes": out.stat().st_size})
        return
    stdout().print(
        f"{out}: {out.stat().st_size / 1e6:.0f} MB, int8. Against float32 on {found.tiles} tiles: cosine at least "
        f"{found.cosine:.5f}, {found.mean_cosine:.5f} on average; at least {found.centered_cosine:.4f} "
        "without what all tiles share",
        markup=False,
        soft_wrap=True,
    )
    stderr().print(
        f"use it with -o extractor.vit.model=… (as now) -o extractor.vit.weights={out}; its features differ: "
        "train and predict with the same file"
    )
