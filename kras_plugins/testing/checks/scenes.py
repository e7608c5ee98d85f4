"""What checks look at: tiles of drawn H&E tissue."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from kras_plugins.testing.slides import draw_slide

if TYPE_CHECKING:
    from kras_plugins.data import UInt8

LEAST_UM = 220.0
"""Less holds hardly any tissue."""


def scene(width: int, height: int, mpp: float) -> UInt8:
    """Drawn tissue, uint8[height width 3] at `mpp` µm per pixel."""
    um = (max(width * mpp, LEAST_UM, 64 * mpp), max(height * mpp, LEAST_UM, 64 * mpp))
    with tempfile.TemporaryDirectory(prefix="kras-scene-") as folder:
        draw_slide(Path(folder) / "scene.tiff", seed=1, size_um=um, mpp=mpp, levels=1)
        drawn: UInt8 = tifffile.imread(Path(folder) / "scene.tiff")
    top, left = (drawn.shape[0] - height) // 2, (drawn.shape[1] - width) // 2
    return drawn[top : top + height, left : left + width].copy()


def tiles(count: int, side: int, mpp: float) -> UInt8:
    """Unlike tiles cut from one scene, uint8[tile side side 3]."""
    step = max(side // 4, 1)
    wide = scene(side + (count - 1) * step, side, mpp)
    return np.stack([np.rot90(wide[:, i * step : i * step + side], i % 4) for i in range(count)])
