"""How many rapid molecular tests a score would have spared: patients ruled out at a fixed negative predictive value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.intervals import estimate, share

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64
    from kras_plugins.evaluation.intervals import Counts

LEVELS = (0.95, 0.98)
"""Negative predictive values, in addition to the one that halves the share of positives (1 − prevalence / 2)."""

REFERENCE = (
    "EAGLE (Campanella et al., Nat Med 2025, s41591-025-03780-x): up to 43 % fewer rapid tests for EGFR in "
    "adenocarcinoma, at the performance of the rapid test"
)
"""What a readily detectable gene saved; gene, prevalence and rule differ, so for orientation only."""

APPARENT = "apparent: the threshold was chosen on the patients it is applied to, so results are too good"
TRIVIAL = "no more than 1 − prevalence: reached without any slide"


def rapid_tests_avoided(
    labels: Bool,
    logit: Float64,
    inner: Float64 | None,
    fold: npt.NDArray[np.int_],
    counts: Counts,
    levels: Sequence[float] = LEVELS,
) -> list[dict[str, Any]]:
    """The share of patients that would be spared a rapid test at each negative predictive value, as JSON values.

    `labels`: bool[patient]; `logit`: float64[repeat patient], finite, out of fold; `inner`: float64[repeat fold
    patient], scores of each fold's training part, NaN for its own patients (`Scores.inner`); `fold`: int[repeat
    patient]; `counts`: bootstrap samples uint8[sample patient]. All are of the same patients, those in scope.

    A patient is spared if its logit lies below the threshold that `npv_threshold` chose without it, on the training
    part of its fold. Without `inner` (an external cohort: a bundle freezes no such threshold) it is chosen on the
    cohort itself, and the row states that it is apparent. With repeats, counts are means over repeats.

    Returns a row for each of `levels`, then one at 1 − prevalence / 2, in training each fold's own: `npv` aimed at,
    `avoided` and `npv_reached` with percentile intervals of the patient-level bootstrap (`intervals.share`),
    `one_minus_prevalence`, `apparent`, `note` and `reference`. A level that is reached by sparing everybody is
    meaningless: its estimates are NaN, as are all estimates without patients of both classes.
    """
    if not labels.any() or labels.all():
        return []
    prevalence = float(labels.mean())
    rows = []
    for level in (*levels, None):
        aim = 1 - prevalence / 2 if level is None else level
        trivial = aim <= 1 - prevalence
        threshold = _thresholds(labels, logit, inner, fold, level)
        spared = np.full(len(labels), np.nan) if trivial else (logit < threshold).mean(axis=0)
        rows.append(
            {
                "npv": aim,
                "avoided": estimate(share(spared, np.ones(len(labels)), counts)),
                "npv_reached": estimate(share(spared * ~labels, spared, counts)),
                "one_minus_prevalence": 1 - prevalence,
                "apparent": inner is None,
                "note": TRIVIAL if trivial else APPARENT if inner is None else "",
                "reference": REFERENCE,
            }
        )
    return rows


def npv_threshold(labels: Bool, scores: Float64, level: float) -> float:
    """The highest cut of scores[patient] below which at least `level` of the patients are negative.

    Patients with NaN are left out. It is the lowest score that is not ruled out, like the other thresholds; −∞ where
    no cut reaches the level, ∞ where all patients together do.
    """
    known = np.isfinite(scores)
    value, group = np.unique(scores[known], return_inverse=True)
    if not len(value):
        return -math.inf
    negative = np.cumsum(np.bincount(group, ~labels[known]))
    below = np.cumsum(np.bincount(group))
    # A rounding error in a level such as 1 − prevalence / 2 must not cost a patient.
    reached = np.flatnonzero(negative >= level * below - 1e-9)
    return -math.inf if not len(reached) else float(np.append(value, math.inf)[reached[-1] + 1])


def _thresholds(
    labels: Bool, logit: Float64, inner: Float64 | None, fold: npt.NDArray[np.int_], level: float | None
) -> Float64:
    """The threshold that applies to each patient, float64[repeat patient]; `level` None: half the prevalence."""
    if inner is None:
        inner, fold = logit[:, None], np.zeros_like(fold)

    def chosen(scores: Float64) -> float:
        prevalence = labels[np.isfinite(scores)].mean() if np.isfinite(scores).any() else 0.0
        return npv_threshold(labels, scores, 1 - prevalence / 2 if level is None else level)

    return np.stack([np.array([chosen(s) for s in repeat])[f] for repeat, f in zip(inner, fold, strict=True)])
