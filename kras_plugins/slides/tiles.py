"""Which tiles of a slide are looked at: a grid in micrometers, kept where there is tissue."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.data import TileGrid

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64, TileSpec
    from kras_plugins.slides.slide import Slide
    from kras_plugins.slides.tissue import TissueMask

MAX_PEN = 0.25
"""A tile with more pen than this is left out: beyond it ink, not tissue, decides what an encoder sees."""
MIN_COVER = 1e-6
"""Share of a tile that counts as touching tissue: more than the rounding of sums over a whole slide."""


def tile_grid(slide: Slide, tissue: TissueMask, spec: TileSpec, min_tissue: float = 0.5) -> TileGrid:
    """The tiles that extractors see: at least `min_tissue` tissue, at most a quarter pen.

    The grid starts at the slide's upper left corner and has no overlap. The part of a tile that lies beyond the slide
    counts as not tissue. Empty where no tile is good enough or the whole slide is smaller than a tile.
    """
    grid, pen = _all_tiles(slide, tissue, spec)
    if slide.size[0] < grid.size[0] and slide.size[1] < grid.size[1]:
        return _chosen(grid, np.zeros(len(grid), bool))
    return _chosen(grid, (grid.tissue >= min_tissue) & (pen <= MAX_PEN))


def cover_grid(slide: Slide, tissue: TissueMask, spec: TileSpec) -> TileGrid:
    """The tiles that profilers see: all that touch tissue, so that together they cover it."""
    grid, _ = _all_tiles(slide, tissue, spec)
    return _chosen(grid, grid.tissue > MIN_COVER)


def _all_tiles(slide: Slide, tissue: TissueMask, spec: TileSpec) -> tuple[TileGrid, Float64]:
    """Every tile of a slide, and float64[tile], the share of each that is pen."""
    mpp = slide.actual_mpp(spec.mpp)
    size = (spec.px * mpp / slide.mpp[0], spec.px * mpp / slide.mpp[1])
    x, y = (np.arange(np.ceil(whole / side) + 1) * side for whole, side in zip(slide.size, size, strict=True))
    corners = np.stack(np.meshgrid(x[:-1], y[:-1]), axis=-1).reshape(-1, 2)
    # The mask covers the slide exactly, so its pixels follow from the two shapes: rounding of its mpp does not add up.
    height, width = tissue.mask.shape
    across, down = x * width / slide.size[0], y * height / slide.size[1]
    grid = TileGrid(
        spec=replace(spec, mpp=mpp),
        xy=np.rint(corners).astype(np.int32),
        size=size,
        tissue=_shares(tissue.mask, across, down).astype(np.float32),
    )
    return grid, _shares(tissue.pen, across, down)


def _chosen(grid: TileGrid, keep: Bool) -> TileGrid:
    return replace(grid, xy=grid.xy[keep], tissue=grid.tissue[keep])


def _shares(mask: Bool, x: Float64, y: Float64) -> Float64:
    """float64[tile], rows first: the share of set pixels in each cell between the lines `x`, `y` (mask pixels)."""
    area = (x[1] - x[0]) * (y[1] - y[0])
    shares: Float64 = _sums(_sums(mask, y).T, x).T.ravel() / area
    return np.clip(shares, 0, 1)


def _sums(values: Bool | Float64, lines: Float64) -> Float64:
    """Sums along axis 0 between neighboring `lines`, which may be fractional or lie beyond the end.

    The running sum is linear within a pixel, so interpolating it is exact; both axes in turn make a summed-area table.
    """
    total = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=total[1:])
    at = np.minimum(lines, len(values))
    low = np.minimum(at.astype(np.intp), len(values) - 1)
    part = (at - low)[:, None]
    sums: Float64 = np.diff(total[low] * (1 - part) + total[low + 1] * part, axis=0)
    return sums
