"""Colors and textures without any network: what an encoder must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.color import rgb2gray
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern

if TYPE_CHECKING:
    from kras_plugins.data import Float32, UInt8

_PROPERTIES = ("contrast", "correlation", "energy", "homogeneity")


def colors_and_textures(pixels: UInt8) -> Float32:
    """float32[42] of a tile uint8[h w 3].

    Mean and standard deviation of each channel's optical density; histograms of uniform local binary patterns (Ojala
    et al., IEEE TPAMI 2002) of radius 1 and 2; four properties of Haralick's co-occurrence (1973) at 1 and 3 pixels,
    mean over four directions.
    """
    od = -np.log10((pixels.reshape(-1, 3).astype(np.float64) + 1) / 256)
    grey = (rgb2gray(pixels) * 255).astype(np.uint8)
    parts = [od.mean(axis=0), od.std(axis=0)]
    for points, radius in ((8, 1), (16, 2)):
        patterns = local_binary_pattern(grey, points, radius, "uniform").astype(int)
        parts.append(np.bincount(patterns.ravel(), minlength=points + 2) / patterns.size)
    pairs = graycomatrix(grey // 8, [1, 3], [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4], 32, symmetric=True, normed=True)
    parts += [graycoprops(pairs, name).mean(axis=1) for name in _PROPERTIES]
    return np.concatenate(parts).astype(np.float32)
