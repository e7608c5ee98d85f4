"""Lengths of edges on rasters by Crofton's formula: from how often lines of twelve directions cross them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64, Int32

    Pixels = npt.NDArray[Any]

_STEPS = ((0, 1), (1, 3), (1, 2), (1, 1), (2, 1), (3, 1), (1, 0), (3, -1), (2, -1), (1, -1), (1, -2), (1, -3))
"""Steps from pixel to pixel, down and to the right, in the order of their directions. With axes and diagonals alone the
length of a straight edge would be accurate to 5 %; with these it is accurate to 0.8 %."""


def _weights() -> tuple[float, ...]:
    """Half the angle that each step's direction stands for, over the step's length."""
    angle = [math.atan2(down, right) for down, right in _STEPS]
    turns = [
        (after - before) / 2
        for before, after in zip([angle[-1] - math.pi, *angle[:-1]], [*angle[1:], math.pi], strict=True)
    ]
    return tuple(turn / 2 / math.hypot(*step) for turn, step in zip(turns, _STEPS, strict=True))


_WEIGHTS = _weights()


def _ends(pixels: Pixels) -> Iterator[tuple[Pixels, Pixels]]:
    """Views of the pixels at which each step begins, and of those at which it ends."""
    height, width = pixels.shape
    for down, right in _STEPS:
        first, last = max(0, -right), max(0, width - max(0, right))
        yield pixels[: max(0, height - down), first:last], pixels[down:, first + right : max(0, last + right)]


def edge_length(one: Bool, other: Bool) -> float:
    """Length in pixels of the edge between two masks bool[h w] without a common pixel; edges with anything else do not
    count.

    Boykov & Kolmogorov, ICCV 2003:26 (Cauchy-Crofton).
    """
    total = 0.0
    for weight, here, there in zip(_WEIGHTS, _ends(one), _ends(other), strict=True):
        total += weight * (np.count_nonzero(here[0] & there[1]) + np.count_nonzero(there[0] & here[1]))
    return total


def perimeters(labels: Int32, n: int) -> Float64:
    """Perimeter in pixels of each component of labels int32[h w] from 1 to `n`, holes included: float64[component]."""
    total = np.zeros(n + 1)
    for weight, (first, second) in zip(_WEIGHTS, _ends(np.pad(labels, 3)), strict=True):
        crossed = first != second
        for side in (first, second):
            total += weight * np.bincount(side[crossed], minlength=n + 1)
    return total[1:]
