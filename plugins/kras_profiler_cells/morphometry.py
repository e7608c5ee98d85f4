"""Shape, stain and texture of all nuclei of a tile, by sums over their pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.host.compiled import compiled
from kras_profiler_cells.runs import FRAME
from kras_profiler_cells.texture import LEVELS, TEXTURE, levels_of, texture

if TYPE_CHECKING:
    from kras_plugins.data import Float32, Float64, UInt8
    from kras_profiler_cells.nuclei import Nuclei
    from kras_profiler_cells.runs import Index

DIRECTIONS = 32  # of half turns for the convex hull; a circle's hull is then 0.1 % too large
_COS, _SIN = np.cos(np.arange(DIRECTIONS) * (np.pi / DIRECTIONS)), np.sin(np.arange(DIRECTIONS) * (np.pi / DIRECTIONS))

# Perimeter weights of a border pixel by its border neighbors, see `_perimeters`.
_WEIGHT = np.zeros(50, dtype=np.float64)
_WEIGHT[[5, 7, 15, 17, 25, 27]] = 1.0
_WEIGHT[[21, 33]] = np.sqrt(2.0)
_WEIGHT[[13, 23]] = (1.0 + np.sqrt(2.0)) / 2.0


@compiled("float64[:, ::1](int64[::1], int64[::1], int64[::1], int64, float64)")
def _ellipses(first: Index, starts: Index, stops: Index, width: int, mpp: float) -> Float64:
    """float64[6 nucleus]: centroid x, y in pixels, major and minor axis in µm, eccentricity, orientation.

    Axes are those of the ellipse with the same second moments.
    """
    found = np.empty((6, len(first) - 1))
    for nucleus in range(len(first) - 1):
        # Integers, counted from the first pixel: sums are exact, and moments lose no precision to large coordinates.
        at = starts[first[nucleus]]
        row, col = at // width, at % width
        n, x, y, xx, yy, xy = 0, 0, 0, 0, 0, 0
        for i in range(first[nucleus], first[nucleus + 1]):
            r, c, m = starts[i] // width - row, starts[i] % width - col, stops[i] - starts[i]
            # Sums over c, c + 1, ..., c + m - 1.
            columns = m * c + m * (m - 1) // 2
            n, x, y, yy, xy = n + m, x + columns, y + m * r, yy + m * r * r, xy + columns * r
            xx += m * c * c + c * m * (m - 1) + (m - 1) * m * (2 * m - 1) // 6
        mean_x, mean_y = x / n, y / n
        var_x, var_y, covariance = xx / n - mean_x * mean_x, yy / n - mean_y * mean_y, xy / n - mean_x * mean_y
        root = np.sqrt((var_x - var_y) ** 2 / 4 + covariance * covariance)
        long, short = (var_x + var_y) / 2 + root, max((var_x + var_y) / 2 - root, 0.0)
        found[0, nucleus], found[1, nucleus] = mean_x + (col - FRAME), mean_y + (row - FRAME)
        found[2, nucleus], found[3, nucleus] = 4 * np.sqrt(long) * mpp, 4 * np.sqrt(short) * mpp
        found[4, nucleus] = np.sqrt(1 - short / long) if long > 0 else 0.0
        found[5, nucleus] = 0.5 * np.arctan2(2 * covariance, var_x - var_y)
    return found


@compiled("float64[:, ::1](int64[::1], float32[::1], uint8[::1])")
def _stain(first_pixel: Index, density: Float32, levels: UInt8) -> Float64:
    """For each nucleus: mean and standard deviation of `density`, entropy of `levels` in bits: float64[3 nucleus]."""
    found = np.zeros((3, len(first_pixel) - 1))
    histogram = np.empty(LEVELS, np.int64)
    for i in range(len(first_pixel) - 1):
        begin, end = first_pixel[i], first_pixel[i + 1]
        n = end - begin
        histogram[:] = 0
        total, spread = 0.0, 0.0
        for pixel in range(begin, end):
            total += density[pixel]
            histogram[levels[pixel]] += 1
        mean = total / n
        for pixel in range(begin, end):
            spread += (density[pixel] - mean) ** 2
        found[0, i], found[1, i] = mean, np.sqrt(spread / n)
        for count in histogram:
            if count:
                found[2, i] -= count / n * np.log2(count / n)
    return found


@compiled("float64[::1](int64, int64, int64[::1], int64[::1], int64[::1])")
def _perimeters(height: int, width: int, first: Index, starts: Index, stops: Index) -> Float64:
    """Perimeters in pixels after Benkrid & Crookes 2000, as `skimage.measure.perimeter` with 4 neighbors."""
    found = np.zeros(len(first) - 1)
    # For the current nucleus: 1 inside, 2 at its border, once that is known.
    image, edge = np.zeros(height * width, np.uint8), np.empty(height * width, np.int64)
    for nucleus in range(len(first) - 1):
        n = 0
        for i in range(first[nucleus], first[nucleus + 1]):
            image[starts[i] : stops[i]] = 1
        for i in range(first[nucleus], first[nucleus + 1]):
            for at in range(starts[i], stops[i]):
                edge[n] = at  # kept only if the next line counts it: avoids a branch
                n += not (image[at - 1] & image[at + 1] & image[at - width] & image[at + width])
        for i in range(n):
            image[edge[i]] = 2
        for i in range(n):
            at, code = edge[i], 1
            for step in (1, -1, width, -width):
                code += image[at + step] & 2
            for step in (width + 1, width - 1, 1 - width, -1 - width):
                code += 5 * (image[at + step] & 2)
            found[nucleus] += _WEIGHT[code]
        for i in range(first[nucleus], first[nucleus + 1]):
            image[starts[i] : stops[i]] = 0
    return found


@compiled("float64[::1](int64[::1], int64[::1], int64[::1], int64)")
def _hull_areas(first: Index, starts: Index, stops: Index, width: int) -> Float64:
    """Areas in pixels of convex hulls (pixels as diamonds of diagonal 1) from support functions in 64 directions.

    The hull is cut out by its tangents at equal angles d; each side is (h[i-1] + h[i+1] - 2 h[i] cos d) / sin d long.
    """
    found = np.zeros(len(first) - 1)
    h = np.empty(2 * DIRECTIONS)
    most, least = h[:DIRECTIONS], h[DIRECTIONS:]
    step = np.pi / DIRECTIONS
    for nucleus in range(len(first) - 1):
        at = starts[first[nucleus]]
        row, col = at // width, at % width
        most[:], least[:] = -np.inf, np.inf
        for i in range(first[nucleus], first[nucleus + 1]):
            # Only the first and last pixel of a stretch can be a corner of the hull.
            r, left, right = starts[i] // width - row, starts[i] % width - col, (stops[i] - 1) % width - col
            for d in range(DIRECTIONS):
                up = r * _SIN[d]
                a, b = left * _COS[d] + up, right * _COS[d] + up
                most[d], least[d] = max(most[d], max(a, b)), min(least[d], min(a, b))
        for d in range(DIRECTIONS):
            half = 0.5 * max(abs(_COS[d]), abs(_SIN[d]))
            most[d], least[d] = most[d] + half, half - least[d]
        for i in range(2 * DIRECTIONS):
            side = (h[i - 1] + h[(i + 1) % (2 * DIRECTIONS)] - 2 * h[i] * np.cos(step)) / np.sin(step)
            found[nucleus] += 0.5 * h[i] * side
    return found


_ELLIPSE = ("x", "y", "major_um", "minor_um", "eccentricity", "orientation")
_STAIN = ("h_od_mean", "h_od_sd", "h_entropy")
_OUTLINE = ("area_um2", "perimeter_um", "solidity")


def measure(nuclei: Nuclei, density: Float32, mpp: float) -> dict[str, Float32]:
    """Columns float32[cell] of all nuclei, from their pixels and the hematoxylin `density` of these, float32[pixel].

    `x`, `y` in pixels (pixel centers); lengths and areas in µm; `orientation` is the angle of the major axis from the
    x axis toward y (downward), in [-pi/2, pi/2]. Axes are those of the ellipse with the same second moments (4
    standard deviations, as in scikit-image).
    """
    size, levels = nuclei.size, levels_of(density)
    lines, (height, width) = (nuclei.first, nuclei.starts, nuclei.stops), nuclei.labels.shape
    perimeter, hull = _perimeters(height, width, *lines), _hull_areas(*lines, width)
    values = [
        _ellipses(*lines, width, mpp),
        np.stack([size * mpp**2, perimeter * mpp, np.minimum(size / hull, 1.0)]),
        _stain(nuclei.first_pixel, density, levels),
        texture(nuclei, levels),
    ]
    # One conversion for all: with so few nuclei per tile, the calls of numpy dominate the time.
    return dict(zip((*_ELLIPSE, *_OUTLINE, *_STAIN, *TEXTURE), np.concatenate(values).astype(np.float32), strict=True))
