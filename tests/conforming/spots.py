"""A profiler without a network: dark spots are lymphocytes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from kras_plugins import ProfilerPlugin, TileCells, TileSpec, hookimpl

TILE = TileSpec(px=256, mpp=0.5, halo_px=32)


def decode(outputs, tile):
    dark = ndimage.gaussian_filter(tile.pixels[..., 0].astype(np.float32), 1.5) < 140
    labels, n = ndimage.label(dark)
    y, x = np.array(ndimage.center_of_mass(dark, labels, np.arange(1, n + 1)), np.float32).reshape(n, 2).T
    area = np.bincount(labels.ravel())[1:].astype(np.float32) * tile.mpp**2
    kept = (area > 8) & (area < 200)
    x, y, area = x[kept], y[kept], area[kept]
    return TileCells(x=x, y=y, classes=["lymphocyte"] * len(x), columns={"area_um2": area})


def provides(options):
    return frozenset({"lymphocyte", "area_um2"})


@hookimpl
def kras_profilers():
    yield ProfilerPlugin(
        name="spots", summary="dark spots", tile=lambda options: TILE, provides=provides, decode=lambda options: decode
    )
