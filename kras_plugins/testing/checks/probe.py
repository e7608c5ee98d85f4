"""The network that checks of backends run: small, with fixed weights and outputs of different shapes and dtypes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.contracts.model import ModelSpec, TensorSpec, Weights
from kras_plugins.testing.checks.scenes import scene

if TYPE_CHECKING:
    from kras_plugins.contracts.backend import Arrays
    from kras_plugins.data import UInt8

SIDE = 32
FEATURES = 8


def probe_model() -> ModelSpec:
    """The model `conformance_probe`: uint8[32 32 3] to `features` float32[8], `map` float32[4 16 16] and `levels`
    uint8[16 16].

    A backend that asks a server needs the model there: `export_model(probe_model(), repository)`.
    """
    return ModelSpec(
        name="conformance_probe",
        inputs=(TensorSpec(name="tiles", dtype="uint8", shape=(SIDE, SIDE, 3)),),
        outputs=(
            TensorSpec(name="features", dtype="float32", shape=(FEATURES,)),
            TensorSpec(name="map", dtype="float32", shape=(4, SIDE // 2, SIDE // 2)),
            TensorSpec(name="levels", dtype="uint8", shape=(SIDE // 2, SIDE // 2)),
        ),
        build=_build,
        weights=Weights(source="random:0", licence="Apache-2.0"),
        transform={"scale": 255, "layers": [4, FEATURES]},
        max_batch=16,
    )


def _build(_weights: Path | None) -> Any:
    import torch

    class Probe(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.last = torch.nn.Linear(4, FEATURES)

        def forward(self, tiles: Any) -> Any:
            maps = torch.relu(self.first(tiles.permute(0, 3, 1, 2).float() / 255))
            levels = torch.floor(maps[:, 0].float().sigmoid() * 255 + 0.5).to(torch.uint8)
            return self.last(maps.mean(dim=(2, 3))), maps, levels

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Probe().eval()


def tiles(n: int) -> UInt8:
    """Different tiles, uint8[n 32 32 3]."""
    wide = scene(SIDE + 8 * n, SIDE, 2.0)
    return np.stack([wide[:, 8 * i : 8 * i + SIDE] for i in range(n)])


def exact(pixels: UInt8) -> Arrays:
    """PyTorch's results in float32."""
    import torch

    with torch.inference_mode():
        found = _build(None)(torch.from_numpy(pixels))
    return {name: values.numpy() for name, values in zip(("features", "map", "levels"), found, strict=True)}
