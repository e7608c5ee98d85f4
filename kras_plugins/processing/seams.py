"""Count each nucleus once where two adjoining tiles both report it.

A network sees other surroundings on each side of a seam, so the two tiles place a nucleus there slightly differently,
and its centroid may lie in both cores or in neither. Tiles therefore take cells a little beyond their core
(`placement.REACH_UM`), and of two reports of one nucleus the later tile's is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

from kras_plugins.processing.placement import REACH_UM, Placement

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from kras_plugins.data import Bool, Float32

    Rows = npt.NDArray[np.int64]

SAME_UM = 3.0
"""Two tiles' centroids this near are one nucleus: the smallest nuclei, of lymphocytes, are at least 5 µm wide."""


@dataclass(frozen=True, kw_only=True)
class Rim:
    """The cells of a tile that may be reported by a neighbor too; picklable.

    `tile`: the tile's column and row. `rows` int64[cell]: their places among its cells. `um` float32[cell 2]: their
    centroids (x, y) on the slide.
    """

    tile: tuple[int, int]
    rows: Rows
    um: Float32


def rim_of(cells: pa.RecordBatch, where: Placement) -> Rim:
    """The rim of one tile, whose `cells` are as `decoding.place` returns them."""
    um = np.array([cells["x_um"].to_numpy(), cells["y_um"].to_numpy()])
    low, high = np.array([where.low, where.high])[..., None] * np.array(where.mpp)[:, None]  # each [2 1]
    depth = REACH_UM + SAME_UM
    rows = np.flatnonzero(~np.all((um >= low + depth) & (um < high - depth), axis=0))
    return Rim(tile=where.tile, rows=rows, um=um[:, rows].T)


class Seams:
    """Remembers the rims of tiles, about a tenth of all cells: 8 bytes for each of those."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], Float32] = {}

    def again(self, rim: Rim) -> Rows:
        """The rows of those cells of one tile that lie within 3 µm of one kept from another tile, to be left out.

        All rims are of one grid; the order of calls decides whose report counts. A nucleus that two tiles place up to
        3 µm apart is kept once; cells of one tile are never compared.
        """
        around = ((rim.tile[0] + i, rim.tile[1] + j) for i, j in product((-1, 0, 1), repeat=2) if i or j)
        others = [np.empty((0, 2), np.float32), *(self._kept[tile] for tile in around if tile in self._kept)]
        apart = cdist(np.concatenate(others), rim.um, "sqeuclidean").min(axis=0, initial=np.inf)
        same: Bool = apart < SAME_UM**2
        self._kept[rim.tile] = rim.um[~same]
        return rim.rows[same]
