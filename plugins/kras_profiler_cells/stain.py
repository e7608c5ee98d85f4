"""Hematoxylin density by color deconvolution, shared by training and the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kras_profiler_cells.compiled import compiled

if TYPE_CHECKING:
    from kras_plugins.data import Float32, Int32, UInt8


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
SHARES = np.stack([_DENSITY * np.float32(weight) for weight in HEMATOXYLIN])
"""What each value 0..255 of R, G and B adds to the hematoxylin density: float32[3 256]."""


def hematoxylin(pixels: UInt8) -> Float32:
    """Hematoxylin optical density, float32 and >= 0, of uint8[... 3]."""
    r, g, b = SHARES
    density = r[pixels[..., 0]] + g[pixels[..., 1]] + b[pixels[..., 2]]
    return np.asarray(np.maximum(density, 0), dtype=np.float32)


@compiled("float32[::1](int32[::1], int32[::1], uint8[:, :, ::1])")
def hematoxylin_at(rows: Int32, cols: Int32, image: UInt8) -> Float32:
    """`hematoxylin` of some pixels of uint8[h w 3], float32[pixel]."""
    found = np.empty(len(rows), np.float32)
    for pixel in range(len(rows)):
        r, g, b = image[rows[pixel], cols[pixel]]
        found[pixel] = max(SHARES[0, r] + SHARES[1, g] + SHARES[2, b], np.float32(0))
    return found
