"""Connected pieces of a mask from its runs: some thousand stretches represent a third of a million pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.host.compiled import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, UInt8

    Index = npt.NDArray[np.int64]

FRAME = 2
"""Empty rows and columns around a framed image, so that neighbors and rays need no check for its edge."""
_WORD = 8


@compiled("uint8[:, ::1](uint8[:, ::1], uint8)")
def _opened(image: UInt8, above: int) -> UInt8:
    """Where uint8[h w] exceeds a value, opened by a cross as scipy does: 0 or 1, uint8[h+2 w+2], framed by 0."""
    h, w = image.shape
    over = np.zeros((h, w), np.uint8)
    for row in range(h):
        for i in range(w):
            over[row, i] = image[row, i] > above
    core = np.zeros((h + 2, w + 2), np.uint8)
    for row in range(1, h - 1):
        up, here, down, out = over[row - 1, 1:-1], over[row], over[row + 1, 1:-1], core[row + 1, 2:-2]
        left, mid, right = here[:-2], here[1:-1], here[2:]
        for i in range(w - 2):
            out[i] = up[i] & left[i] & mid[i] & right[i] & down[i]
    mask = np.zeros((h + 2, w + 2), np.uint8)
    for row in range(1, h + 1):
        up, here, down, out = core[row - 1, 1:-1], core[row], core[row + 1, 1:-1], mask[row, 1:-1]
        left, mid, right = here[:-2], here[1:-1], here[2:]
        for i in range(w):
            out[i] = up[i] | left[i] | mid[i] | right[i] | down[i]
    return mask


@compiled("UniTuple(int64[::1], 2)(uint8[:, ::1], uint8)")
def opened_runs(image: UInt8, above: int) -> tuple[Index, Index]:
    """`runs_of` where uint8[h w] exceeds a value, opened by a cross as scipy does, framed."""
    mask = _opened(image, above)
    h, w = image.shape
    width = w + 2 * FRAME
    edges, n = np.empty(h * (w + 2), np.int64), 0
    # Where a row changes: searched eight pixels at a time, as most are like their neighbors.
    changes = np.zeros(-(-(w + 1) // _WORD) * _WORD, np.uint8)
    words = changes.view(np.uint64)
    for row in range(h):
        line, first = mask[row + 1], (row + FRAME) * width + FRAME
        for i in range(w + 1):
            changes[i] = line[i] ^ line[i + 1]
        for word in range(len(words)):
            if words[word]:
                for i in range(word * _WORD, (word + 1) * _WORD):
                    edges[n] = first + i
                    n += changes[i]
    return edges[:n:2].copy(), edges[1:n:2].copy()


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
        # The first run that ends after the pixel above this one's first.
        while stops[above] + width <= starts[run]:
            above += 1
        touching = above
        while touching < run and starts[touching] + width < stops[run]:
            a, b = _first(parent, touching), _first(parent, run)
            parent[max(a, b)] = min(a, b)
            touching += 1
    n = 0
    for run in range(len(starts)):
        # Parents come before their children and already have their number.
        if parent[run] == run:
            parent[run] = n
            n += 1
        else:
            parent[run] = parent[parent[run]]
    return parent, n


@compiled("Tuple((int64[::1], int64[::1]))(int64[::1], int64[::1], int64, int64)")
def filled(starts: Index, stops: Index, height: int, width: int) -> tuple[Index, Index]:
    """The runs after filling holes: gaps that do not reach the border of an image of `height` and `width`."""
    # Gaps between runs, the first before all: those at the end of a row go on at the beginning of the next.
    begins, ends = np.zeros(len(starts) + 1, np.int64), np.full(len(starts) + 1, height * width)
    begins[1:], ends[:-1] = stops, starts
    gap, _ = components(begins, ends, width)
    return starts[gap[:-1] == gap[0]], stops[gap[1:] == gap[0]]
