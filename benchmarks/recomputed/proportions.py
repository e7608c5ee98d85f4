"""Shares with their intervals, and ratios of two."""

from __future__ import annotations

import math

from statsmodels.stats.proportion import proportion_confint

NAN = math.nan
Estimate = dict[str, float]


def estimate(value: float, low: float, high: float) -> Estimate:
    return {"value": value, "low": low, "high": high}


def nothing() -> Estimate:
    return estimate(NAN, NAN, NAN)


def wilson(hits: float, n: float) -> Estimate:
    """Wilson's score interval (1927) by statsmodels; `hits` may be a mean over repeats."""
    if n <= 0:
        return nothing()
    low, high = proportion_confint(hits, n, method="wilson")
    return estimate(hits / n, float(low), float(high))


def complement(share: Estimate) -> Estimate:
    return estimate(1 - share["value"], 1 - share["high"], 1 - share["low"])


def over(a: Estimate, b: Estimate) -> Estimate:
    """A ratio of independent shares: MOVER-R (Donner & Zou 2012), L and U as printed there; a bottom bound of 0 gives
    no upper bound."""
    if math.isnan(a["value"] + b["value"]) or a["value"] == b["value"] == 0:
        return nothing()
    top, bottom = a["value"], b["value"]
    (al, ah), (bl, bh) = ((x["low"], x["high"]) for x in (a, b))
    product = top * bottom

    def root(inner: float) -> float:
        return math.sqrt(max(0.0, product**2 - inner))

    below, above = bh * (2 * bottom - bh), bl * (2 * bottom - bl)
    low = (product - root(al * bh * (2 * top - al) * (2 * bottom - bh))) / below if abs(below) > 1e-12 else None
    high = (product + root(ah * bl * (2 * top - ah) * (2 * bottom - bl))) / above if above > 1e-12 else math.inf
    if low is None:  # the quadratic is a line there
        low = al * (2 * top - al) / (2 * product) if product else 0.0
    return estimate(top / bottom if bottom else math.inf, low, high)


def odds_to_share(odds: float, ratio: float) -> float:
    return 1.0 if math.isinf(ratio) else odds * ratio / (1 + odds * ratio)


def quotient(a: float, b: float) -> float:
    return a / b if b > 0 else NAN
