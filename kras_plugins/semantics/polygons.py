"""Masks -> polygons and back, such that filling a traced mask gives the same mask."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64
    from kras_plugins.semantics.raster import Raster


def trace(mask: Bool, raster: Raster) -> list[list[Float64]]:
    """The polygons of a mask bool[h w]: for each its outer ring, then its holes, float64[vertex 2] (x, y) in µm.

    Rings do not repeat their first vertex. They run midway between pixel centers inside and outside (marching squares,
    by contourpy), so that every center lies on its own side; points on straight lines are left out.
    """
    from contourpy import FillType, contour_generator

    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    part = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1).astype(np.float32)
    found = contour_generator(z=part, fill_type=FillType.OuterOffset).filled(0.5, 2.0)
    corner = np.array([left - 0.5, top - 0.5])  # of the padding's first pixel center
    result = []
    for points, offsets in zip(*found, strict=True):
        at = (points + corner) * raster.mpp + raster.origin_um
        result.append([_bends(at[a : b - 1]) for a, b in pairwise(offsets.tolist())])
    return result


def _bends(ring: Float64) -> Float64:
    before, after = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
    return ring[np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9]


def fill(rings: Sequence[Float64], raster: Raster) -> tuple[int, int, Bool]:
    """The pixels whose centers lie in a polygon, even-odd over its rings float64[vertex 2] (x, y) in µm.

    Returns first row, first column and mask bool[h w] of the part of the raster that the polygon's box covers.
    """
    scaled = [(np.asarray(ring, np.float64) - raster.origin_um) / raster.mpp - 0.5 for ring in rings]
    every = np.concatenate(scaled) if scaled else np.zeros((0, 2))
    height, width = raster.shape
    if not len(every):
        return 0, 0, np.zeros((0, 0), np.bool_)
    left, top = np.clip(np.ceil(every.min(0)), 0, (width, height)).astype(np.int64).tolist()
    right, bottom = np.clip(np.floor(every.max(0)) + 1, 0, (width, height)).astype(np.int64).tolist()
    if right <= left or bottom <= top:
        return 0, 0, np.zeros((0, 0), np.bool_)
    start = np.concatenate(scaled)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in scaled])
    # An edge crosses the rows whose centers lie in [lower end, upper end): a vertex shared by two counts once.
    low = np.clip(np.ceil(np.minimum(start[:, 1], end[:, 1])), top, bottom).astype(np.int64)
    count = np.clip(np.ceil(np.maximum(start[:, 1], end[:, 1])), top, bottom).astype(np.int64) - low
    edge = np.repeat(np.arange(len(start)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + low[edge]
    slope = (end[edge] - start[edge])[:, 0] / (end[edge] - start[edge])[:, 1]
    x = start[edge, 0] + (row - start[edge, 1]) * slope
    column = np.clip(np.ceil(x), left, right).astype(np.int64) - left
    across = right - left + 1
    toggles = np.zeros((bottom - top, across), np.uint8)  # a byte per pixel: annotations may cover the slide
    np.add.at(toggles.reshape(-1), (row - top) * across + column, np.uint8(1))
    return top, left, np.asarray(np.bitwise_xor.accumulate(toggles & 1, axis=1)[:, :-1] == 1)
