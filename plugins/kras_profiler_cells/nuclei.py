"""The pixels of all nuclei of a tile, nucleus by nucleus: what shape, stain, texture and class are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kras_profiler_cells.compiled import compiled
from kras_profiler_cells.runs import FRAME, runs_of

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float32, Float64, Int32
    from kras_profiler_cells.runs import Index


@dataclass(frozen=True, kw_only=True)
class Nuclei:
    """`labels` int32[h+4 w+4]: 1..n inside the nuclei, framed by zeros.

    Pixels are sorted by nucleus and within one in reading order: `at` int32[pixel] positions in the flattened `labels`,
    `rows` and `cols` int32[pixel] in the image without frame. Pixels of nucleus i are those from `starts[i]` to before
    `starts[i + 1]`; `size[i]` is their number.
    """

    labels: Int32
    at: Int32
    rows: Int32
    cols: Int32
    starts: Index

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def size(self) -> Index:
        """Pixels of each nucleus, int64[nucleus]."""
        return np.diff(self.starts)


@compiled("UniTuple(int32[::1], 3)(int32[:, ::1], int64[::1], int64[::1], int64[::1], int64[::1])")
def _listed(labels: Int32, starts: Index, stops: Index, number: Index, begins: Index) -> tuple[Int32, Int32, Int32]:
    """`at`, `rows` and `cols` of Nuclei; each label becomes its `number`, of which pixels begin at `begins`."""
    flat, width = labels.reshape(-1), labels.shape[1]
    n_pixels, following = begins[-1], begins.copy()
    positions, rows, cols = np.empty(n_pixels, np.int32), np.empty(n_pixels, np.int32), np.empty(n_pixels, np.int32)
    for run in range(len(starts)):
        row, before = starts[run] // width - FRAME, starts[run] // width * width + FRAME
        for at in range(starts[run], stops[run]):
            label = number[flat[at]]
            flat[at] = label
            if label:
                pixel = following[label - 1]
                following[label - 1] = pixel + 1
                positions[pixel], rows[pixel], cols[pixel] = at, row, at - before
    return positions, rows, cols


@compiled("Tuple((int64[::1], float64[:, ::1]))(int32[:, ::1], int64[::1], int64[::1], float32[:, ::1], int64)")
def tally(labels: Int32, starts: Index, stops: Index, image: Float32, n: int) -> tuple[Index, Float64]:
    """Of each label 0..n of framed `labels`: pixels; sums of their columns, rows and `image`, float64[3 label].

    All pixels lie in the runs from `starts` to before `stops`; `image` is not framed.
    """
    flat, width = labels.reshape(-1), labels.shape[1]
    size, sums = np.zeros(n + 1, np.int64), np.zeros((3, n + 1))
    for run in range(len(starts)):
        row, before = starts[run] // width - FRAME, starts[run] // width * width + FRAME
        for at in range(starts[run], stops[run]):
            label, col = flat[at], at - before
            size[label] += 1
            sums[0, label] += col
            sums[1, label] += row
            sums[2, label] += image[row, col]
    return size, sums


@compiled("float64[:, ::1](int64[::1], int32[::1], int32[::1], float32[:, :, ::1], int64)")
def _means(starts: Index, rows: Int32, cols: Int32, maps: Float32, step: int) -> Float64:
    coarse = np.arange(max(maps.shape[1:]) * step) // step
    found = np.zeros((len(starts) - 1, len(maps)))
    for nucleus in range(len(starts) - 1):
        for i in range(len(maps)):
            total = 0.0
            for pixel in range(starts[nucleus], starts[nucleus + 1]):
                total += maps[i, coarse[rows[pixel]], coarse[cols[pixel]]]
            found[nucleus, i] = total / (starts[nucleus + 1] - starts[nucleus])
    return found


@compiled("float32[::1](int32[::1], int32[::1], float32[:, ::1])")
def at_pixels(rows: Int32, cols: Int32, image: Float32) -> Float32:
    """float32[pixel]: the values of float32[h w] at pixels."""
    found = np.empty(len(rows), np.float32)
    for pixel in range(len(rows)):
        found[pixel] = image[rows[pixel], cols[pixel]]
    return found


def nuclei_of(labels: Int32) -> Nuclei:
    """The nuclei of a label map int32[h w], labels 1..n without gaps."""
    framed = np.pad(labels.astype(np.int32), FRAME)
    size = np.bincount(labels.ravel())
    return nuclei_in(framed, *runs_of(framed != 0), size, size > 0)


def nuclei_in(labels: Int32, starts: Index, stops: Index, size: Index, kept: Bool) -> Nuclei:
    """The nuclei of framed `labels` int32[h+4 w+4] that are `kept`, bool[label]; they are numbered anew in place.

    All their pixels lie in the runs from `starts` to before `stops`; `size`: pixels of each label, int64[label].
    """
    kept[0] = False
    begins = np.append(0, np.cumsum(size[kept]))
    at, rows, cols = _listed(labels, starts, stops, np.where(kept, np.cumsum(kept), 0), begins)
    return Nuclei(labels=labels, at=at, rows=rows, cols=cols, starts=begins)


def means(nuclei: Nuclei, maps: Float32) -> Float64:
    """float64[nucleus map]: mean of each map of float32[map h/k w/k], for a whole k, over each nucleus."""
    step = (nuclei.labels.shape[0] - 2 * FRAME) // maps.shape[1]
    return _means(nuclei.starts, nuclei.rows, nuclei.cols, maps, step)
