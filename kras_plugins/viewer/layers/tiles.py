"""Tiles of a bag in a drawing: which pixels they cover, averaged where they overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64, Int32
    from kras_plugins.viewer.layers.frame import Frame

    Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tiles:
    """`xy`: int32[tile 2], upper left corners, `size`: (width, height), level-0 pixels."""

    xy: Int32
    size: tuple[float, float]

    def __len__(self) -> int:
        return len(self.xy)

    def cover(self, frame: Frame, values: Whole, which: Bool | None = None) -> tuple[Whole, Whole]:
        """Sum of the values int64[tile] and number of the tiles that a pixel's center lies in: int64[h w] each.

        `which`: bool[tile], tiles to include. Sums of integers are exact, so that neighboring drawings agree.
        """
        x, y = self.xy.astype(np.float64).T
        left, top = (_first(at, n) for at, n in zip(frame.pixels(x, y), frame.size, strict=True))
        right, bottom = (
            _first(at, n) for at, n in zip(frame.pixels(x + self.size[0], y + self.size[1]), frame.size, strict=True)
        )
        here = (right > left) & (bottom > top)
        if which is not None:
            here &= which
        left, right, top, bottom, values = (one[here] for one in (left, right, top, bottom, values))
        width, height = frame.size
        changes = np.zeros((2, height + 1, width + 1), np.int64)
        for number, weights in enumerate((values, np.ones_like(values))):
            for rows, columns, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
                np.add.at(changes[number], (rows, columns), sign * weights)
        total, count = changes.cumsum(1, out=changes).cumsum(2, out=changes)[:, :-1, :-1]
        return total, count

    def find(self, x: float, y: float) -> int | None:
        """The tile that a point lies in, of several the one with the nearest center; None outside all tiles."""
        offset: Float64 = np.array([x, y]) - self.xy
        inside = np.flatnonzero(((offset >= 0) & (offset < np.array(self.size))).all(axis=1))
        if not len(inside):
            return None
        return int(inside[np.argmin(np.hypot(*(offset[inside] - np.array(self.size) / 2).T))])


def _first(edge: Float64, n: int) -> Whole:
    """The first of `n` pixels whose center lies at or beyond an edge."""
    return np.clip(np.ceil(edge - 0.5), 0, n).astype(np.int64)
