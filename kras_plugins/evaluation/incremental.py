"""What a score adds to what a clinician already knows: a model with and without it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import auroc, compare
from kras_plugins.evaluation.baselines import CLINICAL, HISTOLOGY_ONLY
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.intervals import estimate

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64
    from kras_plugins.evaluation.scores import Scores

NESTED = "weight fitted in each fold's training part on scores from models that saw neither the fold nor the patient"
EXTERNAL = "both scores are frozen; the score's weight is cross-fitted in five folds of this cohort"
AGAINST = "; given the baseline, the score runs against the label: p does not show a gain"
FEWEST = 10
"""Minimum number of patients of each class for a comparison."""
_RIDGE = 1e-4


def incremental(
    labels: Bool,
    design: Design,
    models: Mapping[str, Scores],
    baselines: Mapping[str, Scores],
    over: Sequence[str],
    population: str,
) -> list[dict[str, Any]]:
    """Entries of `incremental` in metrics.json: logistic models of the label, on a baseline's logit and with the score.

    The baseline is the clinical one (with histology), else histology alone; without either there are no rows. `over`
    names its covariates. All arguments are of the same patients, whose scores are finite. "With the score" means the
    baseline's logit plus the score times a weight of at least 0, which is cross-fitted: in cross-validation on each
    fold's inner scores, so that a fold's labels do not enter anything that is applied to it; on an external cohort in
    five folds of that cohort. `delta_auroc` is paired (DeLong on the cross-fitted predictions, `p_delta`); `p` is the
    likelihood-ratio test of the score's coefficient, free of sign, on out-of-fold logits averaged over repeats and
    taken as given. Both are about these models as fitted, not about another training set. For a score of pure noise
    they reject slightly more often than 5 % (docs/how-to/audit.md): out of fold such a score tends to run against the
    label, which the note states.
    """
    name = next((n for n in (CLINICAL, HISTOLOGY_ONLY) if n in baselines), None)
    if name is None or min(int(labels.sum()), int((~labels).sum())) < FEWEST:
        return []
    base = baselines[name]
    rows = []
    for model, scores in models.items():
        nested = scores.inner is not None and base.inner is not None
        where = design if nested else Design(_deal(labels), design.site)
        alone = base.within_folds if nested else base.within_folds[:1]
        both = _cross_fitted(labels, where.fold, base, scores, nested)
        a = auroc(labels, alone, where if base.fitted else where.unfitted())
        b = auroc(labels, both, where)
        d = compare(labels, b, a)
        ratio, slope = likelihood_ratio(labels, base.logit.mean(axis=0), scores.logit.mean(axis=0))
        rows.append(
            {
                "model": model,
                "over": list(over) if name == CLINICAL else ["histology"],
                "population": population,
                "n": len(labels),
                "n_positive": int(labels.sum()),
                "auroc_base": estimate((a.value, a.low, a.high)),
                "auroc_with": estimate((b.value, b.low, b.high)),
                "delta_auroc": estimate((d.value, d.low, d.high)),
                "p": ratio,
                "p_delta": d.p,
                "coefficient": slope,
                "note": (NESTED if nested else EXTERNAL) + (AGAINST if slope < 0 else ""),
            }
        )
    return rows


def likelihood_ratio(labels: Bool, base: Float64, score: Float64) -> tuple[float, float]:
    """p of the likelihood-ratio test (chi-squared, one degree) that a score adds nothing to a base logit in a logistic
    regression, and the score's coefficient per standard deviation; NaN, NaN if the score is constant."""
    from scipy.stats import chi2

    if np.ptp(score) < 1e-12:
        return math.nan, math.nan
    without, with_it = _standard([base]), _standard([base, score])
    small, large = _fit(without, labels), _fit(with_it, labels)
    statistic = 2 * (_log_likelihood(with_it @ large, labels) - _log_likelihood(without @ small, labels))
    return float(chi2.sf(max(0.0, statistic), 1)), float(large[-1])


def _cross_fitted(labels: Bool, fold: npt.NDArray[np.int_], base: Scores, scores: Scores, nested: bool) -> Float64:
    """float64[repeat patient]: the base's logit plus the score's with a weight fitted without each fold."""
    found = np.full(fold.shape, np.nan)
    for r in range(len(fold)):
        for k in np.unique(fold[r]):
            test = fold[r] == k
            a, b = (
                s.inner[r, k] if nested and s.inner is not None else np.where(test, np.nan, s.logit[0])
                for s in (base, scores)
            )
            train = np.isfinite(a) & np.isfinite(b)
            weight = _weight(labels[train], a[train], b[train])
            own = r if nested else 0
            found[r, test] = base.logit[own, test] + weight * scores.logit[own, test]
    return found


def _weight(labels: Bool, base: Float64, score: Float64) -> float:
    """The score's weight, at least 0, with the base's weight fixed at 1: a noisy score must not gain by running
    backwards in training, which cross-validation would turn into an area below 0.5."""
    spread = float(score.std())
    if not 0 < labels.sum() < len(labels) or spread < 1e-12:
        return 0.0
    x = _columns([(score - score.mean()) / spread])
    return max(0.0, float(_fit(x, labels, base)[1])) / spread


def _deal(labels: Bool, folds: int = 5) -> npt.NDArray[np.int_]:
    """int[1 patient]: folds of an external cohort, stratified by label in the order of patients."""
    fold = np.zeros(len(labels), np.int_)
    for value in (False, True):
        fold[labels == value] = np.arange(int((labels == value).sum())) % folds
    return fold[None]


def _standard(parts: Sequence[Float64]) -> Float64:
    return _columns([(x - x.mean()) / (x.std() or 1.0) for x in parts])


def _columns(parts: Sequence[Float64]) -> Float64:
    return np.stack([np.ones(len(parts[0])), *parts], axis=1)


def _fit(x: Float64, labels: Bool, offset: Float64 | float = 0.0) -> Float64:
    """Newton's method on the logistic likelihood; the ridge only keeps separated or collinear fits finite."""
    from scipy.special import expit

    penalty = np.full(x.shape[1], _RIDGE)
    penalty[0] = 0.0
    beta = np.zeros(x.shape[1])
    beta[0] = math.log(labels.sum() / (~labels).sum())
    for _ in range(200):
        p = expit(x @ beta + offset)
        gradient = x.T @ (labels - p) - penalty * beta
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty + 1e-12)
        step = np.linalg.solve(hessian, gradient)
        beta = beta + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    result: Float64 = beta
    return result


def _log_likelihood(logit: Float64, labels: Bool) -> float:
    return float(-np.logaddexp(0, np.where(labels, -logit, logit)).sum())
