"""Tables of models: `models`, `luad_only`, `non_squamous`, `all_patients_pooled`, `any_member`, and comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import average_precision_score

from recomputed.areas import NAN, Area, Design, Z, area, difference, holm
from recomputed.calibration import calibration
from recomputed.cuts import operating_point
from recomputed.drawn import middle, samples
from recomputed.files import ENSEMBLE, Model, Study
from recomputed.proportions import estimate, nothing

POWER = Z + float(norm.ppf(0.8))


def design_of(study: Study, fitted: bool = True) -> Design:
    """The design of all scores; nothing is widened for those that used no label."""
    return Design(study.fold, study.site, study.folds if fitted else 1)


def area_of(study: Study, model: Model, who: np.ndarray) -> Area:
    return area(study.y[who], model.within[:, who], design_of(study, model.fitted).of(who))


def table(
    study: Study, models: Mapping[str, Model], who: np.ndarray, prevalences: Sequence[float] = ()
) -> dict[str, Any]:
    """Entries of all models on the same patients, bool[patient]; {} if there are none."""
    if not who.any():
        return {}
    drawn = samples(int(who.sum()))
    return {name: entry(study, model, who, drawn, prevalences) for name, model in models.items()}


def entry(
    study: Study, model: Model, who: np.ndarray, drawn: np.ndarray, prevalences: Sequence[float]
) -> dict[str, Any]:
    """One entry: ranking, calibration, and the performance at each rule's thresholds."""
    y, own, design = study.y[who], model.of(who), design_of(study, model.fitted).of(who)
    found = area(y, own.within, design)
    if own.by_fold is not None:
        fold_mean = float(area(y, own.by_fold, Design(np.zeros((1, len(y)), int))).value)
    else:
        fold_mean = found.value if len(design.fold) > 1 or len(np.unique(design.fold)) > 1 else NAN
    block = calibration(y, own.logit, drawn, bool(np.ptp(own.ranking) > 0))
    result = {
        "n": len(y),
        "n_positive": int(y.sum()),
        "auroc": {**found.entry(), "fold_mean": fold_mean},
        "auprc": auprc(y, own.ranking, drawn),
        "brier": block["brier"]["value"],
        "calibration_slope": block["slope"]["value"],
        "calibration_intercept": block["intercept"]["value"],
        "calibration": block,
        "operating_points": {
            rule: operating_point(y, own.logit, cut, drawn, prevalences) for rule, cut in own.thresholds.items()
        },
    }
    if own.raw is not None:
        result["uncalibrated_auroc"] = area(y, own.raw, design).value
    if own.slopes is not None:
        result["platt_slopes"] = own.slopes.tolist()
    return result


def pooled_table(study: Study) -> dict[str, Any]:
    """All patients, in or out of scope: ranking alone."""
    who, drawn = study.ensemble.scored, samples(int(study.ensemble.scored.sum()))
    return {
        name: {
            "n": int(who.sum()),
            "n_positive": int(study.y[who].sum()),
            "auroc": area_of(study, model, who).entry()
            | {"fold_mean": entry(study, model, who, drawn, ())["auroc"]["fold_mean"]},
            "auprc": auprc(study.y[who], model.ranking[:, who], drawn),
        }
        for name, model in {**study.models, **study.baselines_of_all}.items()
    }


def any_member(study: Study, prevalences: Sequence[float]) -> dict[str, Any]:
    """Each member on whom it could score in scope, the ensemble as the mean of those present; {} where all have all."""
    if (study.complete == study.in_scope).all():
        return {}
    models = {**study.members, ENSEMBLE: study.available}
    return {name: table(study, {name: m}, m.scored & study.in_scope, prevalences)[name] for name, m in models.items()}


