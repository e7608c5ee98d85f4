"""The network and the decoder together: maps are passed to worker processes as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_profiler_cells.decode import BACKGROUND
from kras_profiler_cells.maps import in_bytes, opposite

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins import Decode as Decoder
    from kras_plugins import Infer
    from kras_plugins.contracts.profiler import Outputs
    from kras_plugins.data import UInt8
    from kras_profiler_cells.decode import Decode


WAYS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
"""Steps along rows and columns: a tile as it is, and mirrored left to right, top to bottom and both."""


class Cells:
    """A Profiler of one network, whose only input is named `tiles`.

    `flips`: average the network's maps of each tile and of its three mirror images.
    """

    def __init__(self, decode: Decode, tiles: str, infer: Infer, *, flips: bool = False) -> None:
        self.decode: Decoder = decode
        self._words = decode.words
        self._tiles = tiles
        self._infer = infer
        self._flips = flips

    def predict(self, tiles: UInt8) -> Outputs:
        """The network's maps of uint8[tile h w 3], in 255ths; HoVer maps, which have a sign, as they are."""
        if not self._flips:
            return self._maps(tiles)
        return mean([mirrored(self._maps(np.ascontiguousarray(_turned(tiles, way))), way) for way in WAYS])

    def _maps(self, tiles: UInt8) -> Outputs:
        maps = {**self._infer({self._tiles: tiles})}
        if "nucleus" not in maps:  # before rounding, so that NaN is not a nucleus
            maps["nucleus"] = opposite(maps["classes"][:, self._words.index(BACKGROUND)])
        return {name: values if name == "hv" else in_bytes(values) for name, values in maps.items()}


def mirrored(maps: Outputs, way: tuple[int, int]) -> Outputs:
    """Maps [tile … h w] of mirrored tiles mirrored back; `way`: -1 if rows, and if columns, were reversed.

    HoVer maps [tile 2 h w] grow along columns and along rows: mirrored ones grow the other way.
    """
    back = {name: _turned(values, way, first=values.ndim - 2) for name, values in maps.items()}
    if "hv" in back:
        back["hv"] = back["hv"] * np.array(way[::-1], np.float32)[:, None, None]
    return back


def mean(several: Sequence[Outputs]) -> Outputs:
    """The mean of each map, uint8 rounded to the nearest."""
    found: dict[str, npt.NDArray[Any]] = {}
    for name, first in several[0].items():
        if first.dtype != np.uint8:
            found[name] = np.asarray(np.mean([maps[name] for maps in several], 0, dtype=first.dtype))
            continue
        total: npt.NDArray[np.uint16] = np.sum([maps[name] for maps in several], 0, dtype=np.uint16)
        found[name] = ((total + len(several) // 2) // len(several)).astype(np.uint8)
    return found


def _turned(values: npt.NDArray[Any], way: tuple[int, int], first: int = 1) -> npt.NDArray[Any]:
    return values[(slice(None),) * first + tuple(slice(None, None, step) for step in way)]
