"""Means over areas of pixels, compiled: one call per tile, without a lock that other reading threads wait for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.host.compiled import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float32, UInt8

    Shares = tuple[npt.NDArray[np.int64], Float32]

_SHARES = "Tuple((int64[:, ::1], float32[:, ::1]))"


@compiled(f"{_SHARES}(float64, float64, int64, int64)")
def shares(start: float, step: float, n_out: int, n_in: int) -> Shares:
    """Which input pixels make each of `n_out` output pixels along one axis, int64[n_out k], and their share of it,
    float32[n_out k], which sums to one; see `resample.resample` for `start` and `step`."""
    taps = math.ceil(step) + 1 if step >= 1 else 2
    index, share = np.empty((n_out, taps), np.int64), np.empty((n_out, taps), np.float32)
    for i in range(n_out):
        if step >= 1:
            low = start + step * i
            for k in range(taps):
                at = math.floor(low) + k
                covered = min(at + 1, low + step) - max(at, low)
                index[i, k], share[i, k] = at, np.float32(max(covered, 0.0) / step)
        else:
            center = start + step * (i + 0.5) - 0.5
            for k in range(taps):
                at = math.floor(center) + k
                index[i, k], share[i, k] = at, np.float32(1 - abs(at - center))
        for k in range(taps):
            index[i, k] = min(max(index[i, k], 0), n_in - 1)
    return index, share


@compiled("uint8[:, :, ::1](uint8[:, :, ::1], UniTuple(float64, 2), UniTuple(float64, 2), UniTuple(int64, 2))")
def means(pixels: UInt8, start: tuple[float, float], step: tuple[float, float], size: tuple[int, int]) -> UInt8:
    """`resample.resample` for cells that are not whole pixels: down columns first, then along rows, in float32."""
    height, width = pixels.shape[:2]
    rows, row_shares = shares(start[1], step[1], size[1], height)
    columns, column_shares = shares(start[0], step[0], size[0], width)
    out = np.empty((size[1], size[0], 3), np.uint8)
    line = np.empty(width * 3, np.float32)
    flat = pixels.reshape(height, width * 3)
    for y in range(size[1]):
        line[:] = 0
        for k in range(rows.shape[1]):
            share, row = row_shares[y, k], flat[rows[y, k]]
            if share > 0:
                for i in range(width * 3):
                    line[i] += share * np.float32(row[i])
        for x in range(size[0]):
            red, green, blue = np.float32(0), np.float32(0), np.float32(0)
            for k in range(columns.shape[1]):
                share, at = column_shares[x, k], 3 * columns[x, k]
                red += share * line[at]
                green += share * line[at + 1]
                blue += share * line[at + 2]
            out[y, x, 0] = np.uint8(np.rint(red))
            out[y, x, 1] = np.uint8(np.rint(green))
            out[y, x, 2] = np.uint8(np.rint(blue))
    return out