def auprc(y: np.ndarray, ranking: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
    """Average precision by scikit-learn, mean over repeats, with a bootstrap interval; its lift over the prevalence."""
    if not y.any():
        return {**nothing(), "lift": NAN}
    value = average_precision(y, ranking)
    return {**estimate(value, *middle(precisions(y, ranking, drawn))), "lift": value / float(y.mean())}


def average_precision(y: np.ndarray, ranking: np.ndarray) -> float:
    return float(np.mean([average_precision_score(y, one) for one in ranking]))


def precisions(y: np.ndarray, ranking: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Average precision in each sample, mean over repeats: the weighted mean over positives of the share of positives
    among those ranked at or above."""
    found = []
    for one in ranking:
        above = (one >= one[y][:, None]).astype(float)
        with np.errstate(invalid="ignore"):
            precision = (drawn @ (above * y).T) / (drawn @ above.T)
            weight = drawn[:, y]
            found.append(np.where(weight > 0, precision * weight, 0.0).sum(axis=1) / weight.sum(axis=1))
    return np.mean(found, axis=0)


def comparisons(study: Study) -> list[dict[str, Any]]:
    """The ensemble against each member and baseline, Holm over members and histology alone."""
    rows = _against(study, {**study.models, **study.baselines_in_scope}, study.complete, "in_scope")
    if "histology_only" in study.baselines:
        both = {ENSEMBLE: study.ensemble, "histology_only": study.baselines["histology_only"]}
        rows += _against(study, both, study.ensemble.scored, "all_patients")
    claims = [i for i, row in enumerate(rows) if row["b"] in study.members or row["b"] == "histology_only"]
    for i, adjusted in zip(claims, holm([rows[i]["p"] for i in claims]), strict=True):
        rows[i]["p_holm"] = adjusted
    return rows


def _against(study: Study, models: Mapping[str, Model], who: np.ndarray, population: str) -> list[dict[str, Any]]:
    y, ours = study.y[who], area_of(study, models[ENSEMBLE], who)
    drawn = samples(len(y), y) if y.any() else None
    rows = []
    for name, model in models.items():
        if name in (ENSEMBLE, "prevalence"):
            continue
        theirs = area_of(study, model, who)
        found = difference(y, ours, theirs)
        rows.append(
            {
                "a": ENSEMBLE,
                "b": name,
                "population": population,
                "delta": found["value"],
                "low": found["low"],
                "high": found["high"],
                "p": NAN if theirs.constant else found["p"],
                "p_holm": NAN,
                "minimum_detectable": POWER * found["se"],
                "delta_auprc": nothing() if drawn is None else _precision_difference(study, model, who, drawn),
            }
        )
    return rows


def _precision_difference(study: Study, model: Model, who: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
    """Difference in average precision; the bootstrap keeps the number of each class."""
    y, a, b = study.y[who], study.ensemble.ranking[:, who], model.ranking[:, who]
    value = average_precision(y, a) - average_precision(y, b)
    return estimate(value, *middle(precisions(y, a, drawn) - precisions(y, b, drawn)))


def power(study: Study) -> dict[str, Any]:
    """The smallest area distinguishable from 0.5: A - 0.5 = f (1.96 SE(0.5) + 0.84 SE(A)), Hanley & McNeil 1982."""
    y, f = study.y[study.complete], design_of(study).inflation
    m, n = int(y.sum()), int((~y).sum())

    def se(a: float) -> float:
        q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
        return math.sqrt(max(0.0, a * (1 - a) + (m - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / (m * n))

    def excess(a: float) -> float:
        return a - 0.5 - f * (Z * se(0.5) + (POWER - Z) * se(a))

    found = float(brentq(excess, 0.5, 1)) if m and n and excess(1) >= 0 else NAN
    return {"n": len(y), "n_positive": m, "auroc_detectable": found}


def external(study: Study, models: Mapping[str, Any]) -> dict[str, Any]:
    """Single fold models and their ensemble, and the prevalence here beside that of training."""
    auroc = {name: one["auroc"] for name, one in models.items()}
    trained, groups = study.manifest["trained_on"], study.glandular
    rates = [trained["n_positive"] / trained["n"], float(study.y.mean())]
    shift = [
        {
            "what": "prevalence (share positive)",
            "internal": rates[0],
            "external": rates[1],
            "difference": rates[1] - rates[0],
        }
    ]
    if (groups != "").any():
        shift.append(
            {
                "what": "histology (share adenocarcinoma)",
                "external": float((groups == "adenocarcinoma").sum() / (groups != "").sum()),
            }
        )
    return {
        "fold_mean": {n: {"value": a["fold_mean"]} for n, a in auroc.items() if not math.isnan(a["fold_mean"])},
        "fold_ensembled": {n: {k: a[k] for k in ("value", "low", "high")} for n, a in auroc.items()},
        "shift": shift,
    }
