"""Shape, stain and texture of all nuclei of a tile at once, by sums over their pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float32, Float64
    from kras_profiler_cells.nuclei import Nuclei

LEVELS = 16
DENSITY_MAX = 1.2  # hematoxylin OD of the top grey level: fixed, so that levels mean the same on every slide
DIRECTIONS = 32  # of half turns for the convex hull; a circle's hull is then 0.1 % too large

# Perimeter weights of a border pixel by its border neighbors, see `_perimeters`.
_WEIGHT = np.zeros(50, dtype=np.float64)
_WEIGHT[[5, 7, 15, 17, 25, 27]] = 1.0
_WEIGHT[[21, 33]] = np.sqrt(2.0)
_WEIGHT[[13, 23]] = (1.0 + np.sqrt(2.0)) / 2.0

# Co-occurrence: the number of each unordered pair of grey levels, and what pairs of each number add to a sum.
_LOW, _HIGH = np.triu_indices(LEVELS)
_PAIR = np.zeros(LEVELS * LEVELS, dtype=np.int32)
_PAIR[_LOW * LEVELS + _HIGH] = _PAIR[_HIGH * LEVELS + _LOW] = np.arange(len(_LOW))
_GAP = (_LOW - _HIGH) ** 2
_MOMENTS = np.stack(
    [np.ones(len(_LOW)), _GAP, 1 / (1 + _GAP), (_LOW + _HIGH) / 2, (_LOW**2 + _HIGH**2) / 2, _LOW * _HIGH], axis=1
)
_SQUARED = np.where(_LOW == _HIGH, 4.0, 2.0)  # of a symmetric matrix: twice off the diagonal, doubled on it


def measure(nuclei: Nuclei, density: Float32, nucleus: Float32, mpp: float) -> dict[str, Float32]:
    """Columns float32[cell] of all nuclei, from hematoxylin `density` and `nucleus` probability float32[pixel].

    `x`, `y` in pixels (pixel centers); lengths and areas in µm; `orientation` is the angle of the major axis from the
    x axis towards y (downwards), in [-pi/2, pi/2]; `prob` is the mean of `nucleus`. Axes are those of the ellipse with
    the same second moments (4 standard deviations, as in scikit-image).
    """
    n, size = len(nuclei), nuclei.size
    # Whole numbers counted from a nucleus' first pixel: sums are exact and moments lose nothing to large coordinates.
    row0, col0 = nuclei.rows[nuclei.starts], nuclei.cols[nuclei.starts]
    r = (nuclei.rows - nuclei.spread(row0)).astype(np.float64)
    c = (nuclei.cols - nuclei.spread(col0)).astype(np.float64)
    od = density.astype(np.float64)
    x, y, xx, yy, xy, mean, prob = nuclei.sums(np.stack([c, r, c * c, r * r, c * r, od, nucleus])) / size
    xx, yy, xy = xx - x * x, yy - y * y, xy - x * y
    root = np.sqrt(np.maximum((xx - yy) ** 2 / 4 + xy * xy, 0))
    long, short = (xx + yy) / 2 + root, np.maximum((xx + yy) / 2 - root, 0)
    level = np.clip(od * (LEVELS / DENSITY_MAX), 0, LEVELS - 1).astype(np.uint8)
    levels = np.bincount(nuclei.cell * LEVELS + level, minlength=n * LEVELS).reshape(n, LEVELS) / size[:, None]
    values = {
        "x": x + col0,
        "y": y + row0,
        "prob": prob,
        "area_um2": size * mpp**2,
        "perimeter_um": _perimeters(nuclei) * mpp,
        "major_um": 4 * np.sqrt(long) * mpp,
        "minor_um": 4 * np.sqrt(short) * mpp,
        "eccentricity": np.sqrt(1 - np.divide(short, long, out=np.ones(n), where=long > 0)),
        "solidity": np.minimum(size / _hull_areas(nuclei, r, c), 1.0),
        "orientation": 0.5 * np.arctan2(2 * xy, xx - yy),
        "h_od_mean": mean,
        "h_od_sd": np.sqrt(nuclei.sums((od - nuclei.spread(mean)) ** 2) / size),
        "h_entropy": -np.sum(levels * np.log2(levels, out=np.zeros_like(levels), where=levels > 0), axis=1),
        **_texture(nuclei, level),
    }
    return {name: np.asarray(value, dtype=np.float32) for name, value in values.items()}


def _perimeters(nuclei: Nuclei) -> Float64:
    """Perimeters in pixels after Benkrid & Crookes 2000, as `skimage.measure.perimeter` with 4 neighbors."""
    flat, width = nuclei.labels.ravel(), nuclei.labels.shape[1]
    straight, diagonal = (1, -1, width, -width), (width + 1, width - 1, 1 - width, -1 - width)
    at, own = nuclei.at, nuclei.cell + 1
    edge = np.logical_or.reduce([flat[at + step] != own for step in straight])
    at, own = at[edge], own[edge]
    border = np.zeros_like(flat)
    border[at] = own
    code = np.ones(len(own), dtype=np.uint8)
    for weight, steps in ((2, straight), (10, diagonal)):
        for step in steps:
            code += (border[at + step] == own) * np.uint8(weight)
    return np.bincount(own - 1, weights=_WEIGHT[code], minlength=len(nuclei)).astype(np.float64)


def _hull_areas(nuclei: Nuclei, r: Float64, c: Float64) -> Float64:
    """Areas in pixels of convex hulls (pixels as diamonds of diagonal 1) from support functions in 64 directions.

    `r`, `c`: pixels counted from a nucleus' first. The hull is cut out by its tangents at equal angles d; each side is
    (h[i-1] + h[i+1] - 2 h[i] cos d) / sin d long.
    """
    if not len(nuclei):
        return np.zeros(0)
    # Only the first and last pixel of a row of a nucleus can be a corner of its hull.
    first = np.ones(len(r), np.bool_)
    first[1:] = (nuclei.cell[1:] != nuclei.cell[:-1]) | (r[1:] != r[:-1])
    begins = np.flatnonzero(first)
    left, right, row = c[begins], c[np.append(begins[1:], len(c)) - 1], r[begins]
    starts = np.searchsorted(begins, nuclei.starts)
    step = np.pi / DIRECTIONS
    angle = np.arange(DIRECTIONS)[:, None] * step
    cos, sin = np.cos(angle), np.sin(angle)
    half = 0.5 * np.maximum(np.abs(cos), np.abs(sin))
    # cos >= 0 in the first half of directions: there the right ends reach farthest, in the other half the left ends.
    ahead, behind = cos >= 0, cos < 0
    most = np.maximum.reduceat(np.where(ahead, right, left) * cos + row * sin, starts, axis=1)
    least = np.minimum.reduceat(np.where(behind, right, left) * cos + row * sin, starts, axis=1)
    h = np.vstack([most + half, half - least])
    side = (np.roll(h, 1, 0) + np.roll(h, -1, 0) - 2 * h * np.cos(step)) / np.sin(step)
    return np.asarray(0.5 * np.sum(h * side, axis=0), dtype=np.float64)


def _texture(nuclei: Nuclei, level: npt.NDArray[np.uint8]) -> dict[str, Float64]:
    """Haralick texture per nucleus: symmetric co-occurrence at distance 1, mean over four angles, as scikit-image.

    Pairs lie wholly within a nucleus. The correlation of a nucleus of one grey level is NaN. `level`: uint8[pixel].
    """
    n, width = len(nuclei), nuclei.labels.shape[1]
    # Label and grey level in one number: those of one nucleus differ in the lowest bits alone.
    marked = nuclei.labels.ravel() * np.int32(LEVELS)
    own = marked[nuclei.at] + level
    marked[nuclei.at] = own
    row, base = level * np.uint8(LEVELS), nuclei.cell * np.int32(len(_LOW))
    sums = {name: np.zeros(n) for name in ("contrast", "correlation", "energy", "homogeneity")}
    for step in (1, width + 1, width, width - 1):
        other = marked[nuclei.at + step]
        pair = np.flatnonzero((other ^ own) < LEVELS)
        codes = base[pair] + _PAIR[row[pair] | (other[pair] & (LEVELS - 1))]
        pairs = np.bincount(codes, minlength=n * len(_LOW)).reshape(n, len(_LOW)).astype(np.float64)
        total = pairs @ _MOMENTS
        count = np.where(total[:, :1] > 0, total[:, :1], np.nan)
        contrast, homogeneity, mean, square, product = (total[:, 1:] / count).T
        variance, covariance = square - mean**2, product - mean**2
        sums["contrast"] += contrast
        sums["homogeneity"] += homogeneity
        sums["energy"] += np.sqrt((pairs * pairs) @ _SQUARED) / (2 * count[:, 0])
        sums["correlation"] += np.divide(covariance, variance, out=np.full(n, np.nan), where=variance > 1e-9)
    return {f"glcm_{name}": total / 4 for name, total in sums.items()}
