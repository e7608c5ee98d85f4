"""How good one model's scores are: ranking, calibration, and what its thresholds would have done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import Auroc, auroc
from kras_plugins.evaluation.intervals import percentile_interval, wilson

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64
    from kras_plugins.evaluation.intervals import Counts
    from kras_plugins.evaluation.scores import Scores

ONE_COHORT = "DeLong"
WITHIN_FOLDS = "mean of within-fold areas; DeLong placement values; training-set variability excluded"


def model_metrics(
    labels: Bool, scores: Scores, fold: npt.NDArray[np.int_], counts: Counts
) -> tuple[dict[str, Any], Auroc]:
    """One entry of `models` in metrics.json, and its AUROC for paired comparison.

    `labels`: bool[patient], `fold`: int[repeat patient], `counts`: bootstrap samples uint8[sample patient]. Every score
    must be finite. What cannot be computed is NaN.
    """
    area = auroc(labels, scores.ranking, fold)
    probability = _sigmoid(scores.logit)
    # A baseline that gives each fold one constant has no slope, though its constants differ between folds.
    constant = not len(labels) or np.ptp(scores.ranking) == 0
    line = (
        (math.nan, math.nan) if constant else calibration_line(np.tile(labels, len(scores.logit)), scores.logit.ravel())
    )
    entry: dict[str, Any] = {
        "n": len(labels),
        "n_positive": int(labels.sum()),
        "auroc": auroc_entry(area, fold) | {"fold_mean": _fold_mean(labels, scores, fold, area)},
        "auprc": auprc(labels, scores.ranking, counts),
        "brier": float(np.mean((probability - labels) ** 2)) if len(labels) else math.nan,
        "calibration_slope": line[0],
        "calibration_intercept": line[1],
        "operating_points": {
            rule: operating_point(labels, scores.logit, threshold, counts)
            for rule, threshold in scores.thresholds.items()
        },
    }
    if scores.raw is not None:
        entry["uncalibrated_auroc"] = auroc(labels, scores.raw, fold).value
    if scores.slopes is not None:
        entry["platt_slopes"] = scores.slopes
    return entry, area


def auroc_entry(area: Auroc, fold: npt.NDArray[np.int_]) -> dict[str, Any]:
    """An AUROC as metrics.json has it; `note` says why an interval is missing, "" otherwise."""
    cross_validated = len(fold) > 1 or len(np.unique(fold)) > 1
    return {
        "value": area.value,
        "low": area.low,
        "high": area.high,
        "method": WITHIN_FOLDS if cross_validated else ONE_COHORT,
        "note": area.note,
    }


def _fold_mean(labels: Bool, scores: Scores, fold: npt.NDArray[np.int_], area: Auroc) -> float:
    """Mean AUROC of single fold models: the value itself in cross-validation, else over `by_fold` if there is one."""
    if scores.by_fold is not None:
        return auroc(labels, scores.by_fold, np.zeros_like(scores.by_fold, np.int32)).value
    return area.value if len(fold) > 1 or len(np.unique(fold)) > 1 else math.nan


def auprc(labels: Bool, ranking: Float64, counts: Counts) -> dict[str, float]:
    """Average precision with a bootstrap interval, and its lift over the prevalence, which a random score reaches.

    `ranking`: float64[repeat patient]. Computed over all patients of a repeat, on calibrated logits, and averaged over
    repeats: within one fold a dozen positives bias average precision upward (a random score would not get the
    prevalence).
    """
    n_positive = int(labels.sum())
    if not n_positive:
        return {"value": math.nan, "low": math.nan, "high": math.nan, "lift": math.nan}
    curves = [_Precision(labels, one) for one in ranking]

    def mean(weights: Float64) -> Float64:
        result: Float64 = np.mean([curve(weights) for curve in curves], axis=0)
        return result

    value = float(mean(np.ones((1, len(labels))))[0])
    low, high = percentile_interval(counts, mean)
    return {"value": value, "low": low, "high": high, "lift": value / (n_positive / len(labels))}


class _Precision:
    """Average precision of one ranking under many patient weights: sorts once, then only sums."""

    def __init__(self, labels: Bool, ranking: Float64) -> None:
        self.order = np.argsort(-ranking, kind="stable")
        ranked = ranking[self.order]
        self.labels = labels[self.order].astype(np.float64)
        self.ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))

    def __call__(self, weights: Float64) -> Float64:
        """float64[sample] for weights float64[sample patient]; NaN where no positive has weight."""
        w = weights[:, self.order]
        found = np.cumsum(w * self.labels, axis=1)[:, self.ends]
        flagged = np.cumsum(w, axis=1)[:, self.ends]
        gain = np.diff(found, axis=1, prepend=0.0)
        precision = np.divide(found, flagged, out=np.zeros_like(found), where=flagged > 0)
        total = found[:, -1]
        result: Float64 = np.divide(
            (gain * precision).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0
        )
        return result


def operating_point(labels: Bool, logit: Float64, threshold: Float64, counts: Counts) -> dict[str, Any]:
    """What a rule would have done: each patient is flagged if its logit reaches the threshold set without it.

    `logit` and `threshold`: float64[repeat patient]. With repeats, counts are means over repeats. `threshold` is given
    as the probability of the mean logit. Wilson intervals for sensitivity and specificity, bootstrap for the predictive
    values. All NaN where a threshold could not be set.
    """
    flag = np.where(np.isfinite(threshold), logit >= threshold, np.nan).mean(axis=0)
    positive, negative = float(labels.sum()), float((~labels).sum())
    settled = len(labels) > 0 and bool(np.isfinite(flag).all())
    true_positive = float(flag[labels].sum()) if settled else math.nan
    false_positive = float(flag[~labels].sum()) if settled else math.nan
    nothing = (math.nan,) * 3
    sensitivity = wilson(true_positive, positive) if settled else nothing
    specificity = wilson(negative - false_positive, negative) if settled else nothing
    ppv = _predictive(labels, flag, counts) if settled else nothing
    npv = _predictive(~labels, 1 - flag, counts) if settled else nothing
    return {
        "threshold": float(_sigmoid(threshold.mean())) if threshold.size else math.nan,
        "sensitivity": _estimate(sensitivity),
        "specificity": _estimate(specificity),
        "ppv": _estimate(ppv),
        "npv": _estimate(npv),
        "lr_pos": _ratio(sensitivity[0], 1 - specificity[0]),
        "lr_neg": _ratio(1 - sensitivity[0], specificity[0]),
        "flagged": float(flag.mean()) if settled else math.nan,
    }


def _predictive(right: Bool, called: Float64, counts: Counts) -> tuple[float, float, float]:
    """Share of the called patients that are right, with a bootstrap interval."""
    pair = np.stack([called * right, called], axis=1)

    def share(weights: Float64) -> Float64:
        hits, all_called = (weights @ pair).T
        result: Float64 = np.divide(hits, all_called, out=np.full(len(hits), np.nan), where=all_called > 0)
        return result

    value = float(share(np.ones((1, len(right))))[0])
    if math.isnan(value):
        return value, value, value
    return value, *percentile_interval(counts, share)


def calibration_line(labels: Bool, logit: Float64) -> tuple[float, float]:
    """Slope and intercept of a logistic regression of the label on the logit (Cox 1958): 1 and 0 are perfect.

    A slope below 1 says the logits are too extreme. NaN, NaN where there is no finite fit: one class, a constant
    logit, or classes that the logit separates.
    """
    if not labels.any() or labels.all():
        return math.nan, math.nan
    positive, negative = logit[labels], logit[~labels]
    if positive.min() >= negative.max() or positive.max() <= negative.min():
        return math.nan, math.nan
    center, scale = logit.mean(), logit.std()
    x = np.stack([(logit - center) / scale, np.ones_like(logit)], axis=1)
    line = np.array([0.0, math.log(labels.mean() / (1 - labels.mean()))])
    for _ in range(100):
        p = _sigmoid(x @ line)
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x, x.T @ (labels - p))
        # Far from the optimum a full Newton step may overshoot; one unit of a standardized logit is a safe stride.
        line = line + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-10:
            return float(line[0] / scale), float(line[1] - line[0] * center / scale)
    return math.nan, math.nan


def _estimate(numbers: tuple[float, float, float]) -> Mapping[str, float]:
    return dict(zip(("value", "low", "high"), numbers, strict=True))


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else math.nan


def _sigmoid(x: npt.ArrayLike) -> Float64:
    from scipy.special import expit

    result: Float64 = expit(x)
    return result
