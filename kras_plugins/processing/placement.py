"""Where the tiles of a grid lie on a slide, and where each takes its cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kras_plugins.data import Float64, TileGrid

REACH_UM = 2.0
"""How far beyond its core a tile takes cells where another tile adjoins; `seams.Seams` counts each nucleus once."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a tile lies; picklable.

    `frame`: size of the field of view in level-0 pixels, None on a slide. `tile`: its column and row, counted from
    the grid's first tile. `low`, `high`: corners of its core in level-0 pixels, `low` inside and `high` outside
    (cores of neighbors share the edge). `take_low`, `take_high`: the same, grown by REACH_UM on the sides where
    another tile adjoins: there its cells are taken. `corner`: level-0 position of the tile's first pixel's corner,
    halo included. `scale`: level-0 pixels per tile pixel. `mpp`: µm per level-0 pixel. All (x, y).
    """

    tile: tuple[int, int]
    low: tuple[float, float]
    high: tuple[float, float]
    take_low: tuple[float, float]
    take_high: tuple[float, float]
    corner: tuple[float, float]
    scale: tuple[float, float]
    mpp: tuple[float, float]
    frame: tuple[float, float] | None = None


def placement(grid: TileGrid, index: int, mpp: tuple[float, float]) -> Placement:
    """Where tile `index` of a grid lies on a slide of `mpp` µm per level-0 pixel (x, y)."""
    return Placements(grid, mpp)[index]


class Placements:
    """Where each tile of a grid lies on a slide of `mpp` µm per level-0 pixel (x, y).

    Corners in a grid are rounded and sizes are not; the core therefore ends where the next tile begins. `frame`: as of
    Placement.
    """

    def __init__(self, grid: TileGrid, mpp: tuple[float, float], frame: tuple[float, float] | None = None) -> None:
        self._frame = frame
        scale = np.array(grid.size) / grid.spec.px
        low = grid.xy.astype(np.float64)
        high = np.stack([_ends(low[:, axis], grid.size[axis]) for axis in (0, 1)], axis=1)
        self._tile = np.rint((grid.xy - grid.xy[:1]) / grid.size).astype(np.int64)
        there = set(map(tuple, self._tile.tolist()))
        sides = [
            [at in there for at in ((x - 1, y), (x, y - 1), (x + 1, y), (x, y + 1))] for x, y in self._tile.tolist()
        ]
        before, after = np.reshape(sides, (-1, 2, 2)).swapaxes(0, 1) * (REACH_UM / np.array(mpp))
        self._corners = np.stack([low, high, low - before, high + after, low - grid.spec.halo_px * scale], axis=1)
        self._scale, self._mpp = tuple(scale.tolist()), mpp

    @property
    def cut(self) -> bool:
        """Whether the tiles are those of a field of view, beyond whose edge nothing is seen."""
        return self._frame is not None

    def __getitem__(self, index: int) -> Placement:
        low, high, take_low, take_high, corner = map(tuple, self._corners[index].tolist())
        return Placement(
            tile=tuple(self._tile[index].tolist()),
            low=low,
            high=high,
            take_low=take_low,
            take_high=take_high,
            corner=corner,
            scale=self._scale,
            mpp=self._mpp,
            frame=self._frame,
        )


def _ends(starts: Float64, size: float) -> Float64:
    """Where the cores with these starts end: where the next one starts, if one does within rounding."""
    known, which = np.unique(starts, return_inverse=True)
    gap = np.abs(np.append(known, np.inf) - (known + size)[:, None])
    nearest = gap.argmin(axis=1)
    ends = np.where(gap.min(axis=1) <= 1, np.append(known, np.inf)[nearest], known + size)
    return np.asarray(ends[which])


def taken(where: Placement) -> tuple[tuple[float, float], tuple[float, float]]:
    """Corners of the rectangle around the centroids of all cells that `place` takes, in the tile's coordinates.

    It is a pixel larger on each side, so that rounding leaves none out.
    """
    (left, top), (right, bottom) = (
        [(x - corner) / scale - 0.5 for x, corner, scale in zip(at, where.corner, where.scale, strict=True)]
        for at in (where.take_low, where.take_high)
    )
    return (left - 1, top - 1), (right + 1, bottom + 1)
