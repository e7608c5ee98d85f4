"""The nuclei of a tile as stretches of pixels, from which shape, stain, texture and class are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.host.compiled import compiled
from kras_profiler_cells.runs import FRAME, runs_of

if TYPE_CHECKING:
    from kras_plugins.data import Int32, UInt8
    from kras_profiler_cells.runs import Index

    Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Nuclei:
    """`labels` int32[h+4 w+4], framed by zeros: nucleus i has the label `label[i]`; other labels do not count.

    Its pixels are the stretches `first[i]` to before `first[i + 1]`, in reading order: each from `starts` to before
    `stops`, flat positions in `labels` within one row. `first_pixel` int64[nucleus+1] counts pixels likewise: arrays
    float32[pixel] have a value for each, nucleus by nucleus.
    """

    labels: Int32
    label: Index
    first: Index
    starts: Index
    stops: Index
    first_pixel: Index

    def __len__(self) -> int:
        return len(self.label)

    @property
    def size(self) -> Index:
        """Pixels of each nucleus, int64[nucleus]."""
        return np.diff(self.first_pixel)

    @property
    def pixels(self) -> tuple[Index, Index]:
        """Rows and columns of all pixels in the image without frame, int64[pixel]."""
        at = np.concatenate([np.arange(0), *map(np.arange, self.starts, self.stops)])
        return at // self.labels.shape[1] - FRAME, at % self.labels.shape[1] - FRAME

    def map(self) -> Int32:
        """The label map int32[h w] of these nuclei, 1..n without gaps, 0 outside."""
        number = np.zeros(max(self.labels.max(initial=0), 0) + 1, np.int32)
        number[self.label] = np.arange(len(self)) + 1
        return number[self.labels[FRAME:-FRAME, FRAME:-FRAME]]


@compiled("UniTuple(int64[::1], 2)(int32[:, ::1], int64[::1], int64[::1])")
def stretches(labels: Int32, starts: Index, stops: Index) -> tuple[Index, Index]:
    """The parts of one label, not 0, of runs outside of which framed `labels` are 0."""
    flat = labels.reshape(-1)
    room = np.sum(stops - starts) + 1
    begins, ends, n, m = np.empty(room, np.int64), np.empty(room, np.int64), 0, 0
    for run in range(len(starts)):
        before = 0
        for at in range(starts[run], stops[run] + 1):
            label = flat[at]
            # Kept only if the next line counts it: avoids a branch.
            begins[n], ends[m] = at, at
            n += (label != before) & (label != 0)
            m += (label != before) & (before != 0)
            before = label
    return begins[:n].copy(), ends[:n].copy()


@compiled("int64[:, ::1](int32[:, ::1], int64[::1], int64[::1], uint8[:, ::1], int64)")
def tally(labels: Int32, starts: Index, stops: Index, image: UInt8, n: int) -> Index:
    """For each label 0..n of framed `labels`: pixels, sums of their columns, rows and `image`, int64[4 label].

    `starts`, `stops`: `stretches` of the labels; `image` is not framed.
    """
    flat, values, width, w = labels.reshape(-1), image.reshape(-1), labels.shape[1], image.shape[1]
    sums = np.zeros((4, n + 1), np.int64)
    for i in range(len(starts)):
        label, length = flat[starts[i]], stops[i] - starts[i]
        row, col = starts[i] // width - FRAME, starts[i] % width - FRAME
        total = 0
        for pixel in range(row * w + col, row * w + col + length):
            total += values[pixel]
        sums[0, label] += length
        sums[1, label] += length * col + length * (length - 1) // 2
        sums[2, label] += length * row
        sums[3, label] += total
    return sums


@compiled("int64[::1](int64[:, ::1], UniTuple(float64, 2), float64, UniTuple(float64, 2), UniTuple(float64, 2))")
def chosen(sums: Index, pixels: Interval, least: float, columns: Interval, rows: Interval) -> Index:
    """The labels of a `tally` whose numbers of `pixels`, mean `columns` and mean `rows` lie in the intervals, ends
    included, and whose image has a mean of at least `least`; never 0."""
    kept, n = np.empty(sums.shape[1], np.int64), 0
    for label in range(1, sums.shape[1]):
        size = sums[0, label]
        if size > 0 and pixels[0] <= size <= pixels[1] and sums[3, label] >= least * size:
            inside = columns[0] <= sums[1, label] / size <= columns[1] and rows[0] <= sums[2, label] / size <= rows[1]
            kept[n] = label
            n += inside
    return kept[:n].copy()


@compiled("UniTuple(int64[::1], 4)(int32[:, ::1], int64[::1], int64[::1], int64[::1], int64[::1])")
def _by_nucleus(
    labels: Int32, starts: Index, stops: Index, size: Index, kept: Index
) -> tuple[Index, Index, Index, Index]:
    """`first`, `starts`, `stops` and `first_pixel` of Nuclei; `size`: pixels of each label, `kept`: the labels."""
    flat, n = labels.reshape(-1), len(kept)
    number, first_pixel = np.zeros(len(size), np.int64), np.zeros(n + 1, np.int64)
    for nucleus in range(n):
        number[kept[nucleus]] = nucleus + 1
        first_pixel[nucleus + 1] = first_pixel[nucleus] + size[kept[nucleus]]
    first = np.zeros(n + 2, np.int64)
    for i in range(len(starts)):
        first[number[flat[starts[i]]] + 1] += 1
    first = np.cumsum(first)
    following, left_out = first.copy(), first[1]
    begins, ends = np.empty(len(starts) - left_out, np.int64), np.empty(len(starts) - left_out, np.int64)
    for i in range(len(starts)):
        nucleus = number[flat[starts[i]]]
        if nucleus:
            at = following[nucleus]
            following[nucleus] = at + 1
            begins[at - left_out], ends[at - left_out] = starts[i], stops[i]
    return first[1:] - left_out, begins, ends, first_pixel


@compiled("int64[:, ::1](int64, int64[::1], int64[::1], int64[::1], uint8[:, :, ::1], int64)")
def _sums(width: int, first: Index, starts: Index, stops: Index, maps: UInt8, step: int) -> Index:
    found = np.zeros((len(first) - 1, len(maps)), np.int64)
    for nucleus in range(len(first) - 1):
        for i in range(first[nucleus], first[nucleus + 1]):
            row = starts[i] // width
            begin, end = starts[i] - row * width - FRAME, stops[i] - row * width - FRAME
            left, right, coarse = begin // step, (end - 1) // step, (row - FRAME) // step
            for m in range(len(maps)):
                line, total = maps[m, coarse], 0
                for at in range(left, right + 1):
                    total += line[at]
                # Only parts of the first and last pixel of the map may be in the stretch.
                over = (begin - left * step) * line[left] + ((right + 1) * step - end) * line[right]
                found[nucleus, m] += total * step - over
    return found


def nuclei_of(labels: Int32) -> Nuclei:
    """The nuclei of a label map int32[h w], labels 1..n without gaps."""
    framed = np.pad(labels.astype(np.int32), FRAME)
    size = np.bincount(labels.ravel())
    return nuclei_in(framed, *stretches(framed, *runs_of(framed != 0)), size, np.arange(1, len(size)))


def nuclei_in(labels: Int32, starts: Index, stops: Index, size: Index, kept: Index) -> Nuclei:
    """The nuclei of framed `labels` int32[h+4 w+4] whose labels are `kept`, int64[nucleus].

    `starts`, `stops`: `stretches` of the labels; `size`: pixels of each label, int64[label].
    """
    first, starts, stops, first_pixel = _by_nucleus(labels, starts, stops, size, kept)
    return Nuclei(labels=labels, label=kept, first=first, starts=starts, stops=stops, first_pixel=first_pixel)


def sums(nuclei: Nuclei, maps: UInt8) -> Index:
    """int64[nucleus map]: sum of each map of uint8[map h/k w/k], for an integer k, over the pixels of each nucleus."""
    n, (height, width) = nuclei, nuclei.labels.shape
    found: Index = _sums(width, n.first, n.starts, n.stops, maps, (height - 2 * FRAME) // maps.shape[1])
    return found
