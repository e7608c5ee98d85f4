"""The raster of a slide's tissue classes, and functions that bring data onto it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float32, Float64, TileGrid, UInt8

    Index = npt.NDArray[np.int64]

PIXEL_UM = 4.0
"""The pixel size for every slide: margins are longer on finer pixels, so slides with different sizes would differ."""
BLOCK_ROWS = 1024
"""Rows of a raster processed at once, where a whole array of wide numbers would take too much memory."""


@dataclass(frozen=True, kw_only=True)
class Raster:
    """`shape` (rows, columns) of square pixels of `mpp` µm, upper left corner at `origin_um` (x, y)."""

    shape: tuple[int, int]
    mpp: float
    origin_um: tuple[float, float] = (0.0, 0.0)

    @property
    def pixel_mm2(self) -> float:
        """Area of one pixel in mm²."""
        return (self.mpp / 1000) ** 2

    def find(self, x_um: Float64 | Float32, y_um: Float64 | Float32) -> tuple[Index, Index, Bool]:
        """Rows and columns of points, moved to the nearest pixel, and whether each lies on the raster."""
        column = np.floor((np.asarray(x_um, np.float64) - self.origin_um[0]) / self.mpp).astype(np.int64)
        row = np.floor((np.asarray(y_um, np.float64) - self.origin_um[1]) / self.mpp).astype(np.int64)
        height, width = self.shape
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        return np.clip(row, 0, height - 1), np.clip(column, 0, width - 1), inside

    def centers(self) -> tuple[Float64, Float64]:
        """Coordinates in µm of the pixel centers: x float64[column], y float64[row]."""
        x, y = (np.asarray((np.arange(n) + 0.5) * self.mpp, np.float64) for n in reversed(self.shape))
        return x + self.origin_um[0], y + self.origin_um[1]

    def count(self, x_um: Float64 | Float32, y_um: Float64 | Float32) -> Float32:
        """Points per pixel, float32[row column]; points off the raster are left out."""
        row, column, inside = self.find(x_um, y_um)
        counts = np.zeros(self.shape, np.float32)
        np.add.at(counts.reshape(-1), row[inside] * self.shape[1] + column[inside], np.float32(1))
        return counts


@dataclass(frozen=True, kw_only=True)
class Patch:
    """What one tile gives for the slide's raster, first pixel at (`row`, `column`); None for what it does not give.

    `tissue`: classes, uint8[h w]; `unlike`: bool[h w], where tissue is unlike what the profiler learned from.
    """

    row: int
    column: int
    tissue: UInt8 | None = None
    unlike: Bool | None = None


def raster_over(width_um: float, height_um: float) -> Raster:
    """A raster over a whole slide of this size."""
    return Raster(shape=(math.ceil(height_um / PIXEL_UM), math.ceil(width_um / PIXEL_UM)), mpp=PIXEL_UM)


def blocks(height: int) -> Iterator[slice]:
    """Slices of up to 1,024 rows that cover `height`."""
    return (slice(first, min(first + BLOCK_ROWS, height)) for first in range(0, height, BLOCK_ROWS))


def pixels_of(labels: npt.NDArray[np.integer[Any]], n: int) -> Index:
    """How many pixels have each label 0 ... `n` - 1: int64[label]; in blocks, as bincount takes 8 bytes per pixel."""
    return sum((np.bincount(labels[rows].ravel(), minlength=n) for rows in blocks(len(labels))), np.zeros(n, np.int64))


def touching(mask: Bool) -> Bool:
    """The mask bool[h w] and the pixels that share a side with one of its pixels."""
    result = mask.copy()
    result[1:] |= mask[:-1]
    result[:-1] |= mask[1:]
    result[:, 1:] |= mask[:, :-1]
    result[:, :-1] |= mask[:, 1:]
    return result


def resample_mask(mask: Bool, size_um: tuple[float, float], raster: Raster) -> Bool:
    """A mask bool[h w] that covers a slide of `size_um` (width, height) from its corner, on `raster` (nearest)."""
    x, y = raster.centers()
    height, width = mask.shape
    column = np.clip((x / size_um[0] * width).astype(np.int64), 0, width - 1)
    row = np.clip((y / size_um[1] * height).astype(np.int64), 0, height - 1)
    outside = np.add.outer((y < 0) | (y >= size_um[1]), (x < 0) | (x >= size_um[0]))
    return np.asarray(mask[np.ix_(row, column)] & ~outside, dtype=np.bool_)


def covered(grid: TileGrid, mpp: tuple[float, float], raster: Raster) -> Bool:
    """Which pixels' centers lie in a tile of the grid (halo excluded); `mpp`: µm per level-0 pixel along x and y."""
    x, y = raster.centers()
    result = np.zeros(raster.shape, np.bool_)
    for corner in grid.xy:
        columns, rows = (
            slice(*np.searchsorted(axis, [start * unit, (start + side) * unit]))
            for axis, start, side, unit in zip((x, y), corner.tolist(), grid.size, mpp, strict=True)
        )
        result[rows, columns] = True
    return result
