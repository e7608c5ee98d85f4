"""Group K: how many nests the cancer epithelium forms, how large and of what shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

from kras_plugins.semantics.crofton import perimeters
from kras_plugins.semantics.features.phenotype import gini
from kras_plugins.semantics.raster import pixels_of, touching
from kras_plugins.semantics.view import View, ratio

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64, Int32

MIN_COMPONENT_UM2 = 968.2
TFI_HIGH = 35.0
"""Smallest component counted, and components per mm² from which a tumor is fragmented: Kim et al., J Immunother
Cancer 2023;11(Suppl 1):A1436."""
LUMEN_UM2 = (200.0, 50_000.0)
BOXES_UM = (32.0, 64.0, 128.0, 256.0, 512.0)
_SHAPES = ("ce_component_p50", "ce_component_gini", "ce_largest_share", "ce_solidity", "ce_circularity")


def architecture(view: View) -> dict[str, float]:
    """Group K of docs/reference/definitions.md, from the pixels of cancer epithelium and what surrounds them."""
    epithelium = view.cut(view.pixels("cancer_epithelium"), margin=1)
    stroma = view.cut(view.pixels("cancer_stroma"), margin=1)
    analysed = view.cut(view.semantic.analysed, margin=1)
    clear = analysed & (view.cut(view.tissue, margin=1) == 0)
    mpp = view.raster.mpp
    labels, sizes = components(epithelium, stroma, mpp)
    n = float(len(sizes))
    tfi = ratio(n, view.area_ta)
    in_stroma = view.signed_um[view.pixels("cancer_stroma")]
    in_stroma = in_stroma[np.isfinite(in_stroma)]
    return {
        "n_ce_components": n,
        "tfi": tfi,
        **fragmented({"tfi": tfi}),
        **_shapes(labels, sizes, mpp),
        "nest_width": nest_width(epithelium, analysed) * mpp,
        "interface_fractal": fractal_dimension(epithelium & touching(stroma), mpp),
        "lumen_share": lumens(clear, epithelium, mpp) / (view.area("cancer_epithelium") * 1e6),
        "stroma_width": float(np.median(in_stroma)) if len(in_stroma) else math.nan,
    }


def fragmented(values: dict[str, float]) -> dict[str, float]:
    """`tfi_high` of a slide or patient from its `tfi`; NaN where that is."""
    return {"tfi_high": math.nan if math.isnan(values["tfi"]) else float(values["tfi"] >= TFI_HIGH)}


def components(epithelium: Bool, stroma: Bool, mpp: float) -> tuple[Int32, Float64]:
    """Labels int32[h w] from 1 of connected epithelium (4 neighbors), and the pixels of each, float64[component].

    Components under 968.2 µm² or without contact with stroma are dropped (0). Nests that touch only at corners are
    separate, like polygons that come near each other.
    """
    labels, n = ndimage.label(epithelium)
    sizes = pixels_of(labels, n + 1)
    kept = np.zeros(n + 1, np.bool_)
    kept[np.unique(labels[touching(stroma)])] = True
    kept &= sizes * mpp**2 >= MIN_COMPONENT_UM2
    kept[0] = False
    new = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return new[labels], sizes[kept].astype(np.float64)


def _shapes(labels: Int32, sizes: Float64, mpp: float) -> dict[str, float]:
    """Sizes in mm² and shapes of components; shapes are averaged with areas as weights."""
    if not len(sizes):
        return dict.fromkeys(_SHAPES, math.nan)
    perimeter, hull = perimeters(labels, len(sizes)), hull_areas(labels, len(sizes))
    return {
        "ce_component_p50": float(np.median(sizes)) * (mpp / 1000) ** 2,
        "ce_component_gini": gini(sizes),
        "ce_largest_share": float(sizes.max() / sizes.sum()),
        "ce_solidity": float(np.average(sizes / hull, weights=sizes)),
        "ce_circularity": float(np.average(4 * math.pi * sizes / perimeter**2, weights=sizes)),
    }


def hull_areas(labels: Int32, n: int) -> Float64:
    """Area in pixels of the convex hull of each component's pixels (their corners included), float64[component].

    From the ends of the runs of pixels in each row, which include every corner of the hull.
    """
    wide = np.pad(labels, ((0, 0), (1, 1)))
    row, column = np.nonzero(wide[:, 1:] != wide[:, :-1])
    parts = []
    for label, y in ((wide[row, column], row), (wide[row, column + 1], row)):
        use = label > 0  # each change ends one run, begins another, or does both
        parts.append((label[use], y[use], column[use]))
    label, y, x = (np.concatenate(values) for values in zip(*parts, strict=True))
    order = np.argsort(label, kind="stable")
    ends = np.searchsorted(label[order], np.arange(1, n + 2))
    areas = np.empty(n)
    for k in range(n):
        own = order[ends[k] : ends[k + 1]]
        corners = np.concatenate([np.stack([x[own], y[own] + d], axis=1) for d in (0, 1)])
        areas[k] = ConvexHull(corners).volume
    return areas


def nest_width(epithelium: Bool, analysed: Bool) -> float:
    """Mean width of nests in pixels: four times the mean distance of epithelium to its edge, as in a long strip.

    Weighted by area: a broad nest counts for more than a thin strand. A disk gets two thirds of its diameter. Where the
    analyzed region ends, a nest is assumed to go on. NaN where there is nothing but epithelium.
    """
    from kras_plugins.semantics.distance import distance_to_edge  # brings numba

    depth = distance_to_edge(epithelium, analysed & ~epithelium)[epithelium]
    return 4 * float(depth.mean(dtype=np.float64)) if len(depth) and np.isfinite(depth[0]) else math.nan


def fractal_dimension(edge: Bool, mpp: float) -> float:
    """Box-counting dimension of a curve's pixels, boxes of 32 to 512 µm: 1 is smooth, near 2 plane-filling.

    A corner of the boxes lies at the centroid of the pixels, so that moving the slide moves the boxes along.
    """
    row, column = np.nonzero(edge)
    if not len(row):
        return math.nan
    counts = []
    for side in BOXES_UM:
        y, x = (np.floor(np.round((axis - axis.mean()) * mpp / side, 9)).astype(np.int64) for axis in (row, column))
        counts.append(len(np.unique((y - y.min()) * (int(np.ptp(x)) + 1) + x - x.min())))
    return -float(np.polyfit(np.log(BOXES_UM), np.log(counts), 1)[0])


def lumens(clear: Bool, epithelium: Bool, mpp: float) -> float:
    """Area in µm² of clear holes of 200 to 50,000 µm² that only epithelium surrounds."""
    holes, n = ndimage.label(clear)
    sizes = pixels_of(holes, n + 1) * mpp**2
    closed = (sizes >= LUMEN_UM2[0]) & (sizes <= LUMEN_UM2[1])
    beside = touching(~clear & ~epithelium)
    for rim in (beside[0], beside[-1], beside[:, 0], beside[:, -1]):
        rim[:] = True
    closed[np.unique(holes[beside])] = False
    closed[0] = False
    return float(sizes[closed].sum())
