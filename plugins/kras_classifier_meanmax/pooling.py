"""Mean and maximum of a patient's tiles; each bag is read once per process, whichever fits need it."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins import Bag, Sample
from kras_plugins.learning.tiles import checked_slabs

if TYPE_CHECKING:
    from kras_plugins.data import Float32, Float64


@dataclass(frozen=True)
class Pooled:
    """`n` tiles: their sum float64[feature] and their maximum float32[feature]."""

    n: int
    total: Float64
    most: Float32

    def __add__(self, other: Pooled) -> Pooled:
        """The sum and maximum over both."""
        return Pooled(self.n + other.n, self.total + other.total, np.maximum(self.most, other.most))


_known: dict[int, tuple[weakref.ref[Bag], Pooled]] = {}
"""By `id` of a bag that is still alive: two vectors, since the bag itself may be larger than memory."""


def pool(sample: Sample) -> Float64:
    """Mean and maximum over all tiles, float64[2 × feature]; ConfigError where one is not finite."""
    whole = reduce(Pooled.__add__, (_pooled(bag) for bag in sample.bags if len(bag.features)))
    return np.concatenate([whole.total / whole.n, whole.most.astype(np.float64)])


def _pooled(bag: Bag) -> Pooled:
    key = id(bag)
    known = _known.get(key)
    if known is not None and known[0]() is bag:
        return known[1]
    parts = (Pooled(len(s), s.sum(axis=0, dtype=np.float64), s.max(axis=0)) for s in checked_slabs(bag))
    found = reduce(Pooled.__add__, parts)
    _known[key] = weakref.ref(bag, lambda _: _known.pop(key, None)), found
    return found
