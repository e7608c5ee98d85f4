"""Input of checks: tiles of drawn H&E tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tifffile

from kras_plugins.files.leftovers import scratch
from kras_plugins.testing.slides import draw_slide

if TYPE_CHECKING:
    from kras_plugins.data import UInt8

LEAST_UM = 220.0
"""A smaller scene has hardly any tissue."""

GLASS = 1.6
"""Factor by which the drawing is larger than the scene cut from its middle, as glass surrounds the tissue."""


def scene(width: int, height: int, mpp: float) -> UInt8:
    """Drawn tissue, uint8[height width 3] at `mpp` µm per pixel."""
    um = [GLASS * max(side * mpp, LEAST_UM, 64 * mpp) for side in (width, height)]
    with scratch("scene") as folder:
        file = folder / "scene.tiff"
        draw_slide(file, seed=1, size_um=(um[0], um[1]), mpp=mpp, histology="LUSC", lymphocytes=2.0, levels=1)
        drawn: UInt8 = tifffile.imread(file)
    top, left = (drawn.shape[0] - height) // 2, (drawn.shape[1] - width) // 2
    return drawn[top : top + height, left : left + width].copy()


def tiles(count: int, side: int, mpp: float) -> UInt8:
    """Different tiles cut from one scene, uint8[tile side side 3]."""
    step = max(side // 4, 1)
    wide = scene(side + (count - 1) * step, side, mpp)
    return np.stack([np.rot90(wide[:, i * step : i * step + side], i % 4) for i in range(count)])
