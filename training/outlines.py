"""Outlines of nuclei known by a dot in each: first from the stain, later from the network in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from kras_profiler_cells.stain import hematoxylin

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float32, Float64, Int32, UInt8

REACH_UM = 7.0
"""No nucleus reaches farther from its dot."""
CORE_UM = 1.5
"""Within this distance of a dot there is nucleus, whatever it looks like."""
GUESS_UM = 2.5
"""Radius of a nucleus without a visible edge."""
LARGEST_UM2 = 220.0

INSIDE, EDGE, OUTSIDE, SURE, UNDOTTED = 160, 64, 200, 255, 128
"""How far a derived label is trusted, in 255ths: in an outline, within a pixel of its edge, near nuclei, around the dot
and far from all dots, and where the network sees a nucleus without a dot."""


def from_dots(
    pixels: UInt8, dots: Float64, mpp: float, seen: tuple[Float32, Float32] | None = None
) -> tuple[Int32, UInt8]:
    """(labels int32[h w], weight uint8[h w]) of nuclei around `dots` (x, y) float64[dot 2]; label i is dot i - 1.

    `seen`: `nucleus` and `distance` float32[h w] of a network, None before there is one. Each pixel belongs to the dot
    whose basin it lies in (watershed from the dots); inside its basin a nucleus is the piece around the dot where the
    network predicts nucleus. Where it predicts none, or before there is a network, it is the piece denser in
    hematoxylin than halfway between the dot and its surroundings; failing that, a disc. Holes are filled, because
    vesicular nuclei are pale inside.
    """
    density = ndimage.gaussian_filter(hematoxylin(pixels), 0.5 / mpp * 0.8).astype(np.float32)
    h, w = density.shape
    markers = np.zeros((h, w), np.int32)
    columns, rows = np.round(dots).astype(int).T if len(dots) else np.zeros((2, 0), int)
    markers[rows, columns] = np.arange(1, len(dots) + 1)
    away = ndimage.distance_transform_edt(markers == 0) * mpp if len(dots) else np.full((h, w), np.inf)
    near = away <= REACH_UM
    if seen is None:
        # The dot's surroundings first, so that a pale middle does not spill over.
        landscape = -density + 0.1 * away.astype(np.float32)
    else:
        landscape = -(seen[0] + seen[1] + 0.2 * density) + 0.05 * away.astype(np.float32)
    basins = watershed(landscape, markers, mask=near)
    boxes = ndimage.find_objects(basins, max_label=len(dots))
    labels = np.zeros((h, w), np.int32)
    for i, box in enumerate(boxes):
        if box is None:
            continue
        basin = basins[box] == i + 1
        from_dot = np.hypot(
            np.arange(h)[box[0], None] - dots[i, 1], np.arange(w)[None, box[1]] - dots[i, 0]
        ) * np.float32(mpp)
        core = basin & (from_dot <= CORE_UM)
        found = None
        if seen is not None and float(seen[0][box][core].mean() if core.any() else 0) > 0.4:
            found = _piece(basin & (seen[0][box] > 0.5), core)
        if found is None:
            inner = float(np.percentile(density[box][basin & (from_dot <= 2 * CORE_UM)], 75)) if core.any() else 0.0
            outer = float(np.percentile(density[box][basin], 15))
            found = _piece(basin & (density[box] > (inner + outer) / 2), core)
        area = np.count_nonzero(found) * mpp**2
        if found is None or not 8 <= area <= LARGEST_UM2:
            found = basin & (from_dot <= GUESS_UM)
        labels[box][found] = i + 1
    return labels, _belief(labels, away, mpp, None if seen is None else seen[0])


def _piece(mask: Bool, core: Bool) -> Bool:
    """The part of a smoothed `mask`, joined with `core`, that is connected with it, without holes."""
    joined = ndimage.gaussian_filter((ndimage.binary_opening(mask) | core).astype(np.float32), 1.2) > 0.5
    pieces, _ = ndimage.label(joined | core)
    kept: Bool = ndimage.binary_fill_holes(np.isin(pieces, np.unique(pieces[core])) & (pieces > 0))
    return kept


def _belief(labels: Int32, away: Float64, mpp: float, nucleus: Float32 | None) -> UInt8:
    inside = labels > 0
    weight = np.where(inside, INSIDE, OUTSIDE).astype(np.uint8)
    weight[away > REACH_UM] = SURE
    edge = ndimage.grey_dilation(labels, size=3) != ndimage.grey_erosion(labels, size=3)
    weight[edge] = EDGE
    weight[away <= CORE_UM] = SURE
    if nucleus is not None:
        weight[~inside & (nucleus > 0.5)] = UNDOTTED
    return weight
