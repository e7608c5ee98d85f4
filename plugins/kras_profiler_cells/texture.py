"""Haralick texture of nuclei: how gray levels of hematoxylin lie next to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.host.compiled import compiled

if TYPE_CHECKING:
    from kras_plugins.data import Float32, Float64, Int32, UInt8
    from kras_profiler_cells.nuclei import Nuclei
    from kras_profiler_cells.runs import Index

LEVELS = 16
TEXTURE = ("glcm_contrast", "glcm_correlation", "glcm_energy", "glcm_homogeneity")
_NEAR = 1 / (1 + np.arange(LEVELS) ** 2)
DENSITY_MAX = 1.2  # hematoxylin OD of the top gray level: fixed, so that levels mean the same on every slide


@compiled("uint8[::1](float32[::1])")
def levels_of(density: Float32) -> UInt8:
    """The gray levels 0..LEVELS - 1 of hematoxylin densities."""
    found = np.empty(len(density), np.uint8)
    for i in range(len(density)):
        found[i] = np.uint8(min(max(density[i] * (LEVELS / DENSITY_MAX), 0.0), LEVELS - 1.0))
    return found


@compiled("UniTuple(float64, 4)(int32[:, ::1], int64, int64)")
def _haralick(pairs: Int32, lowest: int, highest: int) -> tuple[float, float, float, float]:
    """Contrast, correlation, energy and homogeneity from numbers of pairs of gray levels `lowest` to `highest`."""
    count, total, product, squared, contrast, homogeneity = 0, 0, 0, 0, 0, 0.0
    for apart in range(highest - lowest + 1):
        n_apart = 0
        for low in range(lowest, highest + 1 - apart):
            high = low + apart
            n = pairs[low, high] + (pairs[high, low] if apart else 0)
            n_apart += n
            total += n * (low + high)
            product += n * low * high
            # In a symmetric matrix: n above and n below the diagonal, 2 n on it.
            squared += n * n * (2 if apart else 4)
        count += n_apart
        contrast += n_apart * apart * apart
        homogeneity += n_apart * _NEAR[apart]
    if count == 0:
        return np.nan, np.nan, np.nan, np.nan
    mean = total / (2 * count)
    covariance = product / count - mean * mean
    variance = covariance + contrast / (2 * count)
    correlation = covariance / variance if variance > 1e-9 else np.nan
    return contrast / count, correlation, np.sqrt(squared) / (2 * count), homogeneity / count


@compiled("float64[:, ::1](int64, int64, int64[::1], int64[::1], int64[::1], uint8[::1])")
def _texture(height: int, width: int, first: Index, starts: Index, stops: Index, levels: UInt8) -> Float64:
    # Levels count from 1 here, which affects none of the measures; 0 is outside the current nucleus.
    image, pixel = np.zeros(height * width, np.uint8), 0
    pairs = np.empty((4, LEVELS + 1, LEVELS + 1), np.int32)
    found = np.zeros((4, len(first) - 1))
    for nucleus in range(len(first) - 1):
        lowest, highest = LEVELS, 1
        for i in range(first[nucleus], first[nucleus + 1]):
            for at in range(starts[i], stops[i]):
                level = levels[pixel] + 1
                image[at] = level
                lowest, highest, pixel = min(lowest, level), max(highest, level), pixel + 1
        pairs[:, lowest : highest + 1, lowest : highest + 1] = 0
        for i in range(first[nucleus], first[nucleus + 1]):
            for at in range(starts[i], stops[i]):
                level = image[at]
                pairs[0, level, image[at + 1]] += 1
                pairs[1, level, image[at + width + 1]] += 1
                pairs[2, level, image[at + width]] += 1
                pairs[3, level, image[at + width - 1]] += 1
        for i in range(first[nucleus], first[nucleus + 1]):
            image[starts[i] : stops[i]] = 0
        for angle in range(4):
            for i, value in enumerate(_haralick(pairs[angle], lowest, highest)):
                found[i, nucleus] += value
    return found / 4


def texture(nuclei: Nuclei, levels: UInt8) -> Float64:
    """Haralick texture per nucleus: symmetric co-occurrence at distance 1, mean over four angles, as scikit-image.

    Pairs lie wholly within a nucleus. The correlation of a nucleus of one gray level is NaN. `levels`: uint8[pixel].
    Returns float64[4 nucleus]: the columns of TEXTURE.
    """
    height, width = nuclei.labels.shape
    found: Float64 = _texture(height, width, nuclei.first, nuclei.starts, nuclei.stops, levels)
    return found
