"""What a score adds to clinical covariates or histology: `incremental`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import chi2

from recomputed.areas import NAN, Design, area, difference
from recomputed.entries import design_of
from recomputed.files import Model, Study
from recomputed.proportions import estimate

FEWEST, RIDGE = 10, 1e-4


def incremental(study: Study) -> list[dict[str, Any]]:
    """The baseline's logit with and without each score, in three populations; the score's weight is cross-fitted."""
    glands = study.complete & (study.kind == "adenocarcinoma")
    populations = (
        ("all_patients", study.ensemble.scored, "histology_only"),
        ("in_scope", study.complete, "clinical"),
        ("adenocarcinoma", glands, "clinical"),
    )
    rows = []
    for population, who, name in populations:
        y = study.y[who]
        if name not in study.baselines or min(y.sum(), (~y).sum()) < FEWEST:
            continue
        base = study.baselines[name].of(who)
        for model, scores in study.models.items():
            rows.append({"model": model, "population": population, **_row(study, who, base, scores.of(who))})
    return rows


def _row(study: Study, who: np.ndarray, base: Model, scores: Model) -> dict[str, Any]:
    y, design = study.y[who], design_of(study).of(who)
    nested = scores.inner is not None and base.inner is not None
    if not nested:  # an external cohort: five folds of each class in the order of patients
        deal = np.zeros(len(y), int)
        for label in (False, True):
            deal[y == label] = np.arange((y == label).sum()) % 5
        design = Design(deal[None], design.site)
    with_score = np.full(design.fold.shape, np.nan)
    for r, fold in enumerate(design.fold):
        for k in np.unique(fold):
            test = fold == k
            a, b = (m.inner[r, k] if nested else np.where(test, np.nan, m.logit[0]) for m in (base, scores))
            train = np.isfinite(a) & np.isfinite(b)
            weight = _weight(y[train], a[train], b[train])
            with_score[r, test] = base.logit[r, test] + weight * scores.logit[r, test]
    alone = base.within if nested else base.within[:1]
    plain = design if base.fitted else replace(design, folds=1)
    a, b = area(y, alone, plain), area(y, with_score, design)
    gained = difference(y, b, a)
    p, coefficient = likelihood_ratio(y, base.logit.mean(axis=0), scores.logit.mean(axis=0))
    return {
        "n": len(y),
        "n_positive": int(y.sum()),
        "auroc_base": estimate(a.value, a.low, a.high),
        "auroc_with": estimate(b.value, b.low, b.high),
        "delta_auroc": estimate(gained["value"], gained["low"], gained["high"]),
        "p": p,
        "p_delta": gained["p"],
        "coefficient": coefficient,
    }


def _weight(y: np.ndarray, base: np.ndarray, score: np.ndarray) -> float:
    """The score's weight beside the baseline's of 1, at least 0."""
    if y.all() or not y.any() or score.std() < 1e-12:
        return 0.0
    _, weight = fit(np.c_[np.ones(len(y)), (score - score.mean()) / score.std()], y, base)[0]
    return max(0.0, float(weight)) / float(score.std())


def likelihood_ratio(y: np.ndarray, base: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """p that the score adds nothing to the baseline's logit, and its coefficient per standard deviation."""
    if np.ptp(score) < 1e-12:
        return NAN, NAN
    x = np.c_[np.ones(len(y)), *((v - v.mean()) / (v.std() or 1.0) for v in (base, score))]
    (_, small), (beta, large) = fit(x[:, :2], y), fit(x, y)
    return float(chi2.sf(max(0.0, 2 * (large - small)), 1)), float(beta[-1])


def fit(x: np.ndarray, y: np.ndarray, offset: np.ndarray | float = 0.0) -> tuple[np.ndarray, float]:
    """Coefficients and log-likelihood of a logistic regression with a ridge of 1e-4 beside its intercept, by scipy."""
    ridge = np.r_[0.0, np.full(x.shape[1] - 1, RIDGE)]

    def minus(beta: np.ndarray) -> float:
        eta = x @ beta + offset
        return float(np.logaddexp(0, np.where(y, -eta, eta)).sum() + ridge @ beta**2 / 2)

    def slope(beta: np.ndarray) -> np.ndarray:
        return x.T @ (expit(x @ beta + offset) - y) + ridge * beta

    def curve(beta: np.ndarray) -> np.ndarray:
        p = expit(x @ beta + offset)
        return (x * (p * (1 - p))[:, None]).T @ x + np.diag(ridge)

    found = minimize(minus, np.zeros(x.shape[1]), jac=slope, hess=curve, method="trust-exact", options={"gtol": 1e-9})
    return found.x, ridge @ found.x**2 / 2 - float(found.fun)
