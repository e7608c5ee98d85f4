"""Group I: the graph of touching tumor cells and lymphocytes, and how the two mix in it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from kras_plugins.semantics.delaunay import Mesh, mesh
from kras_plugins.semantics.view import View, ratio

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64

EDGE_UM = 35.0
NEIGHBORS = 10
COMPONENT_CELLS = 20
MIN_VORONOI = 30
_ROWS = 200_000


def graph(view: View) -> dict[str, float]:
    """Group I of docs/reference/definitions.md: Delaunay triangulation of tumor cells and lymphocytes in the tumor
    area, edges over 35 µm removed. Other cells are left out: not every source distinguishes them."""
    chosen = np.flatnonzero((view.tumor | view.lymphocyte) & view.in_ta)
    # Sorted by position, so that the order of cells does not matter, not even for cells at one position.
    chosen = chosen[np.lexsort((view.tumor[chosen], view.xy[chosen, 1], view.xy[chosen, 0]))]
    xy, is_tumor = view.xy[chosen], view.tumor[chosen]
    triangles = mesh(xy, EDGE_UM, view.inside_ta)
    i, j = triangles.edges.T
    counts = edge_counts(is_tumor, triangles)
    tt, ll, tl = counts
    n_edges = float(len(i))
    adjacency = sparse.coo_array(
        (np.ones(2 * len(i), np.int32), (np.r_[i, j], np.r_[j, i])), (len(xy), len(xy))
    ).tocsr()
    degree = np.diff(adjacency.indptr)
    sizes = component_sizes(adjacency, ~is_tumor)
    cells = triangles.voronoi_um2[is_tumor & ~np.isnan(triangles.voronoi_um2)]
    lengths = triangles.lengths
    return {
        "assortativity": assortativity(*counts),
        "edge_tt": ratio(tt, n_edges),
        "edge_ll": ratio(ll, n_edges),
        "edge_tl": ratio(tl, n_edges),
        "mixing": ratio(tl, ll),
        "nhood_excess_tl": contact_excess(tl, n_edges, len(xy), int(is_tumor.sum())),
        "degree_t": float(degree[is_tumor].mean()),
        "edge_mean": float(lengths.mean()) if len(lengths) else math.nan,
        "edge_cv": ratio(float(lengths.std()), float(lengths.mean())) if len(lengths) else math.nan,
        "clustering": clustering(adjacency),
        "l_component_max": ratio(float(sizes.max(initial=0)), float(sizes.sum())),
        "l_components": ratio(float(np.count_nonzero(sizes >= COMPONENT_CELLS)), view.area_ta),
        "voronoi_cv_t": float(cells.std() / cells.mean()) if len(cells) >= MIN_VORONOI else math.nan,
        "knn_l_of_t": lymphocytes_near(xy, is_tumor),
    }


def edge_counts(is_tumor: Bool, triangles: Mesh) -> tuple[float, float, float]:
    """Edges between two tumor cells, two lymphocytes, and one of each."""
    both = is_tumor[triangles.edges].sum(axis=1)
    return tuple(float(np.count_nonzero(both == k)) for k in (2, 0, 1))  # type: ignore[return-value]


def assortativity(tt: float, ll: float, tl: float) -> float:
    """Newman's r = (Tr e - Σ a²) / (1 - Σ a²) of the two kinds (Phys Rev E 2003;67:026126): 0 at random, 1 apart."""
    total = tt + ll + tl
    if total == 0:
        return math.nan
    a = (tt + tl / 2) / total
    squares = a * a + (1 - a) * (1 - a)
    return ratio((tt + ll) / total - squares, 1 - squares)


def contact_excess(tl: float, edges: float, n: int, n_tumor: int) -> float:
    """Edges between the kinds over their mean when kinds are assigned to the cells at random, minus 1.

    0 at random, -1 where they never touch. The mean over all permutations is that of a single edge (Cliff & Ord 1981,
    non-free sampling). A z-score would instead grow with the square root of the number of edges.
    """
    mean = edges * 2 * n_tumor * (n - n_tumor) / (n * (n - 1.0)) if n > 1 else 0.0
    return ratio(tl - mean, mean)


def clustering(adjacency: sparse.csr_array) -> float:
    """Mean over cells with two neighbors or more of the share of their neighbors' pairs that are neighbors.

    Watts & Strogatz 1998. Computed in blocks of rows, so that the squared graph is never in memory as a whole.
    """
    total, n = 0.0, 0
    for start in range(0, adjacency.shape[0], _ROWS):
        rows = adjacency[start : start + _ROWS]
        degree = np.diff(rows.indptr).astype(np.float64)
        closed = (rows @ adjacency).multiply(rows).sum(axis=1)
        some = degree >= 2
        total += float(np.sum(closed[some] / (degree[some] * (degree[some] - 1))))
        n += int(np.count_nonzero(some))
    return ratio(total, float(n))


def component_sizes(adjacency: sparse.csr_array, kind: Bool) -> Float64:
    """Cells in each connected component of one kind's subgraph."""
    own = adjacency[kind][:, kind]
    return np.bincount(sparse.csgraph.connected_components(own, directed=False)[1]).astype(np.float64)


def lymphocytes_near(xy: Float64, is_tumor: Bool) -> float:
    """Mean number of lymphocytes among the ten cells nearest to a tumor cell."""
    tree = cKDTree(xy)
    tumor = xy[is_tumor]
    k = min(NEIGHBORS + 1, len(xy))
    found = 0
    for start in range(0, len(tumor), _ROWS):
        nearest = tree.query(tumor[start : start + _ROWS], k)[1]
        found += int(np.count_nonzero(~is_tumor[nearest]))
    return found / len(tumor)
