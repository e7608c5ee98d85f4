"""Star-convex outlines of all nuclei of a tile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.host.compiled import compiled
from kras_profiler_cells.runs import FRAME

if TYPE_CHECKING:
    from kras_plugins.data import Float32, Int32
    from kras_profiler_cells.nuclei import Nuclei
    from kras_profiler_cells.runs import Index

RAYS = 32
_ANGLE = np.arange(RAYS) * (2 * np.pi / RAYS)
_COS, _SIN = np.cos(_ANGLE).astype(np.float32), np.sin(_ANGLE).astype(np.float32)


@compiled("boolean(int32[::1], int64, int64, float32, float32)")
def _inside(flat: Int32, width: int, label: int, x: float, y: float) -> bool:
    found: bool = flat[(int(np.rint(y)) + FRAME) * width + int(np.rint(x)) + FRAME] == label
    return found


@compiled(
    "float32[:, :, ::1](int32[:, ::1], int64[::1], int64[::1], int64[::1], int64[::1], float32[::1], float32[::1])"
)
def _outlines(
    labels: Int32, label: Index, first: Index, starts: Index, stops: Index, x: Float32, y: Float32
) -> Float32:
    flat, width = labels.reshape(-1), labels.shape[1]
    found = np.empty((len(x), RAYS, 2), np.float32)
    for nucleus in range(len(x)):
        own = label[nucleus]
        from_x, from_y = x[nucleus], y[nucleus]
        if not _inside(flat, width, own, from_x, from_y):
            least = np.inf
            for i in range(first[nucleus], first[nucleus + 1]):
                row, col = starts[i] // width - FRAME, starts[i] % width - FRAME
                for c in range(col, col + stops[i] - starts[i]):
                    far = (c - x[nucleus]) ** 2 + (row - y[nucleus]) ** 2
                    if far < least:
                        least, from_x, from_y = far, np.float32(c), np.float32(row)
        for ray in range(RAYS):
            cos, sin, reach = _COS[ray], _SIN[ray], np.float32(0)
            for step in (np.float32(1), np.float32(0.5)):
                while _inside(flat, width, own, from_x + (reach + step) * cos, from_y + (reach + step) * sin):
                    reach += step
            found[nucleus, ray, 0], found[nucleus, ray, 1] = from_x + reach * cos, from_y + reach * sin
    return found


def outlines(nuclei: Nuclei, x: Float32, y: Float32) -> Float32:
    """Outlines float32[cell ray 2] (x, y) of pixel centers: where each of 32 rays first leaves the nucleus.

    Rays start at the centroid (`x`, `y`), or at the nucleus' pixel nearest to it where the centroid lies outside.
    Concave parts behind the first exit are cut, as in StarDist (Schmidt et al., MICCAI 2018).
    """
    return _outlines(nuclei.labels, nuclei.label, nuclei.first, nuclei.starts, nuclei.stops, x, y)
