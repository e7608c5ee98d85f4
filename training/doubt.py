"""Pixels whose label cannot be trusted in a set without labels for all nuclei."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from kras_profiler_cells.stain import hematoxylin

if TYPE_CHECKING:
    from kras_plugins.data import Int32, UInt8

BELIEVED = 255
DOUBTED = 51
"""A fifth: trust in what looks like a nucleus and has no label."""


def doubted(pixels: UInt8, labels: Int32) -> UInt8:
    """How far each pixel's label is trusted, uint8[h w] in 255ths.

    Doubted are pixels outside labeled nuclei that have more hematoxylin than two fifths of those inside.
    """
    weight = np.full(labels.shape, BELIEVED, np.uint8)
    nucleus = labels > 0
    if not nucleus.any():
        return weight
    density = ndimage.gaussian_filter(hematoxylin(pixels), 0.7)
    near = ndimage.maximum_filter(nucleus, 5)
    weight[~near & (density > np.percentile(density[nucleus], 40))] = DOUBTED
    return weight
