"""Whether probabilities are calibrated: the block `calibration` of an entry."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import statsmodels.api as sm
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from recomputed.areas import NAN, Z
from recomputed.drawn import middle
from recomputed.proportions import estimate, nothing, wilson

BINS, SHOWN_BINS = 15, 10


def calibration(y: np.ndarray, logit: np.ndarray, drawn: np.ndarray, ranks: bool) -> dict[str, Any]:
    """All of it from float64[repeat patient]; `ranks`: false for a score that is the same for everyone."""
    p = expit(logit)
    brier = float(np.mean([brier_score_loss(y, one) for one in p]))
    squared = ((p - y) ** 2).mean(axis=0)
    rate = y.mean()
    slope, intercept = line(y, logit) if ranks else (nothing(), nothing())
    error, by_chance = expected_error(y, p, drawn)
    return {
        "brier": estimate(brier, *middle(drawn @ squared / len(y))),
        "scaled_brier": 1 - brier / (rate * (1 - rate)) if 0 < rate < 1 else NAN,
        "slope": slope,
        "intercept": intercept,
        "in_the_large": in_the_large(y, logit),
        "ece": error,
        "ece_if_calibrated": by_chance,
        "spiegelhalter_p": spiegelhalter(y, p),
        "reliability": reliability(y, p),
    }


def line(y: np.ndarray, logit: np.ndarray) -> tuple[dict[str, float], dict[str, float]]:
    """Slope and intercept of Cox 1958 by statsmodels, clustered by patient (Liang & Zeger 1986); none if separated."""
    if y.all() or not y.any():
        return nothing(), nothing()
    positive, negative = logit[:, y], logit[:, ~y]
    if positive.min() >= negative.max() or positive.max() <= negative.min():
        return nothing(), nothing()
    center, scale = logit.mean(), logit.std()
    fitted, covariance = _clustered(y, sm.add_constant((logit.ravel() - center) / scale), len(logit))
    back = np.array([[1, -center / scale], [0, 1 / scale]])  # from the standardized logit to the logit itself
    values = back @ fitted
    half = Z * np.sqrt(np.diag(back @ covariance @ back.T))
    intercept, slope = (estimate(v, v - h, v + h) for v, h in zip(values.tolist(), half.tolist(), strict=True))
    return slope, intercept


def in_the_large(y: np.ndarray, logit: np.ndarray) -> dict[str, float]:
    """The intercept with the logit as offset: the shift at which the mean is right, which bisection finds.

    statsmodels' Newton steps run away where most logits are far from 0.
    """
    if y.all() or not y.any() or not np.isfinite(logit).all():
        return nothing()
    value = brentq(lambda shift: float(expit(logit + shift).mean() - y.mean()), -1e3, 1e3, xtol=1e-12)
    p = expit(logit + value)
    scores = (y - p).sum(axis=0)
    variance = scores @ scores / (p * (1 - p)).sum() ** 2 * len(y) / (len(y) - 1)
    half = Z * math.sqrt(variance)
    return estimate(value, value - half, value + half)


def _clustered(y: np.ndarray, x: np.ndarray, repeats: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and their covariance, a sandwich clustered by patient with G/(G-1)."""
    labels = np.tile(y, repeats).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # well separated classes do not matter here
        found = sm.GLM(labels, x, family=sm.families.Binomial()).fit(tol=1e-10, tol_criterion="params", maxiter=1000)
    # statsmodels' own sandwich divides by p (1 - p), which may round to 0.
    scores = (x * (labels - found.mu)[:, None]).reshape(repeats, len(y), -1).sum(axis=0)
    bread = found.cov_params()
    return found.params, bread @ scores.T @ scores @ bread * len(y) / (len(y) - 1)


def bins(p: np.ndarray, count: int) -> np.ndarray:
    """The bin of equal mass of each probability, as `calibration_curve(strategy="quantile")` has them."""
    return np.searchsorted(np.percentile(p, np.linspace(0, 100, count + 1))[1:-1], p)


def expected_error(y: np.ndarray, p: np.ndarray, drawn: np.ndarray) -> tuple[dict[str, float], float]:
    """Σ |Σ (p - y)| / n over bins, mean over repeats; by chance √(2/π) Σ √(Σ p (1-p)) / n.

    The lower bound is 0 unless the value lies above what perfect calibration shows; the upper is the basic bootstrap's.
    """
    n = len(y)
    of = [bins(one, BINS) for one in p]
    sums = [np.where(b == k, one - y, 0.0) for one, b in zip(p, of, strict=True) for k in np.unique(b)]
    noise = np.array(
        [
            [math.sqrt(float((one * (1 - one))[b == k].sum())) / n for k in range(BINS)]
            for one, b in zip(p, of, strict=True)
        ]
    )
    value = sum(abs(s.sum()) for s in sums) / n / len(p)
    replicates = np.abs(drawn @ np.array(sums).T).sum(axis=1) / n / len(p)
    lower, upper = np.quantile(replicates, [0.025, 0.975])
    perfect = np.abs(np.random.default_rng(0).normal(size=(len(drawn), BINS))) @ noise.mean(axis=0)
    low = max(0.0, 2 * value - upper) if value > np.quantile(perfect, 0.975) else 0.0
    high = min(1.0, 2 * value - lower)
    return estimate(value, min(low, value), max(high, value)), math.sqrt(2 / math.pi) * noise.sum(axis=1).mean()


def spiegelhalter(y: np.ndarray, p: np.ndarray) -> float:
    """Two-sided p of z = Σ (y - p)(1 - 2p) / √Σ (1 - 2p)² p (1 - p), mean over repeats (Spiegelhalter 1986)."""
    variance = ((1 - 2 * p) ** 2 * p * (1 - p)).sum(axis=1)
    if (variance <= 0).any():
        return NAN
    z = ((y - p) * (1 - 2 * p)).sum(axis=1) / np.sqrt(variance)
    return float(2 * norm.sf(abs(z.mean())))


def reliability(y: np.ndarray, p: np.ndarray) -> list[dict[str, Any]]:
    """Mean predicted and observed rate in ten bins by scikit-learn, all repeats together; Wilson's interval of as many
    patients as there are."""
    labels, flat = np.tile(y, len(p)), p.ravel()
    observed, predicted = calibration_curve(labels, flat, n_bins=SHOWN_BINS, strategy="quantile")
    count = np.bincount(bins(flat, SHOWN_BINS), minlength=SHOWN_BINS)
    sizes = count[count > 0] / len(p)
    return [
        {"predicted": float(mean), "observed": wilson(float(rate * n), float(n)), "n": round(float(n))}
        for mean, rate, n in zip(predicted, observed, sizes, strict=True)
    ]
