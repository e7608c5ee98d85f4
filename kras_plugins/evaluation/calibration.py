"""Whether probabilities mean what they say: Brier score, calibration line, expected calibration error, reliability.

Intervals count every patient once, however many repeats scored it: the bootstrap draws patients, and the covariance of
the calibration line sums over patients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.intervals import Interval, estimate, percentile_interval, replicates, wilson
from kras_plugins.evaluation.spread import Z95

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64
    from kras_plugins.evaluation.intervals import Counts

ECE_BINS = 15
RELIABILITY_BINS = 10


@dataclass(frozen=True, kw_only=True)
class Line:
    """Slope and intercept of a logistic calibration line, each with its 95 % interval."""

    slope: Interval
    intercept: Interval


def calibration(labels: Bool, logit: Float64, counts: Counts, line: Line) -> dict[str, Any]:
    """The block `calibration` of metrics.json for bool[patient] and float64[repeat patient]; NaN if undefined.

    `brier`: with a bootstrap interval; `scaled_brier`: 1 - Brier / (p (1 - p)), the share of the outcome's variance
    that is explained (Steyerberg 2010). `in_the_large`: the shift of all logits that would make the mean right; 0 is
    perfect (intercept with slope held at 1). `ece_if_calibrated`: the value that perfect calibration would show by
    chance.
    """
    if not len(labels):
        nothing = estimate((math.nan,) * 3)
        return {
            "brier": nothing, "scaled_brier": math.nan, "slope": nothing, "intercept": nothing, "in_the_large": nothing,
            "ece": nothing, "ece_if_calibrated": math.nan, "spiegelhalter_p": math.nan, "reliability": [],
        }  # fmt: skip
    probability = _sigmoid(logit)
    squared = ((probability - labels) ** 2).mean(axis=0)
    brier = float(squared.mean())
    low, high = percentile_interval(counts, lambda w: w @ squared / len(squared))
    variance = labels.mean() * (1 - labels.mean())
    error, by_chance = expected_calibration_error(labels, probability, counts)
    return {
        "brier": estimate((brier, low, high)),
        "scaled_brier": 1 - brier / variance if variance else math.nan,
        "slope": estimate(line.slope),
        "intercept": estimate(line.intercept),
        "in_the_large": estimate(in_the_large(labels, logit)),
        "ece": estimate(error),
        "ece_if_calibrated": by_chance,
        "spiegelhalter_p": spiegelhalter_p(labels, probability),
        "reliability": reliability(labels, probability),
    }


def calibration_line(labels: Bool, logit: Float64) -> Line:
    """Slope and intercept of a logistic regression of the label on the logit (Cox 1958): 1 and 0 are perfect.

    `logit`: float64[repeat patient], each repeat one more observation of the same patients; the covariance is the
    sandwich clustered by patient with G/(G-1) (Liang & Zeger 1986), so repeats do not narrow it. A slope below 1 means
    that the logits are too extreme. NaN if there is no finite fit: one class, a constant logit, or classes that the
    logit separates.
    """
    missing = Line(slope=(math.nan,) * 3, intercept=(math.nan,) * 3)
    y, flat = np.tile(labels, len(logit)), logit.ravel()
    if not y.any() or y.all():
        return missing
    positive, negative = flat[y], flat[~y]
    if positive.min() >= negative.max() or positive.max() <= negative.min():
        return missing
    center, scale = flat.mean(), flat.std()
    x = np.stack([(flat - center) / scale, np.ones_like(flat)], axis=1)
    line = _newton(x, y, np.array([0.0, math.log(y.mean() / (1 - y.mean()))]))
    if line is None:
        return missing
    p = _sigmoid(x @ line)
    bread = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x)
    shares = (x * (y - p)[:, None]).reshape(*logit.shape, 2).sum(axis=0)
    covariance = bread @ (shares.T @ shares) @ bread * len(labels) / (len(labels) - 1)
    back = np.array([[1 / scale, 0.0], [-center / scale, 1.0]])
    slope, intercept = back @ line
    error = Z95 * np.sqrt(np.diag(back @ covariance @ back.T))
    return Line(
        slope=(float(slope), float(slope - error[0]), float(slope + error[0])),
        intercept=(float(intercept), float(intercept - error[1]), float(intercept + error[1])),
    )


def in_the_large(labels: Bool, logit: Float64) -> Interval:
    """The intercept of a logistic regression with the logit as offset; covariance as in `calibration_line`."""
    if not labels.any() or labels.all() or not np.isfinite(logit).all():
        return (math.nan,) * 3
    shift = 0.0
    for _ in range(100):
        p = _sigmoid(logit + shift)
        information = float((p * (1 - p)).sum())
        if not information:
            break
        step = float((labels - p).sum()) / information
        shift += max(-1.0, min(1.0, step))
        if abs(step) < 1e-10:
            shares, n = (labels - p).sum(axis=0), len(labels)
            error = Z95 * math.sqrt(float(shares @ shares) * n / (n - 1)) / information
            return shift, shift - error, shift + error
    return (math.nan,) * 3


def expected_calibration_error(labels: Bool, probability: Float64, counts: Counts) -> tuple[Interval, float]:
    """ECE over 15 bins of equal mass, mean over repeats, and what perfect calibration would show on average by chance.

    A sum of absolute values is never below its chance level, Σ √(2/π) √(Σ p (1-p)) / n over bins. So the lower bound is
    0 unless the value is above 97.5 % of what perfect calibration shows (bins as independent normals); then it is, like
    the upper bound always, that of the basic bootstrap, 2 value - quantile (Davison & Hinkley 1997, §5.2). The interval
    is cut to [0, 1] and widened to contain the value.
    """
    n, repeats = len(labels), len(probability)
    # One row per bin of a repeat: what a patient adds to that bin's sum of probability - label.
    rows, noise = [], np.zeros((repeats, ECE_BINS))
    for r, p in enumerate(probability):
        bins = _bins(p, ECE_BINS)
        for k in np.unique(bins):
            here = bins == k
            rows.append(np.where(here, p - labels, 0.0))
            noise[r, k] = math.sqrt(float((p[here] * (1 - p[here])).sum())) / n
    gaps = np.stack(rows)

    def error(weights: Float64) -> Float64:
        result: Float64 = np.abs(weights @ gaps.T).sum(axis=1) / (n * repeats)
        return result

    value = float(error(np.ones((1, n)))[0])
    upper, lower = np.percentile(replicates(counts, error), [2.5, 97.5])
    by_chance = np.abs(np.random.default_rng(0).normal(size=(len(counts), ECE_BINS))) @ noise.mean(axis=0)
    low = 0.0 if value <= np.quantile(by_chance, 0.975) else max(0.0, 2 * value - float(lower))
    high = min(1.0, 2 * value - float(upper))
    return (value, min(value, low), max(value, high)), math.sqrt(2 / math.pi) * float(noise.sum(axis=1).mean())


def spiegelhalter_p(labels: Bool, probability: Float64) -> float:
    """Two-sided p that the probabilities are right (Spiegelhalter 1986, Stat Med 5:421), z averaged over repeats."""
    weight = 1 - 2 * probability
    deviation = ((labels - probability) * weight).sum(axis=1)
    variance = (weight**2 * probability * (1 - probability)).sum(axis=1)
    if not (variance > 0).all():
        return math.nan
    return math.erfc(abs(float((deviation / np.sqrt(variance)).mean())) / math.sqrt(2))


def reliability(labels: Bool, probability: Float64) -> list[dict[str, Any]]:
    """Mean predicted and observed rate in 10 bins of equal mass, all repeats together, with Wilson's interval.

    `n` patients per bin is the mean over repeats; a patient counts once for the interval, not once per repeat.
    """
    repeats, y, p = len(probability), np.tile(labels, len(probability)), probability.ravel()
    bins, points = _bins(p, RELIABILITY_BINS), []
    for k in np.unique(bins):
        here = bins == k
        points.append(
            {
                "predicted": float(p[here].mean()),
                "observed": estimate(wilson(float(y[here].sum()) / repeats, float(here.sum()) / repeats)),
                "n": round(float(here.sum()) / repeats),
            }
        )
    return points


def _bins(probability: Float64, count: int) -> npt.NDArray[np.intp]:
    """Bins of equal mass, ties in the same bin, as scikit-learn's calibration_curve(strategy="quantile")."""
    edges = np.quantile(probability, np.linspace(0, 1, count + 1))
    return np.searchsorted(edges[1:-1], probability)


def _newton(x: Float64, y: Bool, line: Float64) -> Float64 | None:
    """The maximum likelihood of a logistic regression, from a start; None if it is not reached."""
    for _ in range(1000):  # if classes nearly separate, the optimum is hundreds of steps away
        p = _sigmoid(x @ line)
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x, x.T @ (y - p))
        # Far from the optimum a full Newton step may overshoot; one unit of a standardized logit is a safe step.
        line = line + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-10:
            return line
    return None


def _sigmoid(x: npt.ArrayLike) -> Float64:
    from scipy.special import expit

    result: Float64 = expit(x)
    return result
