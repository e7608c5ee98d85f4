"""Areas under the ROC curve with their interval, differences of two, and corrections for multiple tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm, t
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

NAN = math.nan
FEWEST_SITES = 6
FLAT = 1e-9
Z = float(norm.ppf(0.975))


@dataclass
class Design:
    """`fold`: int[repeat patient], who may be compared; `site`: of each patient; `folds`: how many were fitted."""

    fold: np.ndarray
    site: Sequence[str] = ()
    folds: int = 1

    def of(self, who: np.ndarray) -> Design:
        site = [s for s, here in zip(self.site, who, strict=True) if here] if self.site else ()
        return Design(self.fold[:, who], site, self.folds)

    @property
    def inflation(self) -> float:
        """√(1 + K/(K-1)): Nadeau & Bengio 2003 with the correlation of two folds at 1/K."""
        return math.sqrt(1 + self.folds / (self.folds - 1)) if self.folds > 1 else 1.0


@dataclass
class Area:
    """An area, its interval, each patient's influence on it, and the areas without each site (None: no known site)."""

    value: float
    influence: np.ndarray
    inflation: float = 1.0
    by_patient: float = NAN
    by_site: float = NAN
    se: float = NAN
    low: float = NAN
    high: float = NAN
    without: np.ndarray | None = None
    sites_with_positives: int = 0
    constant: bool = False

    def entry(self) -> dict[str, Any]:
        """As metrics.json has it."""
        sites = None
        if self.without is not None:
            sites = {
                "sites": len(self.without),
                "sites_with_positives": self.sites_with_positives,
                "se": self.by_site,
                "se_by_patient": self.by_patient,
                "enough": self.sites_with_positives >= FEWEST_SITES and not math.isnan(self.by_site),
            }
        found = {"value": self.value, "low": self.low, "high": self.high, "se": self.se}
        return {**found, "inflation": self.inflation, "by_site": sites}


