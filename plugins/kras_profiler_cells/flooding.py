"""Nuclei from the runs of a mask: each connected core floods its basin (marker-based watershed)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kras_profiler_cells.compiled import compiled
from kras_profiler_cells.heap import pop, push
from kras_profiler_cells.runs import FRAME, components

if TYPE_CHECKING:
    from kras_plugins.data import Float32, Int32
    from kras_profiler_cells.runs import Index

CORE = 0.4
"""A pixel deeper in its nucleus than this (of 1) is in the nucleus' core: cores of neighbors are apart."""
CORE_UM2 = 1.25
"""Smaller cores are noise. Both were chosen on the training side (training/cells.py), as was the default `min_prob`."""
WAITING = -1
"""Pixels of the mask that no core has reached yet."""
_LAST = 0x7FFFFFFF


@compiled("Tuple((int64[::1], int64[::1]))(int64[::1], int64[::1], float32[:, ::1])")
def _deep(starts: Index, stops: Index, depth: Float32) -> tuple[Index, Index]:
    """The parts of runs that are deeper than CORE, as runs."""
    width = depth.shape[1] + 2 * FRAME
    room = (np.sum(stops - starts) + len(starts)) // 2  # a run of n pixels has at most (n + 1) / 2 parts
    begins, ends, n = np.empty(room, np.int64), np.empty(room, np.int64), 0
    for run in range(len(starts)):
        row, first = starts[run] // width - FRAME, starts[run] % width - FRAME
        inside = False
        for i in range(stops[run] - starts[run]):
            if (depth[row, first + i] > CORE) != inside:
                if inside:
                    ends[n] = starts[run] + i
                    n += 1
                else:
                    begins[n] = starts[run] + i
                inside = not inside
        if inside:
            ends[n] = stops[run]
            n += 1
    return begins[:n].copy(), ends[:n].copy()


@compiled("int64[::1](int64[::1], int64[::1], int64, float64)")
def _large(starts: Index, stops: Index, width: int, mpp: float) -> Index:
    """The component 1..n of each run among those that are large enough, 0 for smaller ones."""
    component, n = components(starts, stops, width)
    size = np.zeros(n, np.int64)
    for run in range(len(starts)):
        size[component[run]] += stops[run] - starts[run]
    large = size * mpp * mpp >= CORE_UM2
    number = np.where(large, np.cumsum(large), 0)
    return number[component]


@compiled("int64(int64)")
def _height(bits: int) -> int:
    """A whole number that falls as a depth rises, its lower 32 bits 0.

    `bits`: those of the float32; as a whole number they are ordered as it is, negative ones in reverse.
    """
    return -(bits if bits >= 0 else -(bits & _LAST)) << 32


@compiled("void(int32[:, ::1], int64[::1], int64[::1], float32[:, ::1])")
def _watershed(labels: Int32, begins: Index, ends: Index, depth: Float32) -> None:
    """Give all WAITING pixels the label of the pixel they are reached from, the deepest pixels first.

    `begins`, `ends`: the runs of the cores that have a label. Of equally deep pixels that which was reached first goes
    first, as in scikit-image; of cores' pixels, the first in reading order (scikit-image leaves that to the inner order
    of its queue).
    """
    width, inner = labels.shape[1], depth.shape[1]
    flat, bits = labels.reshape(-1), depth.reshape(-1).view(np.int32)
    room = np.sum(ends - begins) + np.sum(flat == WAITING)
    # A key is a height, by which the queue is ordered, and below it the number `age` of the pixel in order of reaching.
    queue, waiting, age = np.empty(room, np.int64), 0, 0
    reached, inside = np.empty(room, np.int64), np.empty(room, np.int64)  # positions in `labels` and in `depth`
    for i in range(len(begins)):
        before = (begins[i] // width - FRAME) * inner + begins[i] % width - FRAME - begins[i]
        for at in range(begins[i], ends[i]):
            for step in (-1, 1, -width, width):
                if flat[at + step] == WAITING:
                    push(queue, waiting, _height(bits[at + before]) + age)
                    reached[age], inside[age] = at, at + before
                    waiting, age = waiting + 1, age + 1
                    break
    while waiting:
        first = pop(queue, waiting) & _LAST
        waiting -= 1
        at = reached[first]
        for step, across in ((-width, -inner), (-1, -1), (1, 1), (width, inner)):
            if flat[at + step] == WAITING:
                flat[at + step] = flat[at]
                push(queue, waiting, _height(bits[inside[first] + across]) + age)
                reached[age], inside[age] = at + step, inside[first] + across
                waiting, age = waiting + 1, age + 1


@compiled("int32[:, ::1](int64[::1], int64[::1], float32[:, ::1], float64)")
def flood_cores(starts: Index, stops: Index, depth: Float32, mpp: float) -> Int32:
    """The nucleus 1..n of each pixel, 0 for none, int32[h+4 w+4] (framed).

    `starts`, `stops`: runs of the framed mask. Connected pixels of the mask with a `depth` float32[h w] above CORE are
    a core, if they cover CORE_UM2; they are numbered in reading order. Where a piece of the mask holds one core it is
    that nucleus; where it holds several, they share it by a watershed.
    """
    width = depth.shape[1] + 2 * FRAME
    labels = np.zeros((depth.shape[0] + 2 * FRAME, width), np.int32)
    flat = labels.reshape(-1)
    begins, ends = _deep(starts, stops, depth)
    number = _large(begins, ends, width, mpp)
    piece, n = components(starts, stops, width)
    # The core of each piece: 0 where it has none, WAITING where it has several.
    only = np.zeros(n, np.int64)
    run = 0
    for i in range(len(begins)):
        while stops[run] <= begins[i]:
            run += 1
        found = only[piece[run]]
        if number[i] and found != number[i]:
            only[piece[run]] = WAITING if found else number[i]
    for run in range(len(starts)):
        flat[starts[run] : stops[run]] = only[piece[run]]
    shared = (number > 0) & (flat[begins] == WAITING)
    begins, ends, number = begins[shared], ends[shared], number[shared]
    for i in range(len(begins)):
        flat[begins[i] : ends[i]] = number[i]
    _watershed(labels, begins, ends, depth)
    return labels
