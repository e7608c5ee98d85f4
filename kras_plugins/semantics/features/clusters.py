"""Group L: clusters of lymphocytes, and those dense and large enough to represent tertiary lymphoid structures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy.spatial import ConvexHull, QhullError, cKDTree

from kras_plugins.semantics.view import View, ratio

if TYPE_CHECKING:
    from kras_plugins.data import Float64
    from kras_plugins.semantics.raster import Index

EPS_UM, MIN_CELLS = 30.0, 15
"""15 lymphocytes within 30 µm are 5,300/mm²: denser than infiltrates, looser than follicles (decision 8)."""
TLS_MM2, TLS_PER_MM2, TLS_SHARE = 0.0175, 3000.0, 0.7
"""A disk of 150 µm, and lymphocytes per mm² and their share of the nuclei in it: docs/reference/definitions.md, L."""
MAP_UM = 50.0


def clusters(view: View) -> dict[str, float]:
    """Group L of docs/reference/definitions.md. The structures are a proxy, not proven tertiary lymphoid structures.

    Clusters consist of lymphocytes in analyzed tissue. Those with at least half of their cells in the tumor area make
    up `til_cluster_*` and the indices, for which the tumor area's squares of 50 µm are the cluster map.
    """
    chosen = view.lymphocyte & (view.cell_tissue > 0)
    xy, in_ta = view.xy[chosen], view.in_ta[chosen]
    label = dense_clusters(xy)
    n = int(label.max(initial=-1)) + 1
    member = label >= 0
    sizes = np.bincount(label[member], minlength=n)
    in_tumor = np.bincount(label[member & in_ta], minlength=n) >= sizes / 2
    rank = np.where(in_tumor, np.cumsum(in_tumor) - 1, -1)
    own = np.where(member, rank[label] if n else -1, -1)
    size = sizes[in_tumor].astype(np.float64)
    return {
        **_structures(view, xy, label, n),
        "til_cluster_density": ratio(float(len(size)), view.area_ta),
        "til_cluster_size": float(size.mean()) if len(size) else math.nan,
        "til_cluster_size_cv": float(size.std(ddof=1) / size.mean()) if len(size) > 1 else math.nan,
        "til_ball_hall": ball_hall(xy[own >= 0], own[own >= 0]),
        "til_c_index": c_index(view, xy[own >= 0], own[own >= 0]),
    }


def dense_clusters(xy: Float64) -> Index:
    """Cluster of each point float64[point 2], -1 for none: DBSCAN (Ester et al., KDD 1996), 30 µm and 15 cells.

    Numbered from west to east by their first core point; a border point goes to the core point nearest to it.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    label = np.full(len(xy), -1, np.int64)
    if not len(xy):
        return label
    tree = cKDTree(xy)
    core = tree.query_ball_point(xy, EPS_UM, return_length=True) >= MIN_CELLS
    if not core.any():
        return label
    order = np.flatnonzero(core)[np.lexsort((xy[core, 1], xy[core, 0]))]
    centers = cKDTree(xy[order])
    i, j = centers.query_pairs(EPS_UM, output_type="ndarray").T
    n = len(order)
    _, found = connected_components(coo_array((np.ones(len(i), np.bool_), (i, j)), (n, n)), directed=False)
    distance, nearest = centers.query(xy, distance_upper_bound=EPS_UM * (1 + 1e-12))
    near = np.isfinite(distance)
    label[near] = found[nearest[near]]
    return label


