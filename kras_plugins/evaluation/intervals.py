"""Intervals other than the AUROC's: Wilson's for proportions, ratios of these, the patient-level bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.evaluation.spread import Z95

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64

    Counts = npt.NDArray[np.uint8]

Interval = tuple[float, float, float]
"""A value with the bounds of its 95 % interval."""

RESAMPLES = 2000
_CELLS = 4_000_000


def estimate(interval: Interval) -> dict[str, float]:
    """An interval as it is in metrics.json."""
    return dict(zip(("value", "low", "high"), interval, strict=True))


def wilson(hits: float, n: float) -> Interval:
    """A proportion with Wilson's 95 % score interval (Wilson 1927); NaN for n = 0.

    `hits` may be a mean over repeats and thus not a whole number.
    """
    if n <= 0:
        return math.nan, math.nan, math.nan
    p, z2 = hits / n, Z95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At 0 and n the bound equals the proportion exactly, which rounding would spoil.
    return p, 0.0 if hits == 0 else max(0.0, middle - half), 1.0 if hits == n else min(1.0, middle + half)


def ratio(top: Interval, bottom: Interval) -> Interval:
    """A ratio of two independent proportions, its interval from theirs: MOVER-R (Donner & Zou 2012, Stat Methods Med
    Res 21:347).

    Infinite if the bottom, or for the upper bound its lower limit, is 0; NaN for 0/0.
    """
    (a, a_low, a_high), (b, b_low, b_high) = top, bottom
    if math.isnan(a + b) or (a == 0 and b == 0):
        return math.nan, math.nan, math.nan
    value = a / b if b else math.inf
    # Both roots of the published quadratic, each in the form that does not divide by a difference.
    down = a * b + math.sqrt(max(0.0, (a * b) ** 2 - a_low * b_high * (2 * a - a_low) * (2 * b - b_high)))
    up = a * b + math.sqrt(max(0.0, (a * b) ** 2 - a_high * b_low * (2 * a - a_high) * (2 * b - b_low)))
    low = a_low * (2 * a - a_low) / down if down else 0.0
    width = b_low * (2 * b - b_low)
    return value, low, up / width if width else math.inf


def difference(a: Interval, b: Interval) -> Interval:
    """A minus b of two independent estimates, its interval from theirs: MOVER (Zou & Donner 2008, Stat Med 27:1693).

    The squared distances of their bounds add up, like variances, so that bounds need not lie at equal distances.
    """
    (x, x_low, x_high), (y, y_low, y_high) = a, b
    return x - y, x - y - math.hypot(x - x_low, y_high - y), x - y + math.hypot(x_high - x, y - y_low)


def resamples(n: int, seed: int, count: int = RESAMPLES, strata: Bool | None = None) -> Counts:
    """How often each of n patients is drawn in each bootstrap sample: uint8[sample patient], rows summing to n.

    Patients are drawn as units and, because prevalence also varies between cohorts, without regard to label. With
    `strata`, bool[patient], the number of each kind is kept, which is for differences between models.
    """
    rng = np.random.default_rng(seed)
    drawn = np.zeros((count, n), np.uint8)
    for group in [np.arange(n)] if strata is None else [np.flatnonzero(strata), np.flatnonzero(~strata)]:
        size = len(group)
        for row in drawn if size else ():
            row[group] = np.bincount(rng.integers(0, size, size), minlength=size)
    return drawn


def replicates(counts: Counts, statistic: Callable[[Float64], Float64]) -> Float64:
    """A statistic in every bootstrap sample, float64[sample …].

    `statistic` maps float64[sample patient] of weights to float64[sample …], NaN if undefined.
    """
    step = max(1, _CELLS // max(1, counts.shape[1]))
    parts = [statistic(counts[i : i + step].astype(np.float64)) for i in range(0, len(counts), step)]
    return np.concatenate(parts)


def percentile_interval(counts: Counts, statistic: Callable[[Float64], Float64]) -> tuple[float, float]:
    """95 % percentile interval of a statistic, float64[sample], over bootstrap samples."""
    return percentiles(replicates(counts, statistic))


def percentiles(values: Float64) -> tuple[float, float]:
    """The middle 95 % of bootstrap values[sample]; NaN, NaN if more than half of them are undefined."""
    finite = values[np.isfinite(values)]
    if not len(values) or 2 * len(finite) < len(values):
        return math.nan, math.nan
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def share(part: Float64, whole: Float64, counts: Counts) -> Interval:
    """Sum of part over sum of whole, float64[patient] with 0 ≤ part ≤ whole, with a patient-level bootstrap interval.

    If it is 0 or 1, every bootstrap sample agrees and the interval is Wilson's. NaN if whole sums to 0.
    """
    pair = np.stack([part, whole], axis=1)

    def of_samples(weights: Float64) -> Float64:
        parts, wholes = (weights @ pair).T
        result: Float64 = np.divide(parts, wholes, out=np.full(len(parts), np.nan), where=wholes > 0)
        return result

    parts, wholes = pair.sum(axis=0)
    if not wholes or parts in (0, wholes):
        return wilson(float(parts), float(wholes))
    return float(parts / wholes), *percentile_interval(counts, of_samples)
