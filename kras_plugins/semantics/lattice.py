"""Square lattices over the tumor area, and sums over neighboring squares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage, sparse

from kras_plugins.semantics.raster import blocks

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64
    from kras_plugins.semantics.raster import Index, Raster

MIN_COVER = 0.5
"""Squares with a smaller share inside the window are left out; counts of the others are divided by the area inside."""
_QUEEN = np.ones((3, 3))
_QUEEN[1, 1] = 0.0


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """Squares of `side_um` whose corner is at `origin_um` (x, y).

    `area`: float64[row column] mm² of each square within the window; `use`: bool[row column], at least half within.
    """

    side_um: float
    origin_um: tuple[float, float]
    area: Float64
    use: Bool

    def find(self, xy: Float64) -> tuple[Index, Index]:
        """Row and column of points float64[point 2] in µm; points beyond the lattice go to its nearest square."""
        column, row = np.floor((xy - np.array(self.origin_um)) / self.side_um).astype(np.int64).T
        height, width = self.area.shape
        return np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)

    def count(self, xy: Float64) -> Float64:
        """Points per square, float64[row column]."""
        height, width = self.area.shape
        row, column = self.find(xy)
        return np.bincount(row * width + column, minlength=height * width).reshape(height, width).astype(np.float64)

    def density(self, counts: Float64) -> Float64:
        """Counts per mm² of window float64[row column], 0 in squares that are not used."""
        return np.divide(counts, self.area, out=np.zeros_like(self.area), where=self.use)


def lattice_over(window: Bool, raster: Raster, side_um: float) -> Lattice:
    """Squares over a window bool[h w] on `raster`.

    A corner lies at the window's centroid, so that moving the slide, or turning it by 90°, moves the squares along.
    """
    rows, columns = window.sum(1), window.sum(0)
    n = int(rows.sum())
    if n == 0:
        empty = np.zeros((1, 1))
        return Lattice(side_um=side_um, origin_um=(0.0, 0.0), area=empty, use=empty > 0)
    origin, shape = [], []
    for centers, weights in zip(raster.centers(), (columns, rows), strict=True):
        middle = float(centers @ weights) / n
        low, high = centers[np.flatnonzero(weights)[[0, -1]]] + np.array([-0.5, 0.5]) * raster.mpp
        first, last = (round((edge - middle) / side_um, 9) for edge in (low, high))
        origin.append(middle + math.floor(first) * side_um)
        shape.append(math.ceil(last) - math.floor(first))
    area = area_by_square(window, raster, (origin[0], origin[1]), (shape[1], shape[0]), side_um)
    use = area >= MIN_COVER * (side_um / 1000) ** 2 * (1 - 1e-6)
    return Lattice(side_um=side_um, origin_um=(origin[0], origin[1]), area=area, use=use)


def area_by_square(
    mask: Bool, raster: Raster, origin_um: tuple[float, float], shape: tuple[int, int], side_um: float
) -> Float64:
    """Area in mm² of a mask bool[h w] within each of `shape` squares from `origin_um`; pixels are split at lines."""
    across, down = (
        _overlap(centers, raster.mpp, corner, side_um, n)
        for centers, corner, n in zip(raster.centers(), origin_um, reversed(shape), strict=True)
    )
    sums = np.zeros((shape[0], mask.shape[1]), np.float32)
    for rows in blocks(len(mask)):
        sums += down[:, rows] @ mask[rows].astype(np.float32)
    return np.asarray((across @ sums.T).T, np.float64) * raster.pixel_mm2


def _overlap(centers: Float64, pixel: float, corner: float, side_um: float, n: int) -> sparse.csc_array:
    """Share of each pixel in each of `n` squares from `corner` along one axis: float32[square pixel]."""
    low, high = ((centers + sign * pixel / 2 - corner) / side_um for sign in (-1, 1))
    first = np.floor(np.round(low, 9)).astype(np.int64)
    square = np.concatenate([first + k for k in range(int(pixel // side_um) + 2)])
    at = np.arange(len(square)) % len(centers)
    part = (np.minimum(high[at], square + 1) - np.maximum(low[at], square)) * side_um / pixel
    inside = (square >= 0) & (square < n) & (part > 1e-9)
    values = part[inside].astype(np.float32)
    return sparse.coo_array((values, (square[inside], at[inside])), (n, len(centers))).tocsc()


def queen_sum(values: Float64, use: Bool, *, itself: bool = False) -> Float64:
    """Sum over the up to eight used squares around each square, with `itself` also over itself."""
    kernel = np.ones((3, 3)) if itself else _QUEEN
    return np.asarray(ndimage.convolve(np.where(use, values, 0.0), kernel, mode="constant"), np.float64)
