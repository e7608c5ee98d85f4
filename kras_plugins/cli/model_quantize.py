"""`kras model quantize`: an int8 file of an encoder, with how near it stays to float32."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stderr, stdout
from kras_plugins.cli.model_weights import specs
from kras_plugins.cli.options import AsJson, ConfigFile, Overrides, PluginFiles, open_session
from kras_plugins.errors import ConfigError

_FEWEST = 16
_AT_ONCE = 8


@command
def quantize_model(
    slides: Annotated[list[Path], typer.Argument(help="slides like those it will see")],
    out: Annotated[Path, typer.Option(help="file to write (.onnx)")],
    name: Annotated[str, typer.Option("--model", help="model to take, as configured")] = "vit",
    count: Annotated[int, typer.Option(min=_FEWEST, help="tiles a slide: half to calibrate, half to measure")] = 64,
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """Write an int8 ONNX file and say how near it stays to float32, on tiles it was not calibrated with."""
    import numpy as np

    from kras_plugins.models.export import is_ready_made
    from kras_plugins.models.quantize import agreement, quantize
    from kras_plugins.probing.parity import slide_tiles
    from kras_plugins.study.outputs import make_folder

    if out.suffix != ".onnx":
        raise ConfigError(f"--out {out}: not an .onnx file", "name it so; backends know it by that")
    session = open_session(config, option, plugin)
    ((_, spec),) = specs(session, [name])
    if is_ready_made(spec):
        raise ConfigError(f"{spec.weights.source}: an ONNX file as it is", "give the weights it was made from")
    if len(spec.outputs) != 1 or len(spec.outputs[0].shape) != 1:
        raise ConfigError(f"--model {name}: no encoder", "take one with one vector a tile, such as vit")
    make_folder(out.parent)
    tiles = np.concatenate([slide_tiles(spec, slide, count, session.registry, session.config) for slide in slides])
    if len(tiles) < _FEWEST:
        raise ConfigError(f"only {len(tiles)} tiles of tissue, {_FEWEST} are needed", "give more slides")
    quantize(spec, tiles[::2], out)
    found = agreement(_exact(spec, tiles[1::2]), _quantized(spec, out, tiles[1::2]))
    if as_json:
        print_json({**asdict(found), "file": str(out), "bytes": out.stat().st_size})
        return
    stdout().print(
        f"{out}: {out.stat().st_size / 1e6:.0f} MB, int8. Against float32 on {found.tiles} tiles: cosine at least "
        f"{found.cosine:.5f}, {found.mean_cosine:.5f} on average; {found.centered_cosine:.4f} at least "
        "without what all tiles share",
        markup=False,
        soft_wrap=True,
    )
    stderr().print(
        f"use it with -o extractor.vit.model=… (as now) -o extractor.vit.weights={out}; its features are others: "
        "train and predict with the same file"
    )


def _exact(spec: Any, tiles: Any) -> Any:
    import numpy as np
    import torch

    from kras_plugins.models.export import build_module

    module = build_module(spec)
    with torch.inference_mode():
        parts = [module(torch.from_numpy(tiles[i : i + _AT_ONCE])).numpy() for i in range(0, len(tiles), _AT_ONCE)]
    return np.concatenate(parts).astype(np.float64)


def _quantized(spec: Any, file: Path, tiles: Any) -> Any:
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    given = spec.inputs[0].name
    parts = [session.run(None, {given: tiles[i : i + _AT_ONCE]})[0] for i in range(0, len(tiles), _AT_ONCE)]
    return np.concatenate(parts).astype(np.float64)
