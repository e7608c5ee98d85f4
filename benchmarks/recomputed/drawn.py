"""The bootstrap: 2,000 samples of whole patients from numpy's generator, seed 0 as in every study."""

from __future__ import annotations

import math

import numpy as np

SEED = 0
SAMPLES = 2000


def samples(n: int, strata: np.ndarray | None = None) -> np.ndarray:
    """float64[sample patient]: how often each is drawn; with `strata`, bool[patient], as many of each kind as there
    are."""
    generator, drawn = np.random.default_rng(SEED), np.zeros((SAMPLES, n))
    groups = [np.arange(n)] if strata is None else [np.flatnonzero(strata), np.flatnonzero(~strata)]
    for group in groups:
        for i in range(SAMPLES if len(group) else 0):
            np.add.at(drawn[i], group[generator.integers(0, len(group), len(group))], 1)
    return drawn


def middle(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of a statistic over samples, NaN if more than half of them have none."""
    known = values[np.isfinite(values)]
    if not len(known) or 2 * len(known) < len(values):
        return math.nan, math.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
