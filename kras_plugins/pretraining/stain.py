"""Another laboratory's stain: amounts of hematoxylin and eosin changed in optical density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kras_plugins.data import Float32

STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
"""Optical densities (R, G, B) of hematoxylin and eosin: Ruifrok & Johnston, Anal Quant Cytol Histol 2001;23:291-299."""
_DARKEST = 1 / 256


def restain(pixels: Float32, amounts: ArrayLike, base: ArrayLike = (0, 0, 0), turn: ArrayLike = 0.0) -> Float32:
    """Unmix hematoxylin, eosin and the rest of float32[h w 3] in [0, 1], multiply each by `amounts`, add `base`.

    `turn`: added to STAINS, [2 3], before mixing again: other dyes. Amounts of one, no base and no turn change nothing.
    """
    od = -np.log(np.maximum(pixels, _DARKEST)).reshape(-1, 3)
    mix = _basis(np.abs(STAINS + np.asarray(turn)))
    change = (np.linalg.inv(_basis(STAINS)) * np.asarray(amounts, np.float64)) @ mix
    new = od @ change.astype(np.float32) + (np.asarray(base, np.float64) @ mix).astype(np.float32)
    light: Float32 = np.minimum(np.exp(-new), 1).reshape(pixels.shape)
    return light


def another_laboratory(pixels: Float32, rng: np.random.Generator, strength: float) -> Float32:
    """`restain` by random amounts, base and dyes (after Tellez et al., Med Image Anal 2019;58:101544).

    One image in ten stays as it is.
    """
    if strength == 0 or rng.random() < 0.1:
        return pixels
    amounts = np.exp(rng.normal(0, 0.25 * strength, 3))
    return restain(pixels, amounts, rng.normal(0, 0.02 * strength, 3), rng.normal(0, 0.08 * strength, (2, 3)))


def _basis(stains: np.typing.NDArray[np.float64]) -> np.typing.NDArray[np.float64]:
    unit = stains / np.linalg.norm(stains, axis=1, keepdims=True)
    rest = np.cross(unit[0], unit[1])
    return np.stack([*unit, rest / np.linalg.norm(rest)])
