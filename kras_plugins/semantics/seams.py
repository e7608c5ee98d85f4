"""Each nucleus once: what two tiles both report where they adjoin.

A network sees other surroundings on each side of a seam, so a nucleus there is not found at quite the same place twice
and its centroid may lie in both cores or in neither. Tiles therefore take cells a little beyond their core
(`collect.REACH_UM`), and of two reports of one nucleus the later tile's is dropped.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy.spatial import cKDTree

from kras_plugins.semantics.collect import REACH_UM, Placement

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float32

SAME_UM = 3.0
"""Two tiles' centroids this near are one nucleus: the smallest nuclei, of lymphocytes, are 5 µm wide and more."""


class Seams:
    """Remembers the cells near the edges of tiles, about a tenth of all: 8 bytes for each of those."""

    def __init__(self) -> None:
        self._near_edge: dict[tuple[int, int], Float32] = {}

    def once(self, cells: pa.RecordBatch, where: Placement) -> pa.RecordBatch:
        """The cells of one tile without those that lie within 3 µm of one kept from another tile.

        `cells` as `collect.place` gives them, all tiles of one grid; the order of calls decides whose report counts.
        A nucleus that two tiles place up to 3 µm apart is kept once; cells of one tile are never compared.
        """
        xy = np.stack([cells["x_um"].to_numpy(), cells["y_um"].to_numpy()], axis=1)
        edge = np.flatnonzero(_near_edge(xy, where))
        others = self._others(where.tile)
        if len(others) and len(edge):
            far = np.isinf(cKDTree(others).query(xy[edge], distance_upper_bound=SAME_UM)[0])
            kept = np.ones(len(xy), np.bool_)
            kept[edge[~far]] = False
            cells, edge = cells.filter(pa.array(kept)), edge[far]
        self._near_edge[where.tile] = xy[edge]
        return cells

    def _others(self, tile: tuple[int, int]) -> Float32:
        around = [(tile[0] + i, tile[1] + j) for i, j in product((-1, 0, 1), repeat=2) if i or j]
        return np.concatenate(
            [np.empty((0, 2), np.float32), *(self._near_edge[t] for t in around if t in self._near_edge)]
        )


def _near_edge(xy_um: Float32, where: Placement) -> Bool:
    """bool[cell]: those that a cell which a neighbor takes may be near enough to."""
    depth = REACH_UM + SAME_UM
    low, high = np.array(where.low) * where.mpp + depth, np.array(where.high) * where.mpp - depth
    return np.asarray(~np.all((xy_um >= low) & (xy_um < high), axis=1))