def _structures(view: View, xy: Float64, label: Index, n: int) -> dict[str, float]:
    """Count, density, area and distance from epithelium of the clusters that qualify as lymphoid structures."""
    members = np.argsort(label, kind="stable")
    ends = np.searchsorted(label[members], np.arange(n + 1))
    everything: cKDTree | None = None
    cells = view.xy[view.cell_tissue > 0]
    area, distance = [], []
    for k in range(n):
        points = xy[members[ends[k] : ends[k + 1]]]
        if np.prod(np.ptp(points, axis=0)) < TLS_MM2 * 1e6:
            continue  # not even its bounding box is large enough
        try:
            hull = ConvexHull(points)
        except QhullError:  # all on one line
            continue
        mm2 = hull.volume / 1e6
        if mm2 < TLS_MM2 or len(points) < TLS_PER_MM2 * mm2:
            continue
        if everything is None:
            everything = cKDTree(cells)
        middle = points.mean(axis=0)
        reach = float(np.linalg.norm(points - middle, axis=1).max())
        near = cells[everything.query_ball_point(middle, reach * (1 + 1e-9))]
        inside = np.all(near @ hull.equations[:, :2].T + hull.equations[:, 2] <= 1e-6, axis=1)
        if len(points) < TLS_SHARE * np.count_nonzero(inside):
            continue
        row, column, _ = view.raster.find(middle[:1], middle[1:])
        area.append(mm2)
        distance.append(max(0.0, float(view.signed_um[row[0], column[0]])))
    known = [d for d in distance if math.isfinite(d)]
    return {
        "tls_count": float(len(area)),
        "tls_density": ratio(float(len(area)), view.area_ta),
        "tls_area_share": ratio(sum(area), view.area_ta),
        "tls_ce_distance": float(np.median(known)) if known else math.nan,
    }


def ball_hall(xy: Float64, label: Index) -> float:
    """Mean over clusters of the mean squared distance in µm² of members from their center (Ball & Hall 1965)."""
    if not len(label):
        return math.nan
    n = np.bincount(label).astype(np.float64)
    squares = np.zeros(len(n))
    for axis in (0, 1):
        center = np.bincount(label, xy[:, axis]) / n
        squares += np.bincount(label, (xy[:, axis] - center[label]) ** 2)
    return float(np.mean(squares / n))


def c_index(view: View, xy: Float64, label: Index) -> float:
    """C-index of the cluster map: 0 when clusters are as tight as can be, 1 when as loose (Hubert & Levin 1976).

    (S - Smin) / (Smax - Smin): S is the sum of distances between squares of one cluster; Smin and Smax are the sums of
    as many smallest and largest distances between any two squares. A square belongs to the cluster with most cells in
    it. NaN with fewer than two clusters of squares, or if all squares belong to one cluster.
    """
    lattice = view.lattice(MAP_UM)
    row, column = lattice.find(xy)
    width = lattice.area.shape[1]
    pair, cells = np.unique(np.stack([row * width + column, label]), axis=1, return_counts=True)
    order = np.lexsort((pair[1], -cells, pair[0]))
    square, first = np.unique(pair[0, order], return_index=True)
    owner = pair[1, order][first]
    if len(np.unique(owner)) < 2:
        return math.nan
    within, n_within = 0.0, 0
    by_owner = np.argsort(owner, kind="stable")
    for own in np.split(square[by_owner], np.flatnonzero(np.diff(owner[by_owner])) + 1):
        length, count = square_distances(own // width, own % width)
        within += float(length @ count)
        n_within += int(count.sum())
    length, count = square_distances(square // width, square % width)
    smallest, largest = (_sum_of_first(length[::step], count[::step], n_within) for step in (1, -1))
    return ratio(within - smallest, largest - smallest) if n_within else math.nan


def square_distances(row: Index, column: Index) -> tuple[Float64, Float64]:
    """Distances between squares, shortest first, and how many unordered pairs have each.

    By the autocorrelation of the occupied squares: the cost depends on their extent, not on the number of pairs.
    """
    row, column = row - row.min(), column - column.min()
    shape = (int(row.max()) + 1, int(column.max()) + 1)
    occupied = np.zeros(shape)
    occupied[row, column] = 1
    size = [fft.next_fast_len(2 * n - 1, real=True) for n in shape]
    spectrum = fft.rfft2(occupied, size)
    pairs = np.rint(fft.irfft2(spectrum * np.conj(spectrum), size))
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) for n in size)
    squared = (y[:, None] ** 2 + x[None, :] ** 2)[pairs > 0]
    distances, at = np.unique(squared, return_inverse=True)
    count = np.bincount(at.ravel(), pairs[pairs > 0]) / 2
    return np.sqrt(distances[1:]), count[1:]  # the first is each square with itself


def _sum_of_first(length: Float64, count: Float64, n: int) -> float:
    """Sum of the first `n` of lengths that occur `count` times each."""
    before = np.cumsum(count) - count
    return float(length @ np.clip(n - before, 0, count))
