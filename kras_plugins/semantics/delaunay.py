"""Delaunay triangulation of any number of cells, strip by strip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import Delaunay, QhullError

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64
    from kras_plugins.semantics.raster import Index

STRIP_CELLS = 250_000
HALO_UM = 300.0
"""An edge across a strip's border is correct if its empty circle has less than this radius: all edges are, except those
of cells at the rim of a wide empty space."""


@dataclass(frozen=True)
class Mesh:
    """`edges`: int64[edge 2] indices of neighbors, the smaller first; `lengths`: float64[edge] in µm.

    `voronoi_um2`: float64[cell], the area nearer to each cell than to any other; NaN where it extends beyond the
    window.
    """

    edges: Index
    lengths: Float64
    voronoi_um2: Float64


def mesh(xy: Float64, longest_um: float, inside: Callable[[Float64], Bool]) -> Mesh:
    """Neighbors up to `longest_um` apart, and Voronoi areas, of cells float64[cell 2] in µm sorted by x, then y.

    `inside` returns for points float64[point 2] whether they lie in the window. Strips of 250,000 cells with 300 µm
    more on both sides bound the memory. Of several cells at one position, one is in the mesh.
    """
    n = len(xy)
    edges, areas = [np.zeros((0, 2), np.int64)], np.full(n, np.nan)
    for start in range(0, n, STRIP_CELLS):
        stop = min(start + STRIP_CELLS, n)
        reach = (xy[start, 0] - HALO_UM, xy[stop - 1, 0] + HALO_UM)
        low, high = np.searchsorted(xy[:, 0], reach[0]), np.searchsorted(xy[:, 0], reach[1], side="right")
        part = xy[low:high] - xy[low]
        try:
            found = Delaunay(part)
        except QhullError:  # fewer than three cells, or all on one line: no triangle
            continue
        triangles = found.simplices.astype(np.int64)
        edges.append(_edges(part, triangles, longest_um, start - low, stop - low) + low)
        whole = _voronoi(part, triangles, xy[low], inside)
        whole[found.convex_hull] = np.nan
        areas[start:stop] = whole[start - low : stop - low]
    joined = np.concatenate(edges)
    return Mesh(joined, np.linalg.norm(xy[joined[:, 0]] - xy[joined[:, 1]], axis=1), areas)


def _edges(xy: Float64, triangles: Index, longest_um: float, start: int, stop: int) -> Index:
    """Edges up to a length whose first cell is in start:stop, each once."""
    pairs = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    pairs = pairs[(pairs[:, 0] >= start) & (pairs[:, 0] < stop)]
    pairs = pairs[np.sum((xy[pairs[:, 0]] - xy[pairs[:, 1]]) ** 2, axis=1) <= longest_um**2]
    key = np.sort(pairs[:, 0] * len(xy) + pairs[:, 1])
    key = key[np.diff(key, prepend=-1) > 0]  # as np.unique, but in a tenth of its time
    return np.stack([key // len(xy), key % len(xy)], axis=1)


def _voronoi(xy: Float64, triangles: Index, origin: Float64, inside: Callable[[Float64], Bool]) -> Float64:
    """Voronoi areas float64[cell]: each triangle gives each corner the part between it, edges' middles and its center.

    These parts are signed, so that they are also correct where the center lies outside its triangle. NaN for cells with
    a Voronoi corner (a triangle's circumcenter) outside the window, and for those in no triangle.
    """
    a, b, c = (xy[triangles[:, k]] for k in range(3))
    ab, ac = b - a, c - a
    turn = 2 * (ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0])
    flat = np.abs(turn) < 1e-9
    turn[flat] = 1.0
    ab2, ac2 = np.sum(ab**2, axis=1), np.sum(ac**2, axis=1)
    center = a + np.stack([ac[:, 1] * ab2 - ab[:, 1] * ac2, ab[:, 0] * ac2 - ac[:, 0] * ab2], axis=1) / turn[:, None]
    out = flat | ~inside(np.where(flat[:, None], 0.0, center) + origin)
    area, bad = np.zeros(len(xy)), np.ones(len(xy), np.bool_)
    bad[triangles] = False
    sign = np.sign(turn)
    for corner, right, left in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        here, one, two = (xy[triangles[:, k]] for k in (corner, right, left))
        to, first, second = center - here, (one - here) / 2, (two - here) / 2
        part = _cross(first, to) + _cross(to, second)
        area += np.bincount(triangles[:, corner], np.where(out, 0.0, sign * part / 2), minlength=len(xy))
        bad[triangles[out, corner]] = True
    return np.where(bad, np.nan, area)


def _cross(a: Float64, b: Float64) -> Float64:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
