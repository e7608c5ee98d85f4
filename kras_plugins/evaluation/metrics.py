"""How good one model's scores are: ranking, calibration, and what its thresholds would have done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import Auroc, auroc
from kras_plugins.evaluation.calibration import Line, calibration, calibration_line
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.intervals import percentiles, replicates
from kras_plugins.evaluation.operating import operating_point
from kras_plugins.evaluation.thresholds import RISK_CONTROL

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64
    from kras_plugins.evaluation.intervals import Counts
    from kras_plugins.evaluation.scores import Scores

ONE_COHORT = "standard error by patient (DeLong) or, where larger, by site (jackknife); score interval (Newcombe 2006)"
WITHIN_FOLDS = (
    "mean of within-fold areas; standard error by patient (DeLong's placement values) or, where larger, by site "
    "(jackknife), times √(1 + K/(K-1)) for K folds whose models share training patients (Nadeau & Bengio 2003); "
    "score interval (Newcombe 2006)"
)
COLLAPSED = "calibration found nothing in {} of {} folds, where patients are ranked by uncalibrated scores"
LEARNED_NOTHING = "learned nothing in {} of {} folds, where everyone has the same score"
NO_CONTROL = "no threshold controls the sensitivity at this number of positives, so none is set"


def model_metrics(
    labels: Bool, scores: Scores, design: Design, counts: Counts, prevalences: Sequence[float] = ()
) -> tuple[dict[str, Any], Auroc]:
    """One entry of `models` in metrics.json, and its AUROC for paired comparison.

    `labels`: bool[patient], `design`: of these patients, `counts`: bootstrap samples uint8[sample patient],
    `prevalences`: other populations for which predictive values are reported. Every score must be finite. Anything that
    cannot be computed is NaN.
    """
    design = design if scores.fitted else design.unfitted()
    area = auroc(labels, scores.within_folds, design)
    # A baseline with one constant per fold has no slope, though its constants differ between folds.
    constant = not len(labels) or np.ptp(scores.ranking) == 0
    unknown = (math.nan,) * 3
    line = Line(slope=unknown, intercept=unknown) if constant else calibration_line(labels, scores.logit)
    block = calibration(labels, scores.logit, counts, line)
    entry: dict[str, Any] = {
        "n": len(labels),
        "n_positive": int(labels.sum()),
        "auroc": auroc_entry(area, design) | {"fold_mean": _fold_mean(labels, scores, design, area)},
        "auprc": auprc(labels, scores.ranking, counts),
        "brier": block["brier"]["value"],
        "calibration_slope": line.slope[0],
        "calibration_intercept": line.intercept[0],
        "calibration": block,
        "operating_points": {rule: _point(rule, labels, scores, counts, prevalences) for rule in scores.thresholds},
    }
    if scores.raw is not None:
        entry["uncalibrated_auroc"] = auroc(labels, scores.raw, design).value
    if scores.slopes is not None:
        entry["platt_slopes"] = scores.slopes
    empty = [not found for repeat in scores.learned or () for found in repeat]
    if any(empty):
        said = LEARNED_NOTHING if scores.in_fold is None else COLLAPSED
        entry["auroc"]["note"] = "; ".join(filter(None, (said.format(sum(empty), len(empty)), area.note)))
    return entry, area


def _point(rule: str, labels: Bool, scores: Scores, counts: Counts, prevalences: Sequence[float]) -> dict[str, Any]:
    """A rule's operating point with what its threshold was chosen on, or why it has no threshold."""
    threshold = scores.thresholds[rule]
    point = operating_point(labels, scores.logit, threshold, counts, prevalences)
    point["provenance"] = scores.provenance.get(rule, "")
    if rule == RISK_CONTROL and threshold.size and not np.isfinite(threshold).all():
        point["note"] = NO_CONTROL
    return point


def auroc_entry(area: Auroc, design: Design) -> dict[str, Any]:
    """An AUROC as it is in metrics.json; `note` says why an interval is missing or exact, "" otherwise."""
    return {
        "value": area.value,
        "low": area.low,
        "high": area.high,
        "method": WITHIN_FOLDS if design.cross_validated else ONE_COHORT,
        "note": area.note,
        "se": area.standard_error,
        "inflation": area.spread.inflation,
        "by_site": _by_site(area),
    }


def _by_site(area: Auroc) -> dict[str, Any] | None:
    """The error by site, not widened, and whether there were enough sites to use it; None if no site is known."""
    found = area.spread
    if area.left_out is None:
        return None
    return {
        "sites": found.sites,
        "sites_with_positives": found.sites_with_positives,
        "se": found.by_site,
        "se_by_patient": found.by_patient,
        "enough": found.site_counts,
    }


def _fold_mean(labels: Bool, scores: Scores, design: Design, area: Auroc) -> float:
    """Mean AUROC of single fold models: the value itself in cross-validation, else over `by_fold` if there is one."""
    if scores.by_fold is not None:
        return auroc(labels, scores.by_fold).value
    return area.value if design.cross_validated else math.nan


def auprc(labels: Bool, ranking: Float64, counts: Counts) -> dict[str, float]:
    """Average precision with a bootstrap interval, and its lift over the prevalence, which a random score reaches.

    `ranking`: float64[repeat patient]; see `average_precision`.
    """
    n_positive = int(labels.sum())
    if not n_positive:
        return {"value": math.nan, "low": math.nan, "high": math.nan, "lift": math.nan}
    value, drawn = average_precision(labels, ranking, counts)
    low, high = percentiles(drawn)
    return {"value": value, "low": low, "high": high, "lift": value / (n_positive / len(labels))}


def average_precision(labels: Bool, ranking: Float64, counts: Counts) -> tuple[float, Float64]:
    """Average precision of ranking[repeat patient], and in each bootstrap sample, float64[sample].

    Computed over all patients of a repeat, on calibrated logits, and averaged over repeats: within one fold a dozen
    positives bias average precision upward (a random score would not get the prevalence).
    """
    curves = [_Precision(labels, one) for one in ranking]

    def mean(weights: Float64) -> Float64:
        result: Float64 = np.mean([curve(weights) for curve in curves], axis=0)
        return result

    return float(mean(np.ones((1, len(labels))))[0]), replicates(counts, mean)


class _Precision:
    """Average precision of one ranking under many patient weights: sorts once, then only sums."""

    def __init__(self, labels: Bool, ranking: Float64) -> None:
        self.order = np.argsort(-ranking, kind="stable")
        ranked = ranking[self.order]
        self.labels = labels[self.order].astype(np.float64)
        self.ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))

    def __call__(self, weights: Float64) -> Float64:
        """float64[sample] for weights float64[sample patient]; NaN if no positive has weight."""
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
