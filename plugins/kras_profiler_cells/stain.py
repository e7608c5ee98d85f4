"""Hematoxylin density by color deconvolution; numpy only, shared by the network and the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kras_plugins.data import Float32, UInt8


def _unmixing() -> tuple[float, float, float]:
    # Ruifrok AC, Johnston DA. Anal Quant Cytol Histol 2001;23:291-299: optical densities (R, G, B) of each stain;
    # a third, residual direction at right angles makes the mixture invertible.
    mixing = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    mixing /= np.linalg.norm(mixing, axis=1, keepdims=True)
    residual = np.cross(*mixing)
    inverse = np.linalg.inv(np.stack([*mixing, residual / np.linalg.norm(residual)]))
    return float(inverse[0, 0]), float(inverse[1, 0]), float(inverse[2, 0])


HEMATOXYLIN = _unmixing()
"""Hematoxylin density = these three times the optical densities of R, G and B, OD = -log10((value + 1) / 256)."""

_DENSITY = -np.log10((np.arange(256, dtype=np.float32) + 1) / 256)


def hematoxylin(pixels: UInt8) -> Float32:
    """Hematoxylin optical density, float32 and >= 0, of uint8[... 3]."""
    r, g, b = (_DENSITY * np.float32(weight) for weight in HEMATOXYLIN)
    density = r[pixels[..., 0]] + g[pixels[..., 1]] + b[pixels[..., 2]]
    return np.asarray(np.maximum(density, 0), dtype=np.float32)
