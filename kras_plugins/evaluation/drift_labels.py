"""Whether calibration and rates are still those of training, once labels have arrived.

All of this uses scores like training's out-of-fold ones: those of one fold's models, so that without drift new patients
and training's are alike. The mean over folds, on which calls are based, is less extreme and would differ without drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kras_plugins.evaluation.drift import FEWEST, Compared, compare_levels, too_few

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64

FEWEST_OF_EACH = 5
"""With fewer positive or fewer negative patients, calibration and rates are not compared."""
RATES = {"rule_out": "sensitivity", "rule_in": "specificity"}
"""By rule, the rate that its threshold aims at: the one for which training's part in the choice is known."""


def labelled_reference(labels: Bool, logit: Float64, thresholds: Mapping[str, float | None]) -> dict[str, Any]:
    """What a bundle keeps of training's labels and out-of-fold logits, bool and float64[patient], as JSON values.

    `n`, `n_positive`; `center`, the mean logit; `large` and `slope`, mean and standard deviation of the residual
    y - p and of its product with the centered logit: what maximum likelihood sets to zero for intercept and slope of
    the calibration line (Cox 1958). `rules`: how many patients of the class lie on the right side of
    a threshold, and of how many.
    """
    center = float(logit.mean()) if len(logit) else 0.0
    large, slope = _residuals(labels, logit, center)
    return {
        "n": len(labels),
        "n_positive": int(labels.sum()),
        "center": center,
        "large": _moments(large),
        "slope": _moments(slope),
        "rules": {
            rule: list(_right(rate, labels, logit, cut))
            for rule, rate in RATES.items()
            if (cut := thresholds.get(rule)) is not None
        },
    }


def compare_labelled(
    training: Mapping[str, Any],
    labels: Bool,
    logit: Float64,
    thresholds: Mapping[str, float | None],
    fewest: int = FEWEST,
) -> dict[str, list[Compared]]:
    """Comparisons by group, `prevalence`, `calibration` and `rates`, of labeled patients with scores.

    `labels` and `logit`: bool and float64[patient]; `thresholds`: the bundle's frozen logits by rule.
    """
    n, m, positive = len(labels), int(training["n"]), int(labels.sum())
    before = int(training["n_positive"])
    prevalence = compare_levels(
        "prevalence",
        {"positive": before, "negative": m - before},
        ["positive" if y else "negative" for y in labels],
        fewest,
    )
    large, slope = _residuals(labels, logit, float(training["center"]))
    note = too_few(n, m, fewest) or _too_few_of_a_class(positive, n - positive)
    calibration = [
        _welch("calibration in the large", large, training["large"], m, note),
        _welch("calibration slope", slope, training["slope"], m, note),
    ]
    rates = [_rate(rule, training["rules"].get(rule), labels, logit, thresholds.get(rule)) for rule in RATES]
    return {"prevalence": [prevalence], "calibration": calibration, "rates": rates}


def predictive_p(hits: int, n: int, training_hits: int, training_n: int) -> float:
    """Two-sided p of `hits` of `n` new patients beyond a threshold that was set on training patients of that class.

    Where `training_hits` of `training_n` lie beyond it, the share of all such patients beyond it is Beta(k, m - k + 1)
    if the threshold is the last of these k and Beta(k + 1, m - k) if it is just short of the next one (order statistics
    of a uniform; David & Nagaraja 2003, §2.3), so new counts are beta-binomial. Each tail takes the larger of the two.
    """
    from scipy.stats import betabinom

    k, m = training_hits, training_n
    low = float(betabinom.cdf(hits, n, k, m - k + 1)) if k else 1.0
    high = float(betabinom.sf(hits - 1, n, k + 1, m - k)) if k < m else 1.0
    return min(1.0, 2 * min(low, high))


def _residuals(labels: Bool, logit: Float64, center: float) -> tuple[Float64, Float64]:
    from scipy.special import expit

    residual = labels - expit(logit)
    return residual, residual * (logit - center)


def _moments(values: Float64) -> list[float]:
    return [float(values.mean()), float(values.std(ddof=1))] if len(values) > 1 else [0.0, 0.0]


def _welch(name: str, values: Float64, training: list[float], m: int, note: str) -> Compared:
    """Welch's t test of a mean against training's, whose mean and standard deviation are known."""
    from scipy.stats import ttest_ind_from_stats

    n, (mean, sd) = len(values), training
    here = _moments(values)
    if not note and not (sd > 0 and here[1] > 0):
        note = "all values are equal"
    if note:
        return Compared(name=name, n=n, n_training=m, note=note)
    found = ttest_ind_from_stats(here[0], here[1], n, mean, sd, m, equal_var=False)
    return Compared(
        name=name,
        n=n,
        n_training=m,
        test="Welch's t",
        statistic=float(found.statistic),
        p=float(found.pvalue),
        detail=f"mean residual {here[0]:.3f}, training {mean:.3f}",
    )


def _rate(rule: str, training: list[int] | None, labels: Bool, logit: Float64, cut: float | None) -> Compared:
    name = f"{RATES[rule]} at {rule.replace('_', '-')}"
    if training is None or cut is None:
        return Compared(name=name, n=0, n_training=0, note="the bundle has no such threshold")
    k, m = training
    hits, n = _right(RATES[rule], labels, logit, cut)
    if note := too_few(n, m, FEWEST_OF_EACH):
        return Compared(name=name, n=n, n_training=m, note=note)
    return Compared(
        name=name,
        n=n,
        n_training=m,
        test="beta-binomial",
        p=predictive_p(hits, n, k, m),
        detail=f"{hits} of {n} ({hits / n:.0%}), training {k} of {m} ({k / m:.0%})",
    )


def _right(rate: str, labels: Bool, logit: Float64, cut: float) -> tuple[int, int]:
    """How many of the rate's class lie on its side of a threshold, and of how many."""
    if rate == "sensitivity":
        return int((logit[labels] >= cut).sum()), int(labels.sum())
    return int((logit[~labels] < cut).sum()), int((~labels).sum())


def _too_few_of_a_class(positive: int, negative: int) -> str:
    for n, noun in ((positive, "positive"), (negative, "negative")):
        if n < FEWEST_OF_EACH:
            return f"too few {noun}: {n} of {FEWEST_OF_EACH}"
    return ""