def wins(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """float64[positive negative]: 1 where the pair is in order, ½ where it is tied (Mann & Whitney 1947)."""
    return (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)


def area(y: np.ndarray, scores: np.ndarray, design: Design, strata: np.ndarray | None = None) -> Area:
    """The mean area over folds of repeats, or with `strata` the share of ordered pairs within one (Janes & Pepe 2009).

    `scores`: float64[repeat patient] or more rows than the design has repeats, each of one model; patients of stratum
    "" are in no pair. SE = f · max(SE by patient, SE by site): DeLong 1988 from placement values, summed over folds and
    repeats for each patient; the delete-one jackknife over sites, where a patient of unknown site is a site of its own.
    """
    fold = np.repeat(design.fold, len(scores), axis=0) if len(design.fold) < len(scores) else design.fold
    level = np.full(len(y), "everyone") if strata is None else strata
    groups = [
        (r, here & y, here & ~y)
        for r in range(len(scores))
        for k in np.unique(fold[r])
        for name in np.unique(level[level != ""])
        if (here := (fold[r] == k) & (level == name))[y].any() and here[~y].any()
    ]
    if not groups:
        return Area(NAN, np.zeros(len(y)))
    table = [wins(scores[r, p], scores[r, n]) for r, p, n in groups]
    if strata is None:
        weights = np.full(len(groups), 1 / len(groups))
        value = float(np.mean([roc_auc_score(y[p | n], scores[r, p | n]) for r, p, n in groups]))
    else:
        weights = np.array([w.size for w in table]) / sum(w.size for w in table)
        value = sum(w.sum() for w in table) / sum(w.size for w in table)
    influence = np.zeros(len(y))
    for (_, p, n), w, weight in zip(groups, table, weights, strict=True):
        influence[p] += weight * (w.mean(axis=1) - value) / len(w)
        influence[n] += weight * (w.mean(axis=0) - value) / w.shape[1]
    found = Area(value, influence, design.inflation)
    if any(design.site):
        found.without = _without_each_site(groups, table, design.site, strata is not None)
        found.sites_with_positives = len({s for s, positive in zip(design.site, y, strict=True) if s and positive})
    found.se, freedom, found.by_patient, found.by_site = _error(y, influence, found, design.inflation)
    if found.by_patient <= FLAT:  # only rounding
        found.se = 0.0
    if found.by_patient > FLAT:
        quantile = float(t.ppf(0.975, freedom))
        found.low, found.high = bounds(value, found.se, quantile, int(y.sum()), int((~y).sum()))
    elif all((w == 0.5).all() for w in table):
        found.low, found.high, found.constant = 0.5, 0.5, True
    else:
        found.low, found.high = bounds(value, 0.0, Z * design.inflation, int(y.sum()), int((~y).sum()))
    return found


def _without_each_site(groups: list[Any], table: list[np.ndarray], site: Sequence[str], pairs: bool) -> np.ndarray:
    """float64[site]: the area from pairs with no patient of that site, NaN where none is left."""
    cluster = np.array([s or f"unknown {i}" for i, s in enumerate(site)])
    areas = []
    for name in np.unique(cluster):
        left = [w[np.ix_(cluster[p] != name, cluster[n] != name)] for (_, p, n), w in zip(groups, table, strict=True)]
        left = [w for w in left if w.size]
        if not left:
            areas.append(NAN)
        elif pairs:
            areas.append(sum(w.sum() for w in left) / sum(w.size for w in left))
        else:
            areas.append(np.mean([w.mean() for w in left]))
    return np.array(areas)


def _error(y: np.ndarray, influence: np.ndarray, sites: Area, inflation: float) -> tuple[float, float, float, float]:
    """Standard error, its degrees of freedom, and its parts: the error by patient and that by site.

    By patient: Σ influence² with n/(n-1) for each class, Satterthwaite's degrees of freedom (Brunner & Munzel 2000).
    By site: √((G-1)/G Σ (area without g - their mean)²) with G - 1, used from six sites with positives on if larger.
    """
    parts = [(len(x), float((x**2).sum()) * len(x) / (len(x) - 1)) for x in (influence[y], influence[~y]) if len(x) > 1]
    by_patient = freedom = by_site = NAN
    if len(parts) == 2:
        variance = sum(v for _, v in parts)
        summed = sum(v * v / (n - 1) for n, v in parts)
        by_patient, freedom = math.sqrt(variance), variance**2 / summed if summed else NAN
    if sites.without is not None:
        left = sites.without[np.isfinite(sites.without)]
        if len(left) > 1:
            by_site = math.sqrt((len(left) - 1) * float(np.var(left)))
        if sites.sites_with_positives >= FEWEST_SITES and by_site > by_patient:
            return by_site * inflation, len(left) - 1, by_patient, by_site
    return by_patient * inflation, freedom, by_patient, by_site


def bounds(value: float, se: float, quantile: float, positives: int, negatives: int) -> tuple[float, float]:
    """The areas from which the value is `quantile` errors away (Newcombe 2006, Stat Med 25:559, method 5).

    The error is that at the area: Hanley & McNeil's with both class sizes replaced by their mean, `se` at the value.
    """
    star = (positives + negatives) / 2 - 1

    def shape(a: float) -> float:
        return a * (1 - a) * (1 + star * ((1 - a) / (2 - a) + a / (1 + a)))

    def apart(a: float) -> float:
        at_value = shape(value) if 0 < value < 1 and se > 0 else positives * negatives
        unit = se if 0 < value < 1 and se > 0 else 1.0
        return abs(value - a) - quantile * unit * math.sqrt(max(0.0, shape(a) / at_value))

    low = brentq(apart, 0, value - 1e-9, xtol=1e-13) if value > 1e-6 else 0.0
    high = brentq(apart, value + 1e-9, 1, xtol=1e-13) if value < 1 - 1e-6 else 1.0
    return float(low), float(high)


def difference(y: np.ndarray, a: Area, b: Area) -> dict[str, float]:
    """AUROC of a less that of b on the same patients: the paired test of DeLong 1988 with the errors of `area`.

    Without variance the interval is computed from both exact ones (Zou & Donner 2008).
    """
    value = a.value - b.value
    if math.isnan(value):
        return {"value": NAN, "low": NAN, "high": NAN, "p": NAN, "se": NAN}
    both = Area(value, a.influence - b.influence, sites_with_positives=a.sites_with_positives)
    if a.without is not None and b.without is not None:
        both.without = a.without - b.without
    se, freedom, _, _ = _error(y, both.influence, both, max(a.inflation, b.inflation))
    if se > FLAT:
        half = float(t.ppf(0.975, freedom)) * se
        p = float(2 * t.sf(abs(value) / se, freedom))
        return {"value": value, "low": value - half, "high": value + half, "p": p, "se": se}
    low = high = value
    if not (np.allclose(both.influence, 0, atol=FLAT) and a.se > FLAT):
        low = value - math.hypot(a.value - a.low, b.high - b.value)
        high = value + math.hypot(a.high - a.value, b.value - b.low)
    return {"value": value, "low": low, "high": high, "p": NAN, "se": NAN}


def holm(p: Sequence[float]) -> list[float]:
    """Holm 1979; NaN does not count as a test."""
    known = [i for i, x in enumerate(p) if not math.isnan(x)]
    adjusted = [NAN] * len(p)
    for i, x in zip(known, multipletests([p[i] for i in known], method="holm")[1] if known else (), strict=True):
        adjusted[i] = float(x)
    return adjusted
