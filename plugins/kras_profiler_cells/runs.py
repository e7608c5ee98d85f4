"""Connected pieces of a mask from its runs: some thousand stretches stand for a third of a million pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Int32

    Index = npt.NDArray[np.int64]


def runs_of(framed: Bool) -> tuple[Index, Index]:
    """(start, stop) of each horizontal run of True in bool[h w], as flat positions, in reading order.

    The outermost rows and columns must be False: then no run goes on in the next row.
    """
    flat = framed.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return edges[::2], edges[1::2]


def components(starts: Index, stops: Index, width: int) -> tuple[Int32, int]:
    """(component int32[run], number) of runs of an image of `width`; runs that share a column in adjacent rows touch.

    Components are numbered from 0 by their first run, as `scipy.ndimage.label` does with 4 neighbors.
    """
    first = np.searchsorted(stops, starts + width, "right")
    count = np.maximum(np.searchsorted(starts, stops + width, "left") - first, 0)
    pointer = np.concatenate([[0], np.cumsum(count)])
    below = np.arange(pointer[-1]) + np.repeat(first - pointer[:-1], count)
    touching = csr_array((np.ones(len(below)), below, pointer), shape=(len(starts), len(starts)))
    n, component = connected_components(touching, directed=False)
    return component, int(n)


def pixels_of(starts: Index, stops: Index) -> Index:
    """Flat position of every pixel of the runs."""
    length = stops - starts
    before = np.cumsum(length) - length
    return np.asarray(np.arange(int(length.sum())) + np.repeat(starts - before, length))
