"""Many small disks or rings at once, each pixel set by its center: no loop over cells, no seam between drawings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kras_plugins.data import Float64, UInt8

_SMALLEST, _LARGEST = 0.75, 64.0
"""Smallest radius in pixels: half a diagonal, so that no cell falls between pixel centers; and the largest one."""
_LINE = 1.5


def draw_disks(into: UInt8, x: Float64, y: Float64, radius: Float64, colors: UInt8, *, ring: bool = False) -> None:
    """Draw circles into RGBA uint8[h w 4]; `x`, `y`, `radius`: float64[circle] in pixels, `colors`: uint8[circle 4].

    With `ring` only their rims. Small circles lie above large ones, later ones above earlier ones of the same size.
    """
    height, width = into.shape[:2]
    radius = np.clip(radius, _SMALLEST, _LARGEST)
    steps = np.ceil(radius).astype(np.int64)
    far = int(steps.max(initial=0))
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    near = (column >= -far) & (column < width + far) & (row >= -far) & (row < height + far)
    # A margin around the drawing takes what extends beyond it: nothing need be clipped.
    canvas = np.pad(into, ((2 * far, 2 * far), (2 * far, 2 * far), (0, 0)))
    across = canvas.shape[1]
    flat, values = canvas.view(np.uint32).ravel(), np.ascontiguousarray(colors).view(np.uint32).ravel()
    place = (row + 2 * far) * across + column + 2 * far
    right, down = (x - column - 0.5).astype(np.float32), (y - row - 0.5).astype(np.float32)  # from the pixel's center
    for step in np.unique(steps[near])[::-1].tolist():
        own = np.flatnonzero(near & (steps == step))
        size, at, color = radius[own].astype(np.float32), place[own], values[own]
        off_x, off_y, inner = right[own], down[own], np.maximum(size - _LINE, 0) ** 2
        for dy in range(-step, step + 1):
            below = (dy - off_y) ** 2
            room = size**2 - below
            for dx in range(-step, step + 1):
                away = (dx - off_x) ** 2
                hit = away <= room
                if ring:
                    hit &= away + below >= inner
                flat[at[hit] + (dy * across + dx)] = color[hit]
    into[:] = canvas[2 * far : 2 * far + height, 2 * far : 2 * far + width]
