"""Star-convex outlines of all nuclei of a tile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kras_profiler_cells.compiled import compiled
from kras_profiler_cells.runs import FRAME

if TYPE_CHECKING:
    from kras_plugins.data import Float32, Int32
    from kras_profiler_cells.nuclei import Nuclei
    from kras_profiler_cells.runs import Index

RAYS = 32
_ANGLE = np.arange(RAYS) * (2 * np.pi / RAYS)
_COS, _SIN = np.cos(_ANGLE).astype(np.float32), np.sin(_ANGLE).astype(np.float32)


@compiled("boolean(int32[:, ::1], int64, float32, float32)")
def _inside(labels: Int32, label: int, x: float, y: float) -> bool:
    found: bool = labels[int(np.rint(y)) + FRAME, int(np.rint(x)) + FRAME] == label
    return found


@compiled("float32[:, :, ::1](int32[:, ::1], int64[::1], int32[::1], int32[::1], float32[::1], float32[::1])")
def _outlines(labels: Int32, starts: Index, rows: Int32, cols: Int32, x: Float32, y: Float32) -> Float32:
    found = np.empty((len(x), RAYS, 2), np.float32)
    for nucleus in range(len(x)):
        label = nucleus + 1
        from_x, from_y = x[nucleus], y[nucleus]
        if not _inside(labels, label, from_x, from_y):
            r, c = rows[starts[nucleus] : starts[label]], cols[starts[nucleus] : starts[label]]
            nearest = np.argmin((c - from_x) ** 2 + (r - from_y) ** 2)
            from_x, from_y = np.float32(c[nearest]), np.float32(r[nearest])
        for ray in range(RAYS):
            cos, sin, reach = _COS[ray], _SIN[ray], np.float32(0)
            for step in (np.float32(1), np.float32(0.5)):
                while _inside(labels, label, from_x + (reach + step) * cos, from_y + (reach + step) * sin):
                    reach += step
            found[nucleus, ray, 0], found[nucleus, ray, 1] = from_x + reach * cos, from_y + reach * sin
    return found


def outlines(nuclei: Nuclei, x: Float32, y: Float32) -> Float32:
    """Outlines float32[cell ray 2] (x, y) of pixel centers: where each of 32 rays first leaves the nucleus.

    Rays start at the centroid (`x`, `y`), or at the nucleus' pixel nearest to it where the centroid lies outside.
    Concave parts behind the first exit are cut, as in StarDist (Schmidt et al., MICCAI 2018).
    """
    return _outlines(nuclei.labels, nuclei.starts, nuclei.rows, nuclei.cols, x, y)
