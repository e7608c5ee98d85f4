"""The network and the decoder as one: maps are handed to worker processes as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kras_profiler_cells.decode import BACKGROUND
from kras_profiler_cells.maps import in_bytes, opposite

if TYPE_CHECKING:
    from kras_plugins import Decode as Decoder
    from kras_plugins import Infer
    from kras_plugins.contracts.profiler import Outputs
    from kras_plugins.data import UInt8
    from kras_profiler_cells.decode import Decode


class Cells:
    """A Profiler of one network, whose one input is named `tiles`."""

    def __init__(self, decode: Decode, tiles: str, infer: Infer) -> None:
        self.decode: Decoder = decode
        self._words = decode.words
        self._tiles = tiles
        self._infer = infer

    def predict(self, tiles: UInt8) -> Outputs:
        """The network's maps of uint8[tile h w 3], in 255ths; HoVer maps, which have a sign, as they are."""
        maps = {**self._infer({self._tiles: tiles})}
        if "nucleus" not in maps:  # before it is rounded, as what is not a number is no nucleus then
            maps["nucleus"] = opposite(maps["classes"][:, self._words.index(BACKGROUND)])
        return {name: values if name == "hv" else in_bytes(values) for name, values in maps.items()}
