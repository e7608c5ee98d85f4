"""Nuclei from the runs of a mask: each connected core floods its basin (marker-based watershed)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.host.compiled import compiled
from kras_profiler_cells import TOP
from kras_profiler_cells.runs import FRAME, components

if TYPE_CHECKING:
    from kras_plugins.data import Int32, UInt8
    from kras_profiler_cells.runs import Index

CORE = 0.4
"""A pixel deeper in its nucleus than this (of 1) is in the nucleus' core: cores of neighbors do not touch."""
CORE_UM2 = 1.25
"""Smaller cores are noise. Both were chosen on the training side (training/cells.py), as was the default `min_prob`."""
WAITING = -1
_NONE = -1


@compiled("UniTuple(int64[::1], 2)(int64[::1], int64[::1], uint8[:, ::1])")
def _deep(starts: Index, stops: Index, depth: UInt8) -> tuple[Index, Index]:
    """The parts of runs that are deeper than CORE, as runs."""
    flat, w = depth.reshape(-1), depth.shape[1]
    width = w + 2 * FRAME
    edges, n = np.empty(np.sum(stops - starts) + len(starts) + 1, np.int64), 0
    for run in range(len(starts)):
        row = starts[run] // width
        to_flat = (row - FRAME) * w - row * width - FRAME
        inside = False
        for at in range(starts[run], stops[run]):
            deep = flat[at + to_flat] > CORE * TOP
            edges[n] = at  # kept only if the next line counts it: avoids a branch
            n += deep != inside
            inside = deep
        edges[n] = stops[run]
        n += inside
    return edges[:n:2].copy(), edges[1:n:2].copy()


@compiled("int32[:, ::1](int64[::1], int64[::1], int64[::1], uint8[:, ::1])")
def _painted(starts: Index, stops: Index, label: Index, depth: UInt8) -> Int32:
    """A framed image of runs with a label each; if the label is WAITING, each pixel gets WAITING - depth."""
    flat_depth, w = depth.reshape(-1), depth.shape[1]
    width = w + 2 * FRAME
    labels = np.zeros((depth.shape[0] + 2 * FRAME, width), np.int32)
    flat = labels.reshape(-1)
    for run in range(len(starts)):
        if label[run] != WAITING:
            flat[starts[run] : stops[run]] = label[run]
            continue
        row = starts[run] // width
        to_flat = (row - FRAME) * w - row * width - FRAME
        for at in range(starts[run], stops[run]):
            flat[at] = WAITING - flat_depth[at + to_flat]
    return labels


@compiled("void(int32[:, ::1], int64[::1], int64[::1], int64[::1], int64[::1], uint8[:, ::1], int64)")
def _flood(labels: Int32, begins: Index, ends: Index, number: Index, piece: Index, depth: UInt8, n_pixels: int) -> None:
    """Give all waiting pixels of framed `labels` the label of the pixel they are reached from, the deepest first.

    A waiting pixel has the value WAITING - depth. `begins`, `ends`, `number`, `piece`: the runs of the cores to start
    from, piece by piece; `n_pixels`: how many the largest piece has at most. As in scikit-image 0.26, water does not
    run uphill: a pixel counts as no deeper than the one it is reached from. Of equally deep pixels, the one reached
    first goes first; of the cores' own, the first in reading order (scikit-image leaves that to the internal order of
    its queue).
    """
    flat, width = labels.reshape(-1), labels.shape[1]
    for i in range(len(begins)):
        flat[begins[i] : ends[i]] = number[i]
    # Each depth has a queue of its own. Pixels are numbered as they are reached; each knows the next in its queue.
    reached, after, deep = np.empty(n_pixels, np.int64), np.empty(n_pixels, np.int64), np.empty(n_pixels, np.int64)
    head, tail = np.full(TOP + 1, _NONE), np.empty(TOP + 1, np.int64)
    first = 0
    while first < len(begins):
        # Flooding one piece at a time keeps queues and image in the cache.
        queued, n, level, end = 0, 0, TOP, first
        while end < len(begins) and piece[end] == piece[first]:
            row = begins[end] // width
            for at in range(begins[end], ends[end]):
                if flat[at - 1] < 0 or flat[at + 1] < 0 or flat[at - width] < 0 or flat[at + width] < 0:
                    reached[n], deep[n] = at, depth[row - FRAME, at - row * width - FRAME]
                    n += 1
            end += 1
        first = end
        while level >= 0:
            for pixel in range(queued, n):
                after[pixel] = _NONE
                if head[deep[pixel]] == _NONE:
                    head[deep[pixel]] = pixel
                else:
                    after[tail[deep[pixel]]] = pixel
                tail[deep[pixel]] = pixel
            queued, pixel = n, head[level]
            if pixel == _NONE:
                level -= 1
                continue
            at, head[level] = reached[pixel], after[pixel]
            for step in (-width, -1, 1, width):
                to = at + step
                if flat[to] < 0:
                    reached[n], deep[n] = to, min(WAITING - flat[to], level)
                    flat[to] = flat[at]
                    n += 1


