"""The network and the decoder as one: maps are handed to worker processes as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kras_profiler_cells.maps import in_bytes

if TYPE_CHECKING:
    from kras_plugins import Decode, Infer
    from kras_plugins.contracts.profiler import Outputs
    from kras_plugins.data import UInt8


@dataclass(kw_only=True)
class Cells:
    """A Profiler of one network, whose one input has the name `input`."""

    decode: Decode
    input: str
    infer: Infer

    def predict(self, tiles: UInt8) -> Outputs:
        """The network's maps of uint8[tile h w 3], in 255ths; HoVer maps, which have a sign, as they are."""
        maps = self.infer({self.input: tiles})
        return {name: values if name == "hv" else in_bytes(values) for name, values in maps.items()}
