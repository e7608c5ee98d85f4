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
_AGE = 0xFFFFFFFF


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


@compiled("int64(int32)")
def _rank(bits: int) -> int:
    """A negative whole number of 32 bits that falls as a depth rises, WAITING for 0 or less; `bits`: the depth's."""
    # Float32 of 0 or more are ordered as the whole numbers of the same bits; those of others are negative.
    return WAITING - max(bits, 0)


@compiled("int32[:, ::1](int64[::1], int64[::1], int64[::1], float32[:, ::1])")
def _painted(starts: Index, stops: Index, label: Index, depth: Float32) -> Int32:
    """A framed image of runs with a label each; where that is WAITING, each pixel gets its rank."""
    width = depth.shape[1] + 2 * FRAME
    labels = np.zeros((depth.shape[0] + 2 * FRAME, width), np.int32)
    flat, bits = labels.reshape(-1), depth.view(np.int32)
    for run in range(len(starts)):
        row, before = starts[run] // width - FRAME, starts[run] // width * width + FRAME
        for at in range(starts[run], stops[run]):
            flat[at] = label[run] if label[run] != WAITING else _rank(bits[row, at - before])
    return labels


@compiled("void(int32[:, ::1], int64[::1], int64[::1], int64[::1], int64[::1], float32[:, ::1], int64)")
def _flood(
    labels: Int32, begins: Index, ends: Index, number: Index, piece: Index, depth: Float32, n_pixels: int
) -> None:
    """Give all waiting pixels of framed `labels` the label of the pixel they are reached from, the deepest first.

    A waiting pixel holds its rank. `begins`, `ends`, `number`, `piece`: the runs of the cores to start from, piece by
    piece; `n_pixels`: how many the largest piece has at most. As in scikit-image 0.26, water does not run uphill: a
    pixel counts as no deeper than the one it is reached from; of equally deep ones that which was reached first goes
    first; of the cores' own, the first in reading order (scikit-image leaves that to the inner order of its queue).
    """
    flat, width, bits = labels.reshape(-1), labels.shape[1], depth.view(np.int32)
    for i in range(len(begins)):
        flat[begins[i] : ends[i]] = number[i]
    # A key is a rank, by which the queue is ordered, and below it the number `age` of the pixel in order of reaching.
    queue, waiting = np.empty(n_pixels, np.int64), 0
    reached, age = np.empty(n_pixels, np.int64), 0
    for i in range(len(begins)):
        row, before = begins[i] // width - FRAME, begins[i] // width * width + FRAME
        for at in range(begins[i], ends[i]):
            if flat[at - 1] < 0 or flat[at + 1] < 0 or flat[at - width] < 0 or flat[at + width] < 0:
                push(queue, waiting, (_rank(bits[row, at - before]) << 32) + age)
                reached[age] = at
                waiting, age = waiting + 1, age + 1
        if i + 1 < len(begins) and piece[i + 1] == piece[i]:
            continue
        # All cores of a piece are in the queue: to flood it alone keeps queue and memory near.
        while waiting:
            key = pop(queue, waiting)
            waiting -= 1
            at = reached[key & _AGE]
            for step in (-width, -1, 1, width):
                rank = flat[at + step]
                if rank < 0:
                    flat[at + step] = flat[at]
                    push(queue, waiting, (max(rank, key >> 32) << 32) + age)
                    reached[age] = at + step
                    waiting, age = waiting + 1, age + 1
        age = 0


def flood_cores(starts: Index, stops: Index, depth: Float32, mpp: float) -> Int32:
    """The nucleus 1..n of each pixel, 0 for none, int32[h+4 w+4] (framed).

    `starts`, `stops`: runs of the framed mask. Connected pixels of the mask with a `depth` float32[h w] above CORE are
    a core, if they cover CORE_UM2; they are numbered in reading order. Where a piece of the mask holds one core it is
    that nucleus; where it holds several, they share it by a watershed. Depths below 0 count as 0.
    """
    width = depth.shape[1] + 2 * FRAME
    begins, ends = _deep(starts, stops, depth)
    core, n = components(begins, ends, width)
    large = np.bincount(core, weights=ends - begins, minlength=n) * mpp * mpp >= CORE_UM2
    number = np.where(large, np.cumsum(large), 0)[core]
    begins, ends, number = (runs[number > 0] for runs in (begins, ends, number))
    piece, n = components(starts, stops, width)
    within = piece[np.searchsorted(stops, begins, "right")]
    # The label of each piece: 0 where it has no core, WAITING where it has several.
    low, label = np.full(n, len(large) + 1), np.zeros(n, np.int64)
    np.minimum.at(low, within, number)
    np.maximum.at(label, within, number)
    label[low < label] = WAITING
    labels = _painted(starts, stops, label[piece], depth)
    shared = np.flatnonzero(label[within] == WAITING)
    shared = shared[np.argsort(within[shared], kind="stable")]
    _flood(labels, begins[shared], ends[shared], number[shared], within[shared], depth, int(np.sum(stops - starts)))
    return labels
