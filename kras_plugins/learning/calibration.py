"""From a classifier's raw scores to calibrated logits: Platt's line, with a slope of at least 0."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64


@dataclass(frozen=True)
class Platt:
    """A calibration: `logit = slope * score + intercept`, slope ≥ 0; a slope of 0 gives everyone the prevalence."""

    slope: float
    intercept: float

    def logit(self, scores: npt.ArrayLike) -> Float64:
        """Calibrated logits, float64 of the scores' shape; NaN stays NaN."""
        return self.slope * np.asarray(scores, np.float64) + self.intercept


def fit_platt(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Platt:
    """Fit Platt's line to out-of-fold scores[patient] and labels[patient] of 0 and 1.

    Targets are smoothed, (n⁺+1)/(n⁺+2) and 1/(n⁻+2), so that separable or tiny data keep a finite optimum (Platt 1999,
    "Probabilistic outputs for support vector machines"). The slope is held ≥ 0: a score that ranks in the wrong
    direction out of fold carries no information, and reversing it would fit noise. At slope 0 the constant is the logit
    of the mean smoothed target.
    """
    from scipy.optimize import minimize

    raw = np.asarray(scores, np.float64)
    positive = np.asarray(labels) > 0
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    target = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    constant = Platt(0.0, float(_logit(target.mean())))
    center, scale = raw.mean(), raw.std()
    if scale <= 1e-12 * max(1.0, abs(center)):
        return constant
    z = (raw - center) / scale

    def loss(line: Float64) -> tuple[float, Float64]:
        eta = line[0] * z + line[1]
        # log(1 + e^eta) - t * eta, without overflow
        residual = _sigmoid(eta) - target
        return float(np.sum(np.logaddexp(0, eta) - target * eta)), np.array([residual @ z, residual.sum()])

    start = np.array([0.0, constant.intercept])
    best = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None), (None, None)],
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000},
    ).x
    if best[0] == 0:
        return constant
    slope = best[0] / scale
    return Platt(float(slope), float(best[1] - slope * center))


def shift_prevalence(logit: npt.ArrayLike, from_p: float, to_p: float) -> Float64:
    """Logits for a population of prevalence `to_p`, from a model calibrated at `from_p`.

    Adds ln[(p'/(1-p')) / (p/(1-p))], correct if the two populations differ only in prevalence. Thresholds on the
    logit move with it, so calls do not change. Raises ValueError unless both lie strictly between 0 and 1.
    """
    if not (0 < from_p < 1 and 0 < to_p < 1):
        raise ValueError(f"prevalences must lie strictly between 0 and 1, not {from_p} and {to_p}")
    return np.asarray(logit, np.float64) + _logit(to_p) - _logit(from_p)


def _logit(p: float) -> float:
    return math.log(p) - math.log1p(-p)


def _sigmoid(x: Float64) -> Float64:
    from scipy.special import expit

    result: Float64 = expit(x)
    return result
