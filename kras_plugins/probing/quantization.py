"""An int8 encoder calibrated on some tiles of slides and measured on the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.contracts.model import ModelSpec
from kras_plugins.errors import ConfigError
from kras_plugins.host.config import Config
from kras_plugins.host.manager import Registry
from kras_plugins.models.export import build_module, is_ready_made
from kras_plugins.models.quantize import Agreement, agreement, quantize
from kras_plugins.probing.parity import slide_tiles

if TYPE_CHECKING:
    from kras_plugins.data import Float64, UInt8

FEWEST = 16
"""Tiles that are needed, half to calibrate and half to measure."""
_AT_ONCE = 8


def quantize_and_measure(
    spec: ModelSpec, slides: Sequence[Path], count: int, out: Path, registry: Registry, config: Config
) -> Agreement:
    """Write an int8 ONNX file of an encoder, calibrated on half of `count` tiles per slide, measured on the others.

    Raises ConfigError for anything but an encoder, a model that is already ONNX, and slides with too little tissue.
    """
    if is_ready_made(spec):
        raise ConfigError(f"{spec.weights.source}: already an ONNX file", "give the weights it was made from")
    if len(spec.outputs) != 1 or len(spec.outputs[0].shape) != 1:
        raise ConfigError(f"--model {spec.name}: not an encoder", "use one with one vector per tile, such as vit")
    tiles = np.concatenate([slide_tiles(spec, slide, count, registry, config) for slide in slides])
    if len(tiles) < FEWEST:
        raise ConfigError(f"only {len(tiles)} tiles of tissue; {FEWEST} are needed", "give more slides")
    quantize(spec, tiles[::2], out)
    return agreement(_exact(spec, tiles[1::2]), _quantized(spec, out, tiles[1::2]))


def _exact(spec: ModelSpec, tiles: UInt8) -> Float64:
    import torch

    module = build_module(spec)
    with torch.inference_mode():
        parts = [module(torch.from_numpy(tiles[i : i + _AT_ONCE])).numpy() for i in range(0, len(tiles), _AT_ONCE)]
    return np.concatenate(parts).astype(np.float64)


def _quantized(spec: ModelSpec, file: Path, tiles: UInt8) -> Float64:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    given = spec.inputs[0].name
    parts = [session.run(None, {given: tiles[i : i + _AT_ONCE]})[0] for i in range(0, len(tiles), _AT_ONCE)]
    return np.concatenate(parts).astype(np.float64)
