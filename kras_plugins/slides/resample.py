"""Area resampling at any ratio: every output pixel is the mean over the area it covers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from kras_plugins.data import UInt8

EPS = 1e-3
"""Offsets and extents this near (in pixels) to whole ones count as whole: under a gray level at any edge."""


def resample(pixels: UInt8, start: tuple[float, float], step: tuple[float, float], size: tuple[int, int]) -> UInt8:
    """Sample `pixels` uint8[h w 3] on a grid of square or oblong cells; returns uint8[size[1] size[0] 3].

    `start` (x, y): the grid's upper left corner, `step` (x, y): a cell's width and height, both in pixels of
    `pixels`, `size`: (width, height) of the result. Along an axis with step >= 1 a cell is the exact
    area-weighted mean of the pixels below it (Pillow's BOX filter is not: it gives weight one to every pixel
    whose center lies in the cell, which shifts by up to half a pixel where the ratio is not whole). Along an
    axis with step < 1 it is interpolated linearly. The outermost pixels extend beyond `pixels`.
    """
    whole = tuple(round(s) for s in step)
    left, top = (round(s) for s in start)
    if min(whole) >= 1 and all(
        abs(o - round(o)) < EPS and abs(s - k) * n < EPS for o, s, k, n in zip(start, step, whole, size, strict=True)
    ):
        block = pixels[top : top + whole[1] * size[1], left : left + whole[0] * size[0]]
        return block if whole == (1, 1) else np.asarray(Image.fromarray(block).reduce((whole[0], whole[1])))
    # Numba takes half a second to import, which slides that are read at a whole ratio need not wait for.
    from kras_plugins.slides.area import means

    taken: UInt8 = means(np.require(pixels, np.uint8, ("C", "W")), start, step, size)
    return taken
