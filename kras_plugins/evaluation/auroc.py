"""The area under the ROC curve from placement values: DeLong's interval and paired test, also for cross-validation.

A patient's placement value is the share of the other class that lies on its right side, ties counting half. Scores of
different fold models are not on one scale, so patients are only ever compared within one fold of one repeat; a cohort
scored by one model is the case of one fold and one repeat, where everything below is DeLong's method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64

Z95 = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class Auroc:
    """An area with its 95 % interval, all NaN where they cannot be computed and `note` says why.

    `influence`: float64[patient], each patient's share in the estimate's deviation; they sum to 0. `standard_error` is
    DeLong's, on the plain scale.
    """

    value: float
    low: float
    high: float
    influence: Float64
    standard_error: float = math.nan
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """AUROC of a minus that of b on the same patients: 95 % interval and two-sided p, NaN with a note if undefined."""

    value: float
    low: float
    high: float
    p: float
    standard_error: float = math.nan
    note: str = ""


def auroc(labels: npt.ArrayLike, scores: npt.ArrayLike, fold: npt.ArrayLike | None = None) -> Auroc:
    """AUROC of scores[patient], or of scores[repeat patient] within fold[repeat patient].

    The value is the plain mean of the fold areas over folds and repeats; folds without both classes have none. The
    variance is the sum over patients of their squared influence, a patient's placement values weighted by 1/(number of
    its class in the fold) and averaged over folds and repeats (DeLong 1988; LeDell, Petersen, van der Laan 2015; one
    sort a fold, after Sun & Xu 2014), with DeLong's n/(n-1) for each class. It takes the fold models as given: what
    another training set would have changed is not in it.

    The interval is symmetric on the logit scale, with Student's t on the Satterthwaite degrees of freedom of the two
    classes' variances (as Brunner & Munzel 2000 have it for this statistic). With 22 positives and an area of 0.75,
    value ± 1.96 SE covers 92.8 %, this covers 95.3 % (docs/decisions/0010-intervals-and-thresholds.md).
    """
    y = np.asarray(labels) > 0
    s = np.atleast_2d(np.asarray(scores, np.float64))
    f = np.zeros(s.shape, np.int32) if fold is None else np.atleast_2d(np.asarray(fold))
    place, weight = np.zeros(s.shape), np.zeros(s.shape)
    areas: list[float] = []
    for r in range(len(s)):
        for k in np.unique(f[r]):
            here = np.flatnonzero(f[r] == k)
            positive, negative = here[y[here]], here[~y[here]]
            if len(positive) and len(negative):
                place[r, positive], place[r, negative] = placements(s[r, positive], s[r, negative])
                weight[r, positive], weight[r, negative] = 1 / len(positive), 1 / len(negative)
                areas.append(float(place[r, positive].mean()))
    value = float(np.mean(areas)) if areas else math.nan
    return from_influence(y, value, (weight * (place - value)).sum(axis=0) / max(1, len(areas)))


def from_influence(y: Bool, value: float, influence: Float64) -> Auroc:
    """An area with the interval that `auroc` describes, from each patient's influence; NaN where the value is."""
    if math.isnan(value):
        return Auroc(
            value=math.nan, low=math.nan, high=math.nan, influence=np.zeros(len(y)), note="no pair of both classes"
        )
    se, freedom = _standard_error(y, influence)
    note = _why_no_error(se)
    low, high = _logit_interval(value, se, freedom) if not note else (math.nan, math.nan)
    return Auroc(value=value, low=low, high=high, influence=influence, standard_error=se, note=note)


def compare(labels: npt.ArrayLike, a: Auroc, b: Auroc) -> Difference:
    """Paired comparison of two areas of the same patients and folds (DeLong 1988), from their influences."""
    y = np.asarray(labels) > 0
    value = a.value - b.value
    se, _ = _standard_error(y, a.influence - b.influence)
    note = a.note if math.isnan(value) else _why_no_error(se)
    if note:
        return Difference(value=value, low=math.nan, high=math.nan, p=math.nan, note=note)
    p = math.erfc(abs(value / se) / math.sqrt(2))
    return Difference(value=value, low=value - Z95 * se, high=value + Z95 * se, p=p, standard_error=se)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm 1979) in the given order; NaN stays NaN and does not count as a test."""
    order = sorted((i for i, x in enumerate(p) if not math.isnan(x)), key=lambda i: p[i])
    adjusted, highest = [math.nan] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


def placements(positive: Float64, negative: Float64) -> tuple[Float64, Float64]:
    """For each positive the share of negatives below it, for each negative the share of positives above; ties half."""
    below_positive = _share_below(positive, np.sort(negative))
    return below_positive, 1 - _share_below(negative, np.sort(positive))


def _share_below(x: Float64, ordered: Float64) -> Float64:
    below, upto = np.searchsorted(ordered, x, "left"), np.searchsorted(ordered, x, "right")
    share: Float64 = (below + upto) / (2 * len(ordered))
    return share


def _standard_error(y: npt.NDArray[np.bool_], influence: Float64) -> tuple[float, float]:
    """Root of the summed squared influences with n/(n-1) for each class, and its Satterthwaite degrees of freedom.

    NaN below two patients of a class.
    """
    variance = spread = 0.0
    for one_class in (influence[y], influence[~y]):
        n = len(one_class)
        if n < 2:
            return math.nan, math.nan
        part = float(one_class @ one_class) * n / (n - 1)
        variance, spread = variance + part, spread + part * part / (n - 1)
    return math.sqrt(variance), variance * variance / spread if spread else math.nan


def _logit_interval(value: float, se: float, freedom: float) -> tuple[float, float]:
    """Bounds at equal distance from the value's logit, whose standard error is se / (value (1 - value))."""
    from scipy.special import expit, logit, stdtrit

    half = float(stdtrit(freedom, 0.975)) * se / (value * (1 - value))
    return float(expit(logit(value) - half)), float(expit(logit(value) + half))


def _why_no_error(se: float) -> str:
    if math.isnan(se):
        return "fewer than two patients of a class"
    return "zero variance" if se < 1e-9 else ""
