"""Star-convex outlines of all nuclei of a tile at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kras_profiler_cells.nuclei import FRAME, Nuclei

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float32

RAYS = 32
AHEAD = 8
"""Steps of one pixel looked at in one go."""


def outlines(nuclei: Nuclei, x: Float32, y: Float32) -> Float32:
    """Outlines float32[cell ray 2] (x, y) of pixel centers: where each of 32 rays first leaves the nucleus.

    Rays start at the centroid (`x`, `y`), or at the nucleus' pixel nearest to it where the centroid lies outside.
    Concave parts behind the first exit are cut, as in StarDist (Schmidt et al., MICCAI 2018).
    """
    start_x, start_y = _starts(nuclei, x, y)
    angle = np.arange(RAYS) * (2 * np.pi / RAYS)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    flat, width = nuclei.labels.ravel(), nuclei.labels.shape[1]
    cell, ray = (a.ravel() for a in np.indices((len(nuclei), RAYS), np.int32))

    def inside(at: npt.NDArray[np.intp], reach: Float32) -> Bool:
        """bool[at step]: whether rays `at` are in their nucleus after each length of float32[at step]."""
        of, along = cell[at], ray[at]
        column = np.rint(start_x[of, None] + reach * cos[along, None]).astype(np.int32)
        row = np.rint(start_y[of, None] + reach * sin[along, None]).astype(np.int32)
        # Far steps may lie outside of the frame, but only behind one in the frame, where the ray has ended.
        found = flat.take((row + FRAME) * width + (column + FRAME), mode="clip")
        out: Bool = found == of[:, None] + 1
        return out

    reach = np.zeros(len(cell), np.float32)
    steps = np.arange(1, AHEAD + 1, dtype=np.float32)
    going = np.arange(len(cell))
    while len(going):
        still = inside(going, reach[going, None] + steps)
        whole = still.all(1)
        reach[going] += np.where(whole, AHEAD, still.argmin(1)).astype(np.float32)
        going = going[whole]
    reach[inside(np.arange(len(cell)), reach[:, None] + np.float32(0.5))[:, 0]] += np.float32(0.5)
    far = reach.reshape(-1, RAYS)
    return np.stack([start_x[:, None] + far * cos, start_y[:, None] + far * sin], axis=2)


def _starts(nuclei: Nuclei, x: Float32, y: Float32) -> tuple[Float32, Float32]:
    column, row = np.rint(x).astype(np.int32) + FRAME, np.rint(y).astype(np.int32) + FRAME
    outside = np.flatnonzero(nuclei.labels[row, column] != np.arange(1, len(nuclei) + 1))
    x, y = x.copy(), y.copy()
    for i in outside.tolist():
        pixels = slice(nuclei.starts[i], nuclei.starts[i] + nuclei.size[i])
        rows, cols = nuclei.rows[pixels], nuclei.cols[pixels]
        nearest = np.argmin((cols - x[i]) ** 2 + (rows - y[i]) ** 2)
        x[i], y[i] = cols[nearest], rows[nearest]
    return x, y
