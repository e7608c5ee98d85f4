"""Shape, stain and texture of all nuclei of a tile, by sums over their pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kras_profiler_cells.compiled import compiled
from kras_profiler_cells.texture import LEVELS, level, texture

if TYPE_CHECKING:
    from kras_plugins.data import Float32, Float64, Int32
    from kras_profiler_cells.nuclei import Nuclei
    from kras_profiler_cells.runs import Index

DIRECTIONS = 32  # of half turns for the convex hull; a circle's hull is then 0.1 % too large
_COS, _SIN = np.cos(np.arange(DIRECTIONS) * (np.pi / DIRECTIONS)), np.sin(np.arange(DIRECTIONS) * (np.pi / DIRECTIONS))

# Perimeter weights of a border pixel by its border neighbors, see `_perimeters`.
_WEIGHT = np.zeros(50, dtype=np.float64)
_WEIGHT[[5, 7, 15, 17, 25, 27]] = 1.0
_WEIGHT[[21, 33]] = np.sqrt(2.0)
_WEIGHT[[13, 23]] = (1.0 + np.sqrt(2.0)) / 2.0


@compiled("float64[:, ::1](int64[::1], int32[::1], int32[::1])")
def _moments(starts: Index, rows: Int32, cols: Int32) -> Float64:
    """Centroids x, y and central second moments xx, yy, xy of nuclei, in pixels: float64[5 nucleus]."""
    found = np.empty((5, len(starts) - 1))
    for nucleus in range(len(starts) - 1):
        first, end = starts[nucleus], starts[nucleus + 1]
        # Whole numbers, counted from the first pixel: sums are exact, moments lose nothing to large coordinates.
        x, y, xx, yy, xy = 0, 0, 0, 0, 0
        for pixel in range(first, end):
            c, r = cols[pixel] - cols[first], rows[pixel] - rows[first]
            x, y, xx, yy, xy = x + c, y + r, xx + c * c, yy + r * r, xy + c * r
        n = end - first
        mean_x, mean_y = x / n, y / n
        found[0, nucleus], found[1, nucleus] = mean_x + cols[first], mean_y + rows[first]
        found[2, nucleus], found[3, nucleus] = xx / n - mean_x * mean_x, yy / n - mean_y * mean_y
        found[4, nucleus] = xy / n - mean_x * mean_y
    return found


@compiled("float64[:, ::1](int64[::1], float32[::1], float32[::1])")
def _stain(starts: Index, density: Float32, nucleus: Float32) -> Float64:
    """Of nuclei: mean and standard deviation of `density`, its entropy in bits, mean of `nucleus`: float64[4 nucleus].

    `density`, `nucleus`: float32[pixel].
    """
    found = np.zeros((4, len(starts) - 1))
    for i in range(len(starts) - 1):
        first, end = starts[i], starts[i + 1]
        n = end - first
        levels = np.zeros(LEVELS, np.int64)
        total, prob, spread = 0.0, 0.0, 0.0
        for pixel in range(first, end):
            total += density[pixel]
            prob += nucleus[pixel]
            levels[level(density[pixel])] += 1
        mean = total / n
        for pixel in range(first, end):
            spread += (density[pixel] - mean) ** 2
        found[0, i], found[1, i], found[3, i] = mean, np.sqrt(spread / n), prob / n
        for count in levels:
            if count:
                found[2, i] -= count / n * np.log2(count / n)
    return found


@compiled("float64[::1](int32[:, ::1], int64[::1], int32[::1])")
def _perimeters(labels: Int32, starts: Index, positions: Int32) -> Float64:
    """Perimeters in pixels after Benkrid & Crookes 2000, as `skimage.measure.perimeter` with 4 neighbors."""
    flat, width = labels.reshape(-1), labels.shape[1]
    straight, diagonal = (1, -1, width, -width), (width + 1, width - 1, 1 - width, -1 - width)
    found = np.zeros(len(starts) - 1)
    border = np.zeros(flat.size, np.bool_)
    for nucleus in range(len(starts) - 1):
        label, pixels = nucleus + 1, positions[starts[nucleus] : starts[nucleus + 1]]
        for at in pixels:
            inner = flat[at - 1] == label and flat[at + 1] == label
            border[at] = not (inner and flat[at - width] == label and flat[at + width] == label)
        for at in pixels:
            if border[at]:
                code = 1
                for step in straight:
                    code += 2 * (border[at + step] & (flat[at + step] == label))
                for step in diagonal:
                    code += 10 * (border[at + step] & (flat[at + step] == label))
                found[nucleus] += _WEIGHT[code]
    return found


@compiled("float64[::1](int64[::1], int32[::1], int32[::1])")
def _hull_areas(starts: Index, rows: Int32, cols: Int32) -> Float64:
    """Areas in pixels of convex hulls (pixels as diamonds of diagonal 1) from support functions in 64 directions.

    The hull is cut out by its tangents at equal angles d; each side is (h[i-1] + h[i+1] - 2 h[i] cos d) / sin d long.
    """
    found = np.zeros(len(starts) - 1)
    most, least = np.empty(DIRECTIONS), np.empty(DIRECTIONS)
    for nucleus in range(len(starts) - 1):
        first, end = starts[nucleus], starts[nucleus + 1]
        most[:], least[:] = -np.inf, np.inf
        for pixel in range(first, end):
            # Only the first and last pixel of a row of a nucleus can be a corner of its hull.
            if first < pixel < end - 1 and rows[pixel - 1] == rows[pixel] == rows[pixel + 1]:
                continue
            c, r = cols[pixel] - cols[first], rows[pixel] - rows[first]
            for i in range(DIRECTIONS):
                reach = c * _COS[i] + r * _SIN[i]
                most[i], least[i] = max(most[i], reach), min(least[i], reach)
        for i in range(DIRECTIONS):
            half = 0.5 * max(abs(_COS[i]), abs(_SIN[i]))
            most[i], least[i] = most[i] + half, half - least[i]
        h = np.concatenate((most, least))
        step = np.pi / DIRECTIONS
        for i in range(2 * DIRECTIONS):
            side = (h[i - 1] + h[(i + 1) % (2 * DIRECTIONS)] - 2 * h[i] * np.cos(step)) / np.sin(step)
            found[nucleus] += 0.5 * h[i] * side
    return found


def measure(nuclei: Nuclei, density: Float32, nucleus: Float32, mpp: float) -> dict[str, Float32]:
    """Columns float32[cell] of all nuclei, from hematoxylin `density` and `nucleus` probability float32[pixel].

    `x`, `y` in pixels (pixel centers); lengths and areas in µm; `orientation` is the angle of the major axis from the
    x axis towards y (downwards), in [-pi/2, pi/2]; `prob` is the mean of `nucleus`. Axes are those of the ellipse with
    the same second moments (4 standard deviations, as in scikit-image).
    """
    size = nuclei.size
    x, y, xx, yy, xy = _moments(nuclei.starts, nuclei.rows, nuclei.cols)
    root = np.sqrt(np.maximum((xx - yy) ** 2 / 4 + xy * xy, 0))
    long, short = (xx + yy) / 2 + root, np.maximum((xx + yy) / 2 - root, 0)
    mean, sd, entropy, prob = _stain(nuclei.starts, density, nucleus)
    values = {
        "x": x,
        "y": y,
        "prob": prob,
        "area_um2": size * mpp**2,
        "perimeter_um": _perimeters(nuclei.labels, nuclei.starts, nuclei.at) * mpp,
        "major_um": 4 * np.sqrt(long) * mpp,
        "minor_um": 4 * np.sqrt(short) * mpp,
        "eccentricity": np.sqrt(1 - np.divide(short, long, out=np.ones(len(nuclei)), where=long > 0)),
        "solidity": np.minimum(size / _hull_areas(nuclei.starts, nuclei.rows, nuclei.cols), 1.0),
        "orientation": 0.5 * np.arctan2(2 * xy, xx - yy),
        "h_od_mean": mean,
        "h_od_sd": sd,
        "h_entropy": entropy,
        **texture(nuclei, density),
    }
    return {name: np.asarray(value, dtype=np.float32) for name, value in values.items()}
