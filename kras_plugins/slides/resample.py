"""Area resampling at any ratio: every output pixel is the mean over the area it covers."""

from __future__ import annotations

import math
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
    # Numba takes half a second to import; slides that are read at a whole ratio need not wait for it.
    from kras_plugins.slides.area import means

    taken: UInt8 = means(np.require(pixels, np.uint8, ("C", "W")), start, step, size)
    return taken


def window(start: float, step: float, n: int, limit: int) -> tuple[int, int]:
    """First and last + 1 level pixel that n cells need along one axis of a level with `limit` pixels."""
    low, high = math.floor(start + EPS), math.ceil(start + step * n - EPS)
    if step < 1:  # interpolation looks one pixel further, but never at the white beyond the edge
        low, high = low - (low > 0), high + (high < limit)
    return low, max(high, low + 1)


def downsample(size: int, of_level: int) -> float:
    """Level-0 pixels that one pixel of a level is wide.

    Writers of pyramids halve, or quarter, and drop or add what is left over at the end: a level whose size is that of a
    whole factor, rounded down or up, has that factor. The ratio of the sizes would shift its far end by up to a pixel.
    """
    whole = max(1, round(size / of_level))
    return whole if of_level in (size // whole, -(-size // whole)) else size / of_level
