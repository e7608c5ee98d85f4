"""Hematoxylin density by color deconvolution, shared by training and the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.host.compiled import compiled
from kras_profiler_cells.runs import FRAME

if TYPE_CHECKING:
    from kras_plugins.data import Float32, UInt8
    from kras_profiler_cells.nuclei import Nuclei
    from kras_profiler_cells.runs import Index


def _unmixing() -> tuple[float, float, float]:
    # Ruifrok AC, Johnston DA. Anal Quant Cytol Histol 2001;23:291-299: optical densities (R, G, B) of each stain;
    # a third, residual direction at right angles makes the mixing matrix invertible.
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


@compiled("float32[::1](int64[::1], int64[::1], int64, int64, uint8[:, :, ::1])")
def _hematoxylin_at(starts: Index, stops: Index, width: int, n_pixels: int, image: UInt8) -> Float32:
    found, n, values = np.empty(n_pixels, np.float32), 0, image.reshape(-1)
    for i in range(len(starts)):
        row, col = starts[i] // width - FRAME, starts[i] % width - FRAME
        at = 3 * (row * image.shape[1] + col)
        for _ in range(stops[i] - starts[i]):
            density = SHARES[0, values[at]] + SHARES[1, values[at + 1]] + SHARES[2, values[at + 2]]
            found[n] = max(density, np.float32(0))
            at, n = at + 3, n + 1
    return found


def hematoxylin_at(nuclei: Nuclei, image: UInt8) -> Float32:
    """`hematoxylin` of uint8[h w 3] at the pixels of nuclei, float32[pixel]."""
    return _hematoxylin_at(nuclei.starts, nuclei.stops, nuclei.labels.shape[1], int(nuclei.first_pixel[-1]), image)
