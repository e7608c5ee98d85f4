"""Many small disks or rings at once, each pixel decided by its center: no loop over cells, no seam between drawings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kras_plugins.data import Float64, UInt8

_SMALLEST, _LARGEST = 0.75, 64.0
"""Radius in pixels: half a diagonal, so that no cell falls between pixel centers; and what still is a cell."""
_LINE = 1.5


def draw_disks(
    into: UInt8, x: Float64, y: Float64, radius: Float64, colors: UInt8, *, ring: bool = False
) -> None:
    """Draw circles into RGBA uint8[h w 4]; `x`, `y`, `radius`: float64[circle] in pixels, `colors`: uint8[circle 4].

    With `ring` only their rims. Small ones lie above large ones, later ones above earlier ones of a size.
    """
    height, width = into.shape[:2]
    canvas = into.view(np.uint32).reshape(height, width)
    values = np.ascontiguousarray(colors).view(np.uint32).ravel()
    radius = np.clip(radius, _SMALLEST, _LARGEST)
    steps = np.ceil(radius).astype(np.int64)
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, down = x - column - 0.5, y - row - 0.5  # from the center of the cell's own pixel
    for step in np.unique(steps)[::-1].tolist():
        own = np.flatnonzero(steps == step)
        limit = radius[own] ** 2
        inner = np.maximum(radius[own] - _LINE, 0) ** 2
        for dy in range(-step, step + 1):
            for dx in range(-step, step + 1):
                distance = (dx - right[own]) ** 2 + (dy - down[own]) ** 2
                hit = distance <= limit
                if ring:
                    hit &= distance >= inner
                at = own[hit]
                rows, columns = row[at] + dy, column[at] + dx
                seen = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
                canvas[rows[seen], columns[seen]] = values[at[seen]]
