"""Where to cut a score: rules that only ever see out-of-fold scores of training patients.

A patient is positive at a threshold if score >= threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64

SENSITIVITY = 0.90
SPECIFICITY = 0.90
RULES = ("target_sensitivity", "target_specificity", "youden", "rule_in", "rule_out")


def choose_thresholds(labels: npt.ArrayLike, scores: npt.ArrayLike) -> dict[str, float]:
    """One threshold for each of RULES from scores[patient]; patients with NaN are left out, NaN if a class is absent.

    `target_sensitivity`: the highest with sensitivity ≥ 0.90. `target_specificity`: the lowest observed score with
    specificity ≥ 0.90, or just above the highest score. `youden`: the lowest observed score with the greatest
    sensitivity + specificity. Below `rule_out` (that of the target sensitivity) a patient is ruled out, from `rule_in`
    (that of the target specificity) on ruled in. Where those two cross, both targets hold anywhere between them: they
    are put at the middle, and no score is indeterminate.
    """
    y, s = np.asarray(labels) > 0, np.asarray(scores, np.float64)
    known = np.isfinite(s)
    positive, negative = np.sort(s[known & y]), np.sort(s[known & ~y])
    if not (len(positive) and len(negative)):
        return dict.fromkeys(RULES, math.nan)
    sensitive = float(positive[len(positive) - _at_least(SENSITIVITY, len(positive))])
    observed = np.unique(s[known])
    highest_excluded = negative[_at_least(SPECIFICITY, len(negative)) - 1]
    above = observed[observed > highest_excluded]
    specific = float(above[0]) if len(above) else float(np.nextafter(highest_excluded, math.inf))
    true_positive = len(positive) - np.searchsorted(positive, observed, "left")
    true_negative = np.searchsorted(negative, observed, "left")
    # Whole numbers, so that equal sums tie exactly.
    gain = true_positive * len(negative) + true_negative * len(positive)
    crossed = sensitive > specific
    middle = (sensitive + specific) / 2
    return {
        "target_sensitivity": sensitive,
        "target_specificity": specific,
        "youden": float(observed[np.argmax(gain)]),
        "rule_in": middle if crossed else specific,
        "rule_out": middle if crossed else sensitive,
    }


def fold_thresholds(labels: npt.ArrayLike, inner: Float64, fold: npt.ArrayLike) -> dict[str, Float64]:
    """The threshold that applies to each patient in cross-validation: float64[repeat patient] for each of RULES.

    `inner`: float64[repeat fold patient], scores of each outer fold's training part, NaN for its test patients;
    `fold`: int[repeat patient]. A patient's threshold was set without it.
    """
    where = np.atleast_2d(np.asarray(fold))
    chosen = [[choose_thresholds(labels, scores) for scores in repeat] for repeat in inner]
    return {
        rule: np.stack([np.array([c[rule] for c in chosen[r]])[where[r]] for r in range(len(where))]) for rule in RULES
    }


def constant_thresholds(frozen: Mapping[str, float | None], patients: int) -> dict[str, Float64]:
    """Frozen thresholds of a bundle as float64[1 patient], NaN where not set."""
    return {rule: np.full((1, patients), np.nan if (t := frozen.get(rule)) is None else t) for rule in RULES}


def _at_least(share: float, n: int) -> int:
    """The smallest whole number k with k/n ≥ share."""
    return math.ceil(share * n)
