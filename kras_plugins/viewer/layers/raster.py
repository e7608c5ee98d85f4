"""A raster of classes with a class for any point: the same as in the polygons that are traced from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64, UInt8


@dataclass(frozen=True, eq=False)
class ClassRaster:
    """`codes`: uint8[h w], 0 is nothing; `step`: (x, y) size of a raster pixel, `origin`: its corner, level-0 px.

    Between four pixel centers the class is that of the polygons of `semantics/polygons.trace` (marching squares), which
    QuPath draws from our GeoJSON: corners are cut, and classes that meet only in a point are not joined.
    """

    codes: UInt8
    step: tuple[float, float]
    origin: tuple[float, float] = (0.0, 0.0)

    def at(self, x: Float64, y: Float64) -> UInt8:
        """Classes uint8[row column] at the points of a grid: x float64[column], y float64[row] in level-0 pixels."""
        column, beside, across = _nearest(x, self.origin[0], self.step[0], self.codes.shape[1])
        row, below, along = _nearest(y, self.origin[1], self.step[1], self.codes.shape[0])
        rows, others = self._padded[row], self._padded[below]
        own, side, under = rows[:, column], rows[:, beside], others[:, column]
        corner = np.add.outer(along, across) > 0.5  # beyond the line that cuts off this pixel's corner
        lone = corner & (own != side) & (own != under)
        found: UInt8 = own
        if lone.any():
            opposite = others[:, beside]
            found = np.where(lone, np.where((side == under) & (under == opposite), side, np.uint8(0)), own)
        return found

    @cached_property
    def _padded(self) -> UInt8:
        return np.pad(self.codes, 1)


def _nearest(
    at: Float64, origin: float, step: float, n: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Float64]:
    """Along one axis of the padded raster: the nearest pixel, the next nearest, and how far the nearest center is."""
    place = np.clip((at - origin) / step - 0.5, -1, n)
    low = np.minimum(np.floor(place), n - 1)
    part = place - low
    upper = part >= 0.5
    first = (low + upper).astype(np.intp) + 1
    second = (low + ~upper).astype(np.intp) + 1
    return first, second, np.where(upper, 1 - part, part)
