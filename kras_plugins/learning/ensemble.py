"""How members become one: the mean of their calibrated logits, equal weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kras_plugins.data import Float64


@dataclass(frozen=True)
class Fused:
    """`strict`: NaN where any member is missing; `available`: the mean of those there, NaN only where none is.

    Thresholds were set on `strict` and hold for it alone.
    """

    strict: Float64
    available: Float64


def fuse(logits: Mapping[str, Float64]) -> Fused:
    """Fuse calibrated logits of equal shape, NaN where a member could not score."""
    stack = np.stack(list(logits.values()))
    present = np.isfinite(stack)
    count = present.sum(axis=0)
    total = np.where(present, stack, 0.0).sum(axis=0)
    available = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return Fused(np.where(count == len(stack), available, np.nan), available)
