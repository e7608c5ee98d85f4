"""Haralick texture of nuclei: how grey levels of hematoxylin lie next to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kras_profiler_cells.compiled import compiled

if TYPE_CHECKING:
    from kras_plugins.data import Float32, Float64, Int32
    from kras_profiler_cells.nuclei import Nuclei
    from kras_profiler_cells.runs import Index

LEVELS = 16
_NEAR = 1 / (1 + np.arange(LEVELS) ** 2)
DENSITY_MAX = 1.2  # hematoxylin OD of the top grey level: fixed, so that levels mean the same on every slide


@compiled("int64(float32)")
def level(density: float) -> int:
    """The grey level 0..LEVELS - 1 of a hematoxylin density."""
    return int(min(max(density * (LEVELS / DENSITY_MAX), 0.0), LEVELS - 1.0))


@compiled("UniTuple(float64, 4)(int64[:, ::1])")
def _haralick(pairs: Index) -> tuple[float, float, float, float]:
    """Contrast, correlation, energy and homogeneity from numbers of pairs of grey levels."""
    count, contrast, homogeneity, mean, square, product, squared = 0, 0, 0.0, 0.0, 0.0, 0, 0
    for low in range(LEVELS):
        for high in range(low, LEVELS):
            n = pairs[low, high] + (pairs[high, low] if low != high else 0)
            if n == 0:
                continue
            count += n
            contrast += n * (high - low) ** 2
            homogeneity += n * _NEAR[high - low]
            mean += n * (low + high) / 2
            square += n * (low * low + high * high) / 2
            product += n * low * high
            # Of a symmetric matrix: n above and n below the diagonal, 2 n on it.
            squared += n * n * (4 if low == high else 2)
    if count == 0:
        return np.nan, np.nan, np.nan, np.nan
    mean /= count
    variance, covariance = square / count - mean * mean, product / count - mean * mean
    correlation = covariance / variance if variance > 1e-9 else np.nan
    return contrast / count, correlation, np.sqrt(squared) / (2 * count), homogeneity / count


@compiled("float64[:, ::1](int32[:, ::1], int64[::1], int32[::1], float32[::1])")
def _texture(labels: Int32, starts: Index, positions: Int32, density: Float32) -> Float64:
    flat, width = labels.reshape(-1), labels.shape[1]
    levels = np.empty(flat.size, np.uint8)  # only read within nuclei
    for pixel in range(len(positions)):
        levels[positions[pixel]] = level(density[pixel])
    pairs = np.empty((LEVELS, LEVELS), np.int64)
    found = np.zeros((4, len(starts) - 1))
    for nucleus in range(len(starts) - 1):
        for step in (1, width + 1, width, width - 1):
            pairs[:] = 0
            for at in positions[starts[nucleus] : starts[nucleus + 1]]:
                if flat[at + step] == flat[at]:
                    pairs[levels[at], levels[at + step]] += 1
            for i, value in enumerate(_haralick(pairs)):
                found[i, nucleus] += value
    return found / 4


def texture(nuclei: Nuclei, density: Float32) -> dict[str, Float64]:
    """Haralick texture per nucleus: symmetric co-occurrence at distance 1, mean over four angles, as scikit-image.

    Pairs lie wholly within a nucleus. The correlation of a nucleus of one grey level is NaN. `density`: float32[pixel].
    """
    names = ("contrast", "correlation", "energy", "homogeneity")
    found = _texture(nuclei.labels, nuclei.starts, nuclei.at, density)
    return {f"glcm_{name}": column for name, column in zip(names, found, strict=True)}
