"""Area resampling at any ratio: every output pixel is the mean over the area it covers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import sparse

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
    height, width = pixels.shape[:2]
    down = _weights(start[1], step[1], size[1], height)
    across = _weights(start[0], step[0], size[0], width)
    rows = down @ pixels.reshape(height, width * 3).astype(np.float32)
    columns = np.ascontiguousarray(rows.reshape(size[1], width, 3).transpose(1, 0, 2)).reshape(width, -1)
    mean = (across @ columns).reshape(size[0], size[1], 3).transpose(1, 0, 2)
    out: UInt8 = np.rint(mean).astype(np.uint8, order="C")
    return out


def _weights(start: float, step: float, n_out: int, n_in: int) -> sparse.csr_array:
    """float32[n_out n_in], rows sum to one: every input pixel's share in every output cell along one axis."""
    if step >= 1:
        low = start + step * np.arange(n_out)[:, None]
        taps = math.ceil(step) + 1
        index = np.floor(low).astype(np.int64) + np.arange(taps)
        share = np.clip(np.minimum(index + 1, low + step) - np.maximum(index, low), 0, None) / step
    else:
        center = start + step * (np.arange(n_out)[:, None] + 0.5) - 0.5
        taps = 2
        index = np.floor(center).astype(np.int64) + np.arange(taps)
        share = 1 - np.abs(index - center)
    index = np.clip(index, 0, n_in - 1)
    ends = np.arange(0, n_out * taps + 1, taps)
    return sparse.csr_array((share.astype(np.float32).ravel(), index.ravel(), ends), shape=(n_out, n_in))
