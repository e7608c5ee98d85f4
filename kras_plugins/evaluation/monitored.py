"""How good calls are among patients whose labels have arrived: the ensemble, compared with histology alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import auroc
from kras_plugins.evaluation.baselines import HISTOLOGY_ONLY, Known, apply_baselines
from kras_plugins.evaluation.calibration import calibration_line, in_the_large
from kras_plugins.evaluation.drift import too_few
from kras_plugins.evaluation.drift_labels import FEWEST_OF_EACH
from kras_plugins.evaluation.intervals import Interval, estimate, wilson
from kras_plugins.evaluation.spread import Z95

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64
    from kras_plugins.evaluation.arrivals import Arrival

Thresholds = Mapping[str, Mapping[str, float | None]]


def performance(facts: Mapping[str, Any], arrivals: Sequence[Arrival], thresholds: Thresholds) -> list[dict[str, Any]]:
    """An entry for `ensemble` and, where the bundle has it, for `histology_only`, of assessable patients with labels.

    `facts` and `thresholds` (logits by model and rule): the bundle's. Each has `model`, `n`, `n_positive`, `auroc`,
    `intercept` (slope held at 1), `slope`, `observed_expected`, and by rule `sensitivity` and `specificity`, each
    `{"value", "low", "high"}`; or a `note` in their place. The scores are those that calls are based on, at the
    bundle's prevalence.
    """
    known = [a for a in arrivals if a.assessable and a.label is not None and a.score is not None]
    labels = np.array([a.label for a in known], bool)
    found = [_entry("ensemble", labels, np.array([a.score for a in known], np.float64), thresholds)]
    frozen = {k: v for k, v in facts["baselines"].items() if k == HISTOLOGY_ONLY}
    if known and frozen:
        scores = apply_baselines(frozen, Known(histology=[a.histology or None for a in known]), thresholds)
        found += [_entry(name, labels, one.logit[0], thresholds) for name, one in scores.items()]
    return found


def observed_expected(labels: Bool, probability: Float64) -> Interval:
    """Observed over expected positives, with a 95 % interval on the log scale, var ln(O/E) ≈ (1 - O/n) / O.

    Debray et al. 2017 (BMJ 356:i6460). NaN without a positive.
    """
    observed, expected = float(labels.sum()), float(probability.sum())
    if not observed or not expected:
        return math.nan, math.nan, math.nan
    half = Z95 * math.sqrt((1 - observed / len(labels)) / observed)
    value = observed / expected
    return value, value * math.exp(-half), value * math.exp(half)


def _entry(model: str, labels: Bool, logit: Float64, thresholds: Thresholds) -> dict[str, Any]:
    from scipy.special import expit

    n, positive = len(labels), int(labels.sum())
    entry: dict[str, Any] = {"model": model, "n": n, "n_positive": positive}
    for count, noun in ((positive, "positive"), (n - positive, "negative")):
        if note := too_few(count, FEWEST_OF_EACH, FEWEST_OF_EACH):
            return entry | {"note": f"{noun} patients: {note}"}
    area = auroc(labels, logit)
    line = calibration_line(labels, logit[None])
    return entry | {
        "auroc": {"value": area.value, "low": area.low, "high": area.high, "note": area.note},
        "intercept": estimate(in_the_large(labels, logit[None])),
        "slope": estimate(line.slope),
        "observed_expected": estimate(observed_expected(labels, expit(logit))),
        "rules": {
            rule: {
                "sensitivity": estimate(wilson(int((logit[labels] >= cut).sum()), positive)),
                "specificity": estimate(wilson(int((logit[~labels] < cut).sum()), n - positive)),
            }
            for rule, cut in thresholds.get(model, {}).items()
            if cut is not None
        },
    }
