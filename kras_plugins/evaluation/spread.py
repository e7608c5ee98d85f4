"""The one interval of an area under the ROC curve: by patient and by site, widened for refitting, exact at the ends.

The estimand is the mean of the true areas of the models that gave the scores. `SE = f · max(SE by patient, SE by
site)`: f is `Design.inflation`, the error by patient DeLong's from influences, the error by site a jackknife.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64

Z95 = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""
NO_VARIANCE = 1e-9
"""Errors below are rounding."""
FEWEST_SITES = 6
"""With fewer sites that have a positive patient, the error by site is reported but not used."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The standard error of an area or of a difference of two, NaN if there is no variance to estimate it from.

    `error`: widened, of whichever of the two is larger; `freedom`: degrees of freedom of Student's t for it.
    `by_patient`, `by_site`: not widened; `by_site` NaN if no site is known. `sites`: number of clusters, where each
    patient without a known site is one; `sites_with_positives`: known sites with a positive patient.
    """

    error: float
    freedom: float
    inflation: float
    by_patient: float
    by_site: float = math.nan
    sites: int = 0
    sites_with_positives: int = 0

    @property
    def site_counts(self) -> bool:
        """Whether there are enough sites for the error by site to be used."""
        return self.sites_with_positives >= FEWEST_SITES and not math.isnan(self.by_site)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """The area without each site, float64[site], NaN if nothing is left; and how many sites have a positive."""

    areas: Float64
    with_positives: int


def spread(y: Bool, influence: Float64, left_out: LeftOut | None, inflation: float) -> Spread:
    """The standard error from each patient's influence, float64[patient], and the areas without each site."""
    by_patient, freedom = _by_patient(y, influence)
    found = Spread(error=by_patient * inflation, freedom=freedom, inflation=inflation, by_patient=by_patient)
    if left_out is None:
        return found
    areas = left_out.areas[np.isfinite(left_out.areas)]
    n = len(areas)
    by_site = math.sqrt(float((n - 1) / n * ((areas - areas.mean()) ** 2).sum())) if n > 1 else math.nan
    sited = replace(found, by_site=by_site, sites=len(left_out.areas), sites_with_positives=left_out.with_positives)
    if not sited.site_counts or not by_site > by_patient:
        return sited
    return replace(sited, error=by_site * inflation, freedom=n - 1.0)


def score_interval(value: float, found: Spread, positives: int, negatives: int) -> tuple[float, float]:
    """95 % bounds of an area: the areas θ from which the value is t standard errors away, with the standard error at θ.

    Newcombe 2006, method 5 (Stat Med 25:559): over θ the variance follows Hanley & McNeil's with both class sizes m, n
    replaced by their mean, θ(1-θ) (1 + N*((1-θ)/(2-θ) + θ/(1+θ))), N* = (m+n)/2 - 1. It is scaled to the estimated
    error at the value; where the patients show no variance, as at 1.000, to that of independent patients, 1/(mn), times
    the squared inflation, with 1.96 for t. Unlike value ± t SE on any scale, this stays narrow near 0 and 1.
    """
    from scipy.optimize import brentq

    middle = (positives + negatives) / 2 - 1

    def shape(area: float) -> float:
        return area * (1 - area) * (1 + middle * ((1 - area) / (2 - area) + area / (1 + area)))

    if found.by_patient > NO_VARIANCE and 0 < value < 1:
        scale = (critical(found) * found.error) ** 2 / shape(value)
    else:
        scale = (Z95 * found.inflation) ** 2 / (positives * negatives)

    def excess(area: float) -> float:
        return (value - area) ** 2 - scale * shape(area)

    # Close to the value the error exceeds the distance; at the far end it is 0.
    low = float(brentq(excess, 0.0, value - 1e-9, xtol=1e-12)) if value > 1e-6 else 0.0
    high = float(brentq(excess, value + 1e-9, 1.0, xtol=1e-12)) if value < 1 - 1e-6 else 1.0
    return low, high


def critical(found: Spread) -> float:
    """Two-sided 5 % point of Student's t on the error's degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(found.freedom, 0.975))


def two_sided_p(statistic: float, found: Spread) -> float:
    """Two-sided p of a value over its error, by Student's t."""
    from scipy.special import stdtr

    return float(2 * stdtr(found.freedom, -abs(statistic)))


def _by_patient(y: Bool, influence: Float64) -> tuple[float, float]:
    """Root of the summed squared influences with n/(n-1) for each class, and its Satterthwaite degrees of freedom.

    NaN below two patients of a class.
    """
    variance = summed = 0.0
    for one_class in (influence[y], influence[~y]):
        n = len(one_class)
        if n < 2:
            return math.nan, math.nan
        part = float(one_class @ one_class) * n / (n - 1)
        variance, summed = variance + part, summed + part * part / (n - 1)
    return math.sqrt(variance), variance * variance / summed if summed else math.nan
