"""How thresholds are chosen: rules that only ever see out-of-fold scores of training patients.

A patient is positive at a threshold if score >= threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.evaluation.risk import controlled_threshold

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64

RULES = ("target_sensitivity", "target_specificity", "youden", "rule_in", "rule_out")
RISK_CONTROL = "risk_control"


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What the rules aim at, and whether a threshold with guaranteed sensitivity is also searched for."""

    sensitivity: float = 0.90
    specificity: float = 0.90
    risk_control: bool = False

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of the thresholds that are set."""
        return (*RULES, RISK_CONTROL) if self.risk_control else RULES

    def provenance(self, scores: str) -> dict[str, str]:
        """By rule, what its threshold is and what it was chosen on: `scores` says which, of how many patients."""
        meaning = {
            "target_sensitivity": f"highest with sensitivity ≥ {self.sensitivity:g}",
            "target_specificity": f"lowest with specificity ≥ {self.specificity:g}",
            "youden": "greatest sensitivity + specificity",
            "rule_in": f"from the specificity target {self.specificity:g}, halfway to rule_out where they cross",
            "rule_out": f"from the sensitivity target {self.sensitivity:g}, halfway to rule_in where they cross",
            RISK_CONTROL: f"sensitivity ≥ {self.sensitivity:g} with 90 % confidence (MAPIE, learn then test)",
        }
        return {rule: f"{meaning[rule]}; chosen on {scores}" for rule in self.rules}


DEFAULT = Targets()


def choose_thresholds(labels: npt.ArrayLike, scores: npt.ArrayLike, targets: Targets = DEFAULT) -> dict[str, float]:
    """One threshold for each rule from scores[patient]; patients with NaN are excluded; NaN if a class is absent.

    `target_sensitivity`: the highest with the target sensitivity. `target_specificity`: the lowest observed score with
    the target specificity, or just above the highest score. `youden`: the lowest observed score with the greatest
    sensitivity + specificity. Below `rule_out` (that of the target sensitivity) a patient is ruled out, at or above
    `rule_in` (that of the target specificity) ruled in. If the two cross, both targets are met anywhere between them:
    both are set to the middle, and no score is indeterminate. `risk_control`, if requested: see `risk.py`.
    """
    y, s = np.asarray(labels) > 0, np.asarray(scores, np.float64)
    known = np.isfinite(s)
    positive, negative = np.sort(s[known & y]), np.sort(s[known & ~y])
    if not (len(positive) and len(negative)):
        return dict.fromkeys(targets.rules, math.nan)
    sensitive = float(positive[len(positive) - _at_least(targets.sensitivity, len(positive))])
    observed = np.unique(s[known])
    highest_excluded = negative[_at_least(targets.specificity, len(negative)) - 1]
    above = observed[observed > highest_excluded]
    specific = float(above[0]) if len(above) else float(np.nextafter(highest_excluded, math.inf))
    true_positive = len(positive) - np.searchsorted(positive, observed, "left")
    true_negative = np.searchsorted(negative, observed, "left")
    # Whole numbers, so that equal sums tie exactly.
    gain = true_positive * len(negative) + true_negative * len(positive)
    crossed = sensitive > specific
    middle = (sensitive + specific) / 2
    extra = (
        {RISK_CONTROL: controlled_threshold(y[known], s[known], targets.sensitivity)} if targets.risk_control else {}
    )
    return {
        "target_sensitivity": sensitive,
        "target_specificity": specific,
        "youden": float(observed[np.argmax(gain)]),
        "rule_in": middle if crossed else specific,
        "rule_out": middle if crossed else sensitive,
        **extra,
    }


def fold_thresholds(
    labels: npt.ArrayLike, inner: Float64, fold: npt.ArrayLike, targets: Targets = DEFAULT
) -> dict[str, Float64]:
    """The threshold that applies to each patient in cross-validation: float64[repeat patient] for each rule.

    `inner`: float64[repeat fold patient], scores of each outer fold's training part, NaN for its test patients;
    `fold`: int[repeat patient]. A patient's threshold was set without it.
    """
    where = np.atleast_2d(np.asarray(fold))
    chosen = [[choose_thresholds(labels, scores, targets) for scores in repeat] for repeat in inner]
    return {
        rule: np.stack([np.array([c[rule] for c in chosen[r]])[where[r]] for r in range(len(where))])
        for rule in targets.rules
    }


def constant_thresholds(frozen: Mapping[str, float | None], patients: int) -> dict[str, Float64]:
    """Frozen thresholds of a bundle as float64[1 patient], NaN if not set."""
    rules = (*RULES, RISK_CONTROL) if RISK_CONTROL in frozen else RULES
    return {rule: np.full((1, patients), np.nan if (t := frozen.get(rule)) is None else t) for rule in rules}


def _at_least(share: float, n: int) -> int:
    """The smallest whole number k with k/n ≥ share, regardless of how a share like 0.55 is rounded."""
    return math.ceil(share * n - 1e-9)