@compiled("UniTuple(int64[::1], 5)(int64[::1], int64[::1], int64[::1], int64[::1], int64, float64)")
def _owners(
    starts: Index, stops: Index, begins: Index, ends: Index, width: int, mpp: float
) -> tuple[Index, Index, Index, Index, Index]:
    """The owner of each run of a mask: the number of the core in its piece, 0 without one, WAITING if several share it.

    Then, piece by piece, the runs of the cores that share a piece: begin, end, number of the core and of the piece.
    `starts`, `stops`: runs of the mask in an image of `width`; `begins`, `ends`: those of the cores. In this one of
    width 8, `+` is mask and a digit the core of that number:

        + 1 1 . + 2 + 3    runs of the mask [0, 3) and [4, 8), [9, 10) and [12, 15): piece 0 has one core,
        . + . . + + + .    piece 1 has two

        owner   1  WAITING  1  WAITING    of each run of the mask
        begin   5  7                      of each run of a core that shares its piece: its pixels [begin, end),
        end     6  8
        number  2  3                      whose they are,
        piece   1  1                      and where
    """
    core, n_cores = components(begins, ends, width)
    size = np.zeros(n_cores, np.int64)
    for i in range(len(begins)):
        size[core[i]] += ends[i] - begins[i]
    number, n = np.zeros(n_cores, np.int64), 0
    for i in range(n_cores):
        if size[i] * mpp * mpp >= CORE_UM2:
            n += 1
            number[i] = n
    piece, n_pieces = components(starts, stops, width)
    owner, within, run = np.zeros(n_pieces, np.int64), np.empty(len(begins), np.int64), 0
    for i in range(len(begins)):
        while stops[run] <= begins[i]:
            run += 1
        within[i] = piece[run]
        mine, other = number[core[i]], owner[within[i]]
        if mine and mine != other:
            owner[within[i]] = WAITING if other else mine
    following = np.zeros(n_pieces + 1, np.int64)
    for i in range(len(begins)):
        following[within[i] + 1] += number[core[i]] > 0 and owner[within[i]] == WAITING
    following = np.cumsum(following)
    shared = np.empty((4, following[-1]), np.int64)
    for i in range(len(begins)):
        if number[core[i]] and owner[within[i]] == WAITING:
            at = following[within[i]]
            following[within[i]] = at + 1
            shared[0, at], shared[1, at], shared[2, at], shared[3, at] = begins[i], ends[i], number[core[i]], within[i]
    return owner[piece], shared[0], shared[1], shared[2], shared[3]


def flood_cores(starts: Index, stops: Index, depth: UInt8, mpp: float) -> Int32:
    """The nucleus 1..n of each pixel, 0 for none, int32[h+4 w+4] (framed).

    `starts`, `stops`: runs of the framed mask. Connected pixels of the mask with a `depth` uint8[h w] above CORE (of
    255) are a core, if they cover CORE_UM2; they are numbered in reading order. A piece of the mask with one core is
    that nucleus; if it has several, a watershed divides it among them.
    """
    begins, ends = _deep(starts, stops, depth)
    owner, begins, ends, number, piece = _owners(starts, stops, begins, ends, depth.shape[1] + 2 * FRAME, mpp)
    labels = _painted(starts, stops, owner, depth)
    _flood(labels, begins, ends, number, piece, depth, int(np.sum(stops - starts)))
    return labels
