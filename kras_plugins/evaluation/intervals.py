"""Intervals that need no AUROC: Wilson's for proportions, the patient-level bootstrap for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.evaluation.auroc import Z95

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64

    Counts = npt.NDArray[np.uint8]

RESAMPLES = 2000
_CELLS = 4_000_000


def wilson(hits: float, n: float) -> tuple[float, float, float]:
    """A proportion with Wilson's 95 % score interval (Wilson 1927); NaN for n = 0.

    `hits` may be a mean over repeats and so not whole.
    """
    if n <= 0:
        return math.nan, math.nan, math.nan
    p, z2 = hits / n, Z95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At 0 and n the bound equals the proportion exactly, which rounding would spoil.
    return p, 0.0 if hits == 0 else max(0.0, middle - half), 1.0 if hits == n else min(1.0, middle + half)


def resamples(n: int, seed: int, count: int = RESAMPLES) -> Counts:
    """How often each of n patients is drawn in each bootstrap sample: uint8[sample patient], rows summing to n.

    Patients are drawn whole and without regard to label, because prevalence varies between cohorts too.
    """
    rng = np.random.default_rng(seed)
    drawn = np.empty((count, n), np.uint8)
    for row in drawn if n else ():
        row[:] = np.bincount(rng.integers(0, n, n), minlength=n)
    return drawn


def percentile_interval(counts: Counts, statistic: Callable[[Float64], Float64]) -> tuple[float, float]:
    """95 % percentile interval of a statistic over bootstrap samples.

    `statistic` maps float64[sample patient] of weights to float64[sample], NaN where undefined; those samples are left
    out. NaN, NaN where it is undefined in more than half of them.
    """
    step = max(1, _CELLS // max(1, counts.shape[1]))
    parts = [statistic(counts[i : i + step].astype(np.float64)) for i in range(0, len(counts), step)]
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    if 2 * len(values) < len(counts):
        return math.nan, math.nan
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
