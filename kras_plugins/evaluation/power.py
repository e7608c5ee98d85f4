"""What a cohort of this size could have shown, with 80 % power at a two-sided level of 5 %."""

from __future__ import annotations

import math
from typing import Any

from kras_plugins.evaluation.auroc import Difference
from kras_plugins.evaluation.spread import Z95

Z80 = 0.8416212335729143
"""Normal quantile of 80 % power."""


def minimum_detectable(difference: Difference) -> float:
    """The smallest true difference of two AUROCs that the paired test would have found, from its standard error."""
    return (Z95 + Z80) * difference.standard_error


def power(n: int, n_positive: int, inflation: float = 1.0) -> dict[str, Any]:
    """The block `power` of metrics.json: the smallest AUROC that n patients can tell from 0.5.

    The root of area - 0.5 = 1.96 SE(0.5) + 0.84 SE(area), with the standard errors of Hanley & McNeil 1982 times the
    `inflation` of the design. NaN and a note if even a perfect ranking would not be enough.
    """
    n_negative = n - n_positive
    note = "Hanley & McNeil 1982, widened as the intervals are; it does not account for sites"
    if min(n_positive, n_negative) < 1:
        return {"n": n, "n_positive": n_positive, "auroc_detectable": math.nan, "note": "one class is absent"}
    null = inflation * Z95 * hanley_mcneil(0.5, n_positive, n_negative)

    def excess(area: float) -> float:
        return area - 0.5 - null - inflation * Z80 * hanley_mcneil(area, n_positive, n_negative)

    low, high = 0.5, 1.0
    if excess(high) < 0:
        return {"n": n, "n_positive": n_positive, "auroc_detectable": math.nan, "note": "too few for any area"}
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return {"n": n, "n_positive": n_positive, "auroc_detectable": high, "note": note}


def hanley_mcneil(area: float, n_positive: int, n_negative: int) -> float:
    """Standard error of an AUROC (Hanley & McNeil 1982, Radiology 143:29), scores taken as exponential."""
    q1, q2 = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area) + (n_positive - 1) * (q1 - area**2) + (n_negative - 1) * (q2 - area**2)
    return math.sqrt(max(0.0, spread) / (n_positive * n_negative))
