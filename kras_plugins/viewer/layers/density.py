"""How many cells of each class lie in each pixel at low magnification: counted once, for every level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.viewer.geometry import Pyramid

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import UInt8
    from kras_plugins.viewer.layers.cell_index import CellIndex
    from kras_plugins.viewer.layers.frame import Frame

    Counts = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

DENSITY_UM = 6.0
"""Pixels from this width show densities: cells are then smaller than a visible dot."""
_CELL_UM2 = 150.0
"""Area per cell that sets the opacity: at 6,700 cells per mm² the color is two thirds opaque."""
_MOST_COUNTS = 1 << 25


@dataclass(frozen=True, eq=False)
class Density:
    """`codes`: uint8[class], the classes present; `levels`: counts[class row column] by level, finest first.

    `side`: of the finest bin in display pixels, a power of two, so that bins are pixels of the viewer's levels; `um`:
    its width in µm; `scale`: display pixels per level-0 pixel along x and y.
    """

    codes: UInt8
    levels: tuple[Counts, ...]
    side: int
    um: float
    scale: tuple[float, float]

    @classmethod
    def of(cls, cells: CellIndex, pyramid: Pyramid) -> Density:
        """Count the cells; the finest bins are wider if the slide is too large for 32 million counts."""
        codes = np.unique(cells.code)
        side = 1
        while pyramid.mpp * side < DENSITY_UM or _bins(pyramid, side) * max(len(codes), 1) > _MOST_COUNTS:
            side *= 2
        width, height = (-(-n // side) for n in pyramid.display)
        column = np.clip(cells.x * np.float64(pyramid.scale[0] / side), 0, width - 1).astype(np.int64)
        row = np.clip(cells.y * np.float64(pyramid.scale[1] / side), 0, height - 1).astype(np.int64)
        flat, finest = row * width + column, np.empty((len(codes), height, width), np.uint16)
        for number, code in enumerate(codes.tolist()):
            counted = np.bincount(flat[cells.code == code], minlength=width * height).reshape(height, width)
            finest[number] = np.minimum(counted, np.iinfo(np.uint16).max)
        levels: list[Counts] = [finest]
        while max(levels[-1].shape[1:]) > 1:
            levels.append(_halved(levels[-1]))
        return cls(codes, tuple(levels), side, pyramid.mpp * side, pyramid.scale)

    def draw(self, frame: Frame, colors: UInt8, wanted: UInt8) -> UInt8:
        """RGBA uint8[h w 4]: the color of the most common of the `wanted` classes, more opaque with more cells.

        `colors`: RGBA uint8[code 4].
        """
        bins = self.scale[0] / frame.scale[0] / self.side  # width of a pixel
        level = int(np.clip(np.floor(np.log2(max(bins, 1.0)) + 1e-6), 0, len(self.levels) - 1))
        kept = np.flatnonzero(np.isin(self.codes, wanted))
        rgba = np.zeros((*frame.size[::-1], 4), np.uint8)
        if not len(kept):
            return rgba
        counts = self.levels[level]
        places = [
            np.floor(at * (scale / (self.side << level))).astype(np.int64)
            for at, scale in zip(frame.centers(), self.scale, strict=True)
        ]
        (columns, on_x), (rows, on_y) = (
            (np.clip(place, 0, n - 1), (place >= 0) & (place < n))
            for place, n in zip(places, counts.shape[:0:-1], strict=True)
        )
        most = counts[kept[0]][np.ix_(rows, columns)].astype(np.int64)
        total, first = most.copy(), np.full(most.shape, self.codes[kept[0]], np.uint8)
        for number in kept[1:].tolist():
            here = counts[number][np.ix_(rows, columns)]
            total += here
            more = here > most
            first[more] = self.codes[number]
            np.maximum(most, here, out=most)
        rgba[:] = colors[first]
        alpha = 255 * -np.expm1(-total * (_CELL_UM2 / (self.um * (1 << level)) ** 2))
        rgba[..., 3] = np.rint(np.where(np.logical_and.outer(on_y, on_x), alpha, 0))
        return rgba


def _bins(pyramid: Pyramid, side: int) -> int:
    width, height = (-(-n // side) for n in pyramid.display)
    return width * height


def _halved(counts: Counts) -> npt.NDArray[np.uint32]:
    """Sums over two by two bins."""
    height, width = counts.shape[1:]
    even = np.pad(counts.astype(np.uint32), ((0, 0), (0, height % 2), (0, width % 2)))
    rows = even[:, ::2] + even[:, 1::2]
    return np.asarray(rows[:, :, ::2] + rows[:, :, 1::2])
