"""What a threshold would have done: rates, predictive values here and at another prevalence, tests per finding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.intervals import Interval, estimate, ratio, share, wilson

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64
    from kras_plugins.evaluation.intervals import Counts

_NOTHING: Interval = (math.nan, math.nan, math.nan)


def operating_point(
    labels: Bool, logit: Float64, threshold: Float64, counts: Counts, prevalences: Sequence[float] = ()
) -> dict[str, Any]:
    """What a rule would have done: each patient is flagged if its logit reaches the threshold set without it.

    `logit` and `threshold`: float64[repeat patient]. With repeats, counts are means over repeats. `threshold` is given
    as the probability of the mean logit. Wilson intervals for sensitivity and specificity, bootstrap for the predictive
    values of this cohort (Wilson if they are 0 or 1); those at `prevalences` as in `predictive_at`. All NaN if a
    threshold could not be set.
    """
    from scipy.special import expit

    flag = np.where(np.isfinite(threshold), logit >= threshold, np.nan).mean(axis=0)
    positive, negative = float(labels.sum()), float((~labels).sum())
    settled = len(labels) > 0 and bool(np.isfinite(flag).all())
    true_positive = float(flag[labels].sum()) if settled else math.nan
    false_positive = float(flag[~labels].sum()) if settled else math.nan
    sensitivity = wilson(true_positive, positive) if settled else _NOTHING
    specificity = wilson(negative - false_positive, negative) if settled else _NOTHING
    ppv = share(flag * labels, flag, counts) if settled else _NOTHING
    npv = share((1 - flag) * ~labels, 1 - flag, counts) if settled else _NOTHING
    return {
        "threshold": float(expit(threshold.mean())) if threshold.size else math.nan,
        "sensitivity": estimate(sensitivity),
        "specificity": estimate(specificity),
        "ppv": estimate(ppv),
        "npv": estimate(npv),
        "lr_pos": _quotient(sensitivity[0], 1 - specificity[0]),
        "lr_neg": _quotient(1 - sensitivity[0], specificity[0]),
        "flagged": float(flag.mean()) if settled else math.nan,
        "number_needed_to_test": _quotient(1.0, ppv[0]),
        "at_prevalence": [
            predictive_at(prevalence, sensitivity, specificity) for prevalence in (prevalences if settled else ())
        ],
    }


def predictive_at(prevalence: float, sensitivity: Interval, specificity: Interval) -> dict[str, Any]:
    """PPV, NPV and number needed to test in a population of another prevalence, by Bayes' rule.

    Correct if the populations differ only in prevalence. Both predictive values rise with a likelihood ratio; its
    interval is that of a ratio of two independent proportions from their Wilson limits (`intervals.ratio`).
    """
    odds = prevalence / (1 - prevalence)
    positive = ratio(sensitivity, _complement(specificity))
    negative = ratio(_complement(sensitivity), specificity)
    ppv, low, high = (_share(odds, x) for x in positive)
    not_npv, not_low, not_high = (_share(odds, x) for x in negative)
    return {
        "prevalence": prevalence,
        "ppv": estimate((ppv, low, high)),
        "npv": estimate((1 - not_npv, 1 - not_high, 1 - not_low)),
        "number_needed_to_test": _quotient(1.0, ppv),
    }


def _share(odds: float, likelihood_ratio: float) -> float:
    """Posterior probability from prior odds and a likelihood ratio, which may be infinite."""
    return 1.0 if math.isinf(likelihood_ratio) else odds * likelihood_ratio / (1 + odds * likelihood_ratio)


def _complement(interval: Interval) -> Interval:
    value, low, high = interval
    return 1 - value, 1 - high, 1 - low


def _quotient(a: float, b: float) -> float:
    return a / b if b > 0 else math.nan
