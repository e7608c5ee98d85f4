"""A network's maps in 255ths: a quarter of the memory, and few enough levels for a watershed with one queue each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.host.compiled import compiled
from kras_profiler_cells import TOP

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float32, UInt8


@compiled("uint8[::1](float32[::1])")
def _in_bytes(values: Float32) -> UInt8:
    found = np.empty(len(values), np.uint8)
    for i in range(len(values)):
        scaled = values[i] * np.float32(TOP) + np.float32(0.5)
        scaled = scaled if scaled > 0 else np.float32(0)
        found[i] = np.uint8(scaled if scaled < TOP else np.float32(TOP))
    return found


def in_bytes(values: npt.NDArray[Any]) -> UInt8:
    """A map of 0 to 1 as uint8 of 0 to 255, rounded and clipped; NaN becomes 0. uint8 stays as it is."""
    if values.dtype == np.uint8:
        return plain(values, np.uint8)
    return _in_bytes(plain(values).reshape(-1)).reshape(values.shape)


def opposite(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """1 - values; of uint8, which are 255ths, 255 - values."""
    return (TOP if values.dtype == np.uint8 else 1) - values


def plain(array: npt.NDArray[Any], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """The array as compiled functions need it: of this dtype, writable, in row order; copied only if it is not."""
    return np.require(array, dtype, ("C", "W"))
