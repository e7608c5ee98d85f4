"""Colors of layers: as `#rrggbb` for a legend, as RGBA for a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import UInt8

Color = tuple[int, int, int]


def hex_of(color: Color) -> str:
    """`#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def table(colors: Sequence[Color | None]) -> UInt8:
    """RGBA uint8[code 4] for 256 codes: opaque colors; transparent for None and for codes without a color."""
    rgba = np.zeros((256, 4), np.uint8)
    for code, color in enumerate(colors):
        if color is not None:
            rgba[code] = (*color, 255)
    return rgba


def shown(rgba: UInt8, codes: Sequence[str | None], keys: frozenset[str] | None) -> UInt8:
    """The table with all codes transparent except those whose key is in `keys`; None keeps all."""
    if keys is None:
        return rgba
    kept = np.zeros_like(rgba)
    for code, key in enumerate(codes):
        if key in keys:
            kept[code] = rgba[code]
    return kept


def painted(codes: npt.NDArray[np.uint8], rgba: UInt8) -> UInt8:
    """RGBA uint8[h w 4] of codes uint8[h w]."""
    return rgba.view(np.uint32).ravel()[np.ascontiguousarray(codes)].view(np.uint8).reshape(*codes.shape, 4)
