"""Connected pieces of a mask from its runs: some thousand stretches stand for a third of a million pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kras_profiler_cells.compiled import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float32

    Index = npt.NDArray[np.int64]

FRAME = 2
"""Rows and columns of nothing about a framed image, so that neighbors and rays need no look at its edge."""


@compiled("boolean[:, ::1](float32[:, ::1], float64)")
def opened(image: Float32, above: float) -> Bool:
    """Where `image` float32[h w] exceeds a value, opened by a cross as scipy does: bool[h+4 w+4], framed by False."""
    h, w = image.shape
    core = np.zeros((h + 2 * FRAME, w + 2 * FRAME), np.bool_)
    for row in range(1, h - 1):
        over, here, under = image[row - 1, 1:-1], image[row, 1:-1], image[row + 1, 1:-1]
        left, right, out = image[row, :-2], image[row, 2:], core[row + FRAME, FRAME + 1 :]
        for i in range(w - 2):
            out[i] = (here[i] > above) & (over[i] > above) & (under[i] > above) & (left[i] > above) & (right[i] > above)
    mask = np.zeros_like(core)
    for row in range(FRAME, h + FRAME):
        over, here, under = core[row - 1, FRAME:], core[row, FRAME:], core[row + 1, FRAME:]
        left, right, out = core[row, FRAME - 1 :], core[row, FRAME + 1 :], mask[row, FRAME:]
        for i in range(w):
            out[i] = here[i] | over[i] | under[i] | left[i] | right[i]
    return mask


def runs_of(framed: Bool) -> tuple[Index, Index]:
    """(start, stop) of each horizontal run of True in bool[h w], as flat positions, in reading order.

    The outermost rows and columns must be False: then no run goes on in the next row.
    """
    flat = framed.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return edges[::2].copy(), edges[1::2].copy()


@compiled("int64(int64[::1], int64)")
def _first(parent: Index, run: int) -> int:
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run


@compiled("Tuple((int64[::1], int64))(int64[::1], int64[::1], int64)")
def components(starts: Index, stops: Index, width: int) -> tuple[Index, int]:
    """(component int64[run], number) of runs of an image of `width`; runs that share a column in adjacent rows touch.

    Components are numbered from 0 by their first run, as `scipy.ndimage.label` does with 4 neighbors.
    """
    parent = np.arange(len(starts))
    above = 0
    for run in range(len(starts)):
        # The first run that ends behind the pixel above this one's first.
        while stops[above] + width <= starts[run]:
            above += 1
        touching = above
        while touching < run and starts[touching] + width < stops[run]:
            a, b = _first(parent, touching), _first(parent, run)
            parent[max(a, b)] = min(a, b)
            touching += 1
    n = 0
    for run in range(len(starts)):
        # Parents come before their children and have their number by now.
        if parent[run] == run:
            parent[run] = n
            n += 1
        else:
            parent[run] = parent[parent[run]]
    return parent, n


@compiled("Tuple((int64[::1], int64[::1]))(int64[::1], int64[::1], int64, int64)")
def filled(starts: Index, stops: Index, height: int, width: int) -> tuple[Index, Index]:
    """The runs once holes are filled: gaps that do not reach the border of an image of `height` and `width`."""
    # Gaps between runs, the first before all: those at the end of a row go on at the beginning of the next.
    begins, ends = np.zeros(len(starts) + 1, np.int64), np.full(len(starts) + 1, height * width)
    begins[1:], ends[:-1] = stops, starts
    gap, _ = components(begins, ends, width)
    return starts[gap[:-1] == gap[0]], stops[gap[1:] == gap[0]]
