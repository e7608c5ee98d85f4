"""Shape, stain and texture of every nucleus of a label map at once, by counting over labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float32, Float64, Int32

    Index = npt.NDArray[np.int64]

LEVELS = 16
DENSITY_MAX = 1.2  # hematoxylin OD of the top grey level: fixed, so that levels mean the same on every slide
DIRECTIONS = 32  # of half turns for the convex hull; a circle's hull is then 0.1 % too large
RAYS = 32

# Perimeter weights of a border pixel by its border neighbors, see `_perimeters`.
_WEIGHT = np.zeros(50, dtype=np.float64)
_WEIGHT[[5, 7, 15, 17, 25, 27]] = 1.0
_WEIGHT[[21, 33]] = np.sqrt(2.0)
_WEIGHT[[13, 23]] = (1.0 + np.sqrt(2.0)) / 2.0


def measure(labels: Int32, density: Float32, nucleus: Float32, mpp: float) -> dict[str, Float32]:
    """Columns float32[cell] of a label map int32[h w] with labels 1..n.

    `x`, `y` in pixels (pixel centers); lengths and areas in µm; `orientation` is the angle of the major axis from the
    x axis towards y (downwards), in [-pi/2, pi/2]; `prob` is the mean of `nucleus`. Axes are those of the ellipse with
    the same second moments (4 standard deviations, as in scikit-image).
    """
    rows, cols, cell = pixels_of(labels)
    n = int(cell.max(initial=-1)) + 1

    def total(values: Float64 | Float32 | None = None) -> Float64:
        return np.bincount(cell, weights=values, minlength=n).astype(np.float64)

    size = total()
    x, y = total(cols.astype(np.float64)) / size, total(rows.astype(np.float64)) / size
    dx, dy = cols - x[cell], rows - y[cell]
    xx, yy, xy = total(dx * dx) / size, total(dy * dy) / size, total(dx * dy) / size
    root = np.sqrt(np.maximum((xx - yy) ** 2 / 4 + xy * xy, 0))
    long, short = (xx + yy) / 2 + root, np.maximum((xx + yy) / 2 - root, 0)
    od = density[rows, cols].astype(np.float64)
    mean = total(od) / size
    level = np.clip(od * (LEVELS / DENSITY_MAX), 0, LEVELS - 1).astype(np.int64)
    levels = np.bincount(cell * LEVELS + level, minlength=n * LEVELS).reshape(n, LEVELS) / size[:, None]
    values = {
        "x": x,
        "y": y,
        "prob": total(nucleus[rows, cols]) / size,
        "area_um2": size * mpp**2,
        "perimeter_um": _perimeters(labels, rows, cols, n) * mpp,
        "major_um": 4 * np.sqrt(long) * mpp,
        "minor_um": 4 * np.sqrt(short) * mpp,
        "eccentricity": np.sqrt(1 - np.divide(short, long, out=np.ones(n), where=long > 0)),
        "solidity": np.minimum(size / _hull_areas(rows, cols, cell, n), 1.0),
        "orientation": 0.5 * np.arctan2(2 * xy, xx - yy),
        "h_od_mean": mean,
        "h_od_sd": np.sqrt(total((od - mean[cell]) ** 2) / size),
        "h_entropy": -np.sum(levels * np.log2(levels, out=np.zeros_like(levels), where=levels > 0), axis=1),
        **_texture(labels, rows, cols, level, n),
    }
    return {name: np.asarray(value, dtype=np.float32) for name, value in values.items()}


def pixels_of(labels: Int32) -> tuple[Index, Index, Index]:
    """(row, column, label - 1) of every pixel of a nucleus, int64[pixel] each, in reading order."""
    at = np.flatnonzero(labels != 0)
    rows, cols = np.divmod(at, labels.shape[1])
    return rows, cols, labels.ravel()[at].astype(np.int64) - 1


def outlines(labels: Int32, x: Float32, y: Float32) -> Float32:
    """Star-convex outlines float32[cell ray 2] (x, y) of pixel centers: where each of 32 rays first leaves the nucleus.

    Rays start at the centroid, or at the nucleus' pixel nearest to it where the centroid lies outside. Concave parts
    behind the first exit are cut, as in StarDist (Schmidt et al., MICCAI 2018).
    """
    rows, cols, cell = pixels_of(labels)
    n = len(x)
    order = np.lexsort(((cols - x[cell]) ** 2 + (rows - y[cell]) ** 2, cell))
    nearest = order[np.searchsorted(cell[order], np.arange(n))]
    inside = labels[np.rint(y).astype(int), np.rint(x).astype(int)] == np.arange(1, n + 1)
    start = np.where(inside[:, None], np.stack([x, y], 1), np.stack([cols[nearest], rows[nearest]], 1))
    start = start.astype(np.float32)
    angle = np.arange(RAYS) * (2 * np.pi / RAYS)
    ray = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    padded = np.pad(labels, 2)
    every, each = (a.ravel() for a in np.indices((n, RAYS)))
    reach = np.zeros(n * RAYS, dtype=np.float32)

    def inside_at(at: Index, further: float) -> Bool:
        end = start[every[at]] + (reach[at] + np.float32(further))[:, None] * ray[each[at]]
        column, row = np.rint(end).astype(np.int32).T + 2
        out: Bool = padded[row, column] == every[at] + 1
        return out

    at = np.arange(n * RAYS)
    while len(at):
        at = at[inside_at(at, 1.0)]
        reach[at] += 1
    at = np.arange(n * RAYS)
    reach[inside_at(at, 0.5)] += np.float32(0.5)
    return np.asarray(start[:, None] + reach.reshape(n, RAYS, 1) * ray, dtype=np.float32)


def _perimeters(labels: Int32, rows: Index, cols: Index, n: int) -> Float64:
    """Perimeters in pixels after Benkrid & Crookes 2000, as `skimage.measure.perimeter` with 4 neighbors."""
    padded = np.pad(labels, 1)
    r, c = rows + 1, cols + 1
    own = padded[r, c]
    straight, diagonal = ((0, 1), (0, -1), (1, 0), (-1, 0)), ((1, 1), (1, -1), (-1, 1), (-1, -1))
    edge = np.any([padded[r + i, c + j] != own for i, j in straight], axis=0)
    border = np.zeros_like(padded)
    border[r[edge], c[edge]] = own[edge]
    r, c, own = r[edge], c[edge], own[edge]
    code = np.ones(len(own), dtype=np.int64)
    for weight, steps in ((2, straight), (10, diagonal)):
        for i, j in steps:
            code += weight * (border[r + i, c + j] == own)
    return np.bincount(own - 1, weights=_WEIGHT[code], minlength=n).astype(np.float64)


def _hull_areas(rows: Index, cols: Index, cell: Index, n: int) -> Float64:
    """Areas in pixels of convex hulls (pixels as diamonds of diagonal 1) from support functions in 64 directions.

    The hull is cut out by its tangents at equal angles d; each side is (h[i-1] + h[i+1] - 2 h[i] cos d) / sin d long.
    """
    if n == 0:
        return np.zeros(0)
    # Only the first and last pixel of a row of a nucleus can be a corner of its hull.
    order = np.lexsort((cols, rows, cell))
    r, c, own = rows[order], cols[order], cell[order]
    first = np.r_[True, (own[1:] != own[:-1]) | (r[1:] != r[:-1])]
    ends = first | np.r_[first[1:], True]
    r, c, own = r[ends], c[ends], own[ends]
    starts = np.searchsorted(own, np.arange(n))
    step = np.pi / DIRECTIONS
    angle = np.arange(DIRECTIONS) * step
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = c - c[starts][own], r - r[starts][own]
    along = x[:, None] * cos + y[:, None] * sin
    half = 0.5 * np.maximum(np.abs(cos), np.abs(sin))
    h = np.hstack([np.maximum.reduceat(along, starts) + half, half - np.minimum.reduceat(along, starts)])
    side = (np.roll(h, 1, 1) + np.roll(h, -1, 1) - 2 * h * np.cos(step)) / np.sin(step)
    return np.asarray(0.5 * np.sum(h * side, axis=1), dtype=np.float64)


def _texture(labels: Int32, rows: Index, cols: Index, level: Index, n: int) -> dict[str, Float64]:
    """Haralick texture per nucleus: symmetric co-occurrence at distance 1, mean over four angles, as scikit-image.

    Pairs lie wholly within a nucleus. The correlation of a nucleus of one grey level is NaN.
    """
    own = np.pad(labels, 1).ravel()
    width = labels.shape[1] + 2
    at = (rows + 1) * width + cols + 1
    grey = np.zeros(len(own), dtype=np.int64)
    grey[at] = level
    i, j = (index.ravel() for index in np.indices((LEVELS, LEVELS)))
    gap = (i - j) ** 2
    # Sums over a nucleus' pairs; those of `i` and `i * i` count both members of a pair, as the matrix is symmetric.
    moments = np.stack([np.ones(LEVELS**2), gap, 1 / (1 + gap), (i + j) / 2, (i * i + j * j) / 2, i * j], axis=1)
    sums = {name: np.zeros(n) for name in ("contrast", "correlation", "energy", "homogeneity")}
    for step in (1, width + 1, width, width - 1):
        here = at[own[at + step] == own[at]]
        cell = own[here].astype(np.int64) - 1
        codes = (cell * LEVELS + grey[here]) * LEVELS + grey[here + step]
        pairs = np.bincount(codes, minlength=n * LEVELS**2).reshape(n, LEVELS**2).astype(np.float64)
        total = pairs @ moments
        count = np.where(total[:, :1] > 0, total[:, :1], np.nan)
        contrast, homogeneity, mean, square, product = (total[:, 1:] / count).T
        variance, covariance = square - mean**2, product - mean**2
        symmetric = pairs + pairs.reshape(n, LEVELS, LEVELS).transpose(0, 2, 1).reshape(n, LEVELS**2)
        sums["contrast"] += contrast
        sums["homogeneity"] += homogeneity
        sums["energy"] += np.sqrt(np.einsum("nk,nk->n", symmetric, symmetric)) / (2 * count[:, 0])
        sums["correlation"] += np.divide(covariance, variance, out=np.full(n, np.nan), where=variance > 1e-9)
    return {f"glcm_{name}": total / 4 for name, total in sums.items()}
