"""Decision curves: what testing those above a risk is worth, against testing everyone and no one.

Net benefit = TP/n - FP/n · t/(1-t) at risk threshold t (Vickers & Elkin 2006, Med Decis Making 26:565). Testing no one
is worth 0. Here "testing" means ordering the sequencing that guidelines recommend for everyone, so test-all is the
alternative.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64

THRESHOLDS = tuple(round(t / 100, 2) for t in range(1, 31))


def decision_curves(
    labels: Bool, logits: Mapping[str, Float64], prevalences: Sequence[float] = (), calibrated_at: float | None = None
) -> dict[str, Any]:
    """The block `decision_curves` of metrics.json from logits[repeat patient] by model.

    `at_prevalence` contains the same for populations that differ only in prevalence: logits move by the difference of
    the log odds, from prevalence `calibrated_at` (this cohort's if None), and both classes are reweighted.
    """
    here = float(labels.mean()) if len(labels) else math.nan
    base = here if calibrated_at is None else calibrated_at
    return _curves(labels, logits, here, 0.0) | {
        "at_prevalence": [_curves(labels, logits, p, _log_odds(p) - _log_odds(base)) for p in prevalences]
    }


def net_benefit(labels: Bool, logit: Float64, prevalence: float) -> list[float]:
    """Net benefit at THRESHOLDS, mean over repeats; NaN if a class is absent. A risk at the threshold is tested."""
    if not labels.any() or labels.all():
        return [math.nan] * len(THRESHOLDS)
    curve = []
    for t in THRESHOLDS:
        tested = logit >= _log_odds(t)
        sensitivity, false_positive = float(tested[:, labels].mean()), float(tested[:, ~labels].mean())
        curve.append(prevalence * sensitivity - (1 - prevalence) * false_positive * t / (1 - t))
    return curve


def _curves(labels: Bool, logits: Mapping[str, Float64], prevalence: float, shift: float) -> dict[str, Any]:
    return {
        "prevalence": prevalence,
        "thresholds": list(THRESHOLDS),
        "test_all": [prevalence - (1 - prevalence) * t / (1 - t) for t in THRESHOLDS],
        "models": {name: net_benefit(labels, logit + shift, prevalence) for name, logit in logits.items()},
    }


def _log_odds(p: float) -> float:
    return math.log(p / (1 - p)) if 0 < p < 1 else math.nan
