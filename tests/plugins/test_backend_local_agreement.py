"""Two engines and PyTorch itself agree on every network that ships, and on a ViT-S/16, as far as arithmetic allows."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kras_backend_local import LocalOptions, create
from kras_plugins import ModelSpec
from kras_plugins.host.manager import discover
from kras_plugins.models.export import build_module
from kras_plugins.probing.parity import cosines
from kras_plugins.testing.checks.scenes import scene

NETWORKS = {
    "vit-mini": ("extractor", "vit", {"model": "vit-mini"}),
    "ViT-S/16": ("extractor", "vit", {"model": "vit_small_patch16_224", "weights": "random:0"}),
    "cells": ("profiler", "cells", {}),
}


@cache
def spec_of(network: str) -> ModelSpec:
    kind, name, options = NETWORKS[network]
    record = discover().find(kind, name).record
    return record.models(record.options(**options))[0]


def pixels_of(spec: ModelSpec, n: int = 2) -> np.ndarray:
    """Drawn tissue, unlike in each tile."""
    side = spec.inputs[0].shape[0]
    wide = scene(side * n, side, 0.5)
    return np.stack([wide[:, side * i : side * (i + 1)] for i in range(n)])


def run(spec: ModelSpec, tiles: np.ndarray, **options: object) -> dict[str, np.ndarray]:
    infer = create(LocalOptions(**options)).load(spec)
    parts = [infer({"tiles": tiles[i : i + infer.batch]}) for i in range(0, len(tiles), infer.batch)]
    return {t.name: np.concatenate([part[t.name] for part in parts]) for t in spec.outputs}


@cache
def by_openvino(network: str) -> dict[str, np.ndarray]:
    return run(spec_of(network), pixels_of(spec_of(network)), engine="openvino", precision="f32")


@pytest.mark.parametrize(("precision", "least"), [("f32", 0.9999), ("bf16", 0.999)])
@pytest.mark.parametrize("network", NETWORKS)
def test_torch_agrees_with_openvino(network: str, precision: str, least: float) -> None:
    spec = spec_of(network)
    got = run(spec, pixels_of(spec), engine="torch", device="cpu", precision=precision)
    assert {name: values.dtype for name, values in got.items()} == {t.name: t.dtype for t in spec.outputs}
    for name, wanted in by_openvino(network).items():
        assert got[name].shape == wanted.shape
        assert cosines(got[name], wanted).min() >= least
        # Agreement would mean nothing if the network gave all tiles the same; the shipped weights call nothing unlike.
        assert name == "unlike" or cosines(wanted[:1], wanted[1:]).max() < 0.9999


def test_openvino_on_real_tiles_agrees_with_pytorch_in_the_default_precision(shared_data: Path) -> None:
    images = (np.asarray(Image.open(f).convert("RGB")) for f in sorted((shared_data / "tiles").glob("*.png")))
    tiles = np.stack([i[:224, :224] for i in images if min(i.shape[:2]) >= 224][:12])
    spec = spec_of("ViT-S/16")
    got = run(spec, tiles, device="cpu")["features"]
    with torch.inference_mode():
        want = build_module(spec)(torch.from_numpy(tiles)).numpy()
    assert cosines(got, want).min() >= 0.999
    # Unrelated features would also agree if all tiles looked alike to the network: they must not.
    assert np.corrcoef(want).min() < 0.9995
