"""The focus of tiles; for tiles that reach beyond a field of view, only of the part inside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.slides.qc import blurred

if TYPE_CHECKING:
    from kras_plugins.data import Bool, UInt8
    from kras_plugins.processing.placement import Placement, Placements
    from kras_plugins.slides.stream import TileBatch


def out_of_focus(batch: TileBatch, places: Placements, mpp: float) -> Bool:
    """Which tiles of a batch are out of focus, bool[tile]; see `qc.blurred`.

    The white beyond a field has a sharp edge, which in a small field is the sharpest of the tile.
    """
    if not places.cut:
        return blurred(batch.pixels, mpp)
    own = [inside(tile, places[batch.first + i]) for i, tile in enumerate(batch.pixels)]
    return np.array([blurred(one[None], mpp)[0] for one in own], np.bool_)


def inside(tile: UInt8, where: Placement) -> UInt8:
    """The whole pixels of a tile uint8[h w 3], halo included, that lie in the field."""
    assert where.frame is not None
    (left, top), (right, bottom) = (
        [(at - corner) / scale for at, corner, scale in zip(edge, where.corner, where.scale, strict=True)]
        for edge in ((0.0, 0.0), where.frame)
    )
    rows, columns = (
        slice(max(0, int(np.ceil(low - 1e-6))), max(0, int(high + 1e-6)))
        for low, high in ((top, bottom), (left, right))
    )
    return tile[rows, columns]
