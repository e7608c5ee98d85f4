"""Thresholds of scores and their consequences: calls, operating points, triage, decision curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.metrics import roc_curve

from recomputed.areas import NAN
from recomputed.drawn import middle, samples
from recomputed.files import RULES, Study
from recomputed.proportions import complement, estimate, nothing, odds_to_share, over, quotient, wilson

NPV_LEVELS = (0.95, 0.98)
TRIAGE_RISKS = [t / 100 for t in range(1, 11)]
CURVE_RISKS = [t / 100 for t in range(1, 31)]


def choose(y: np.ndarray, scores: np.ndarray, targets: Mapping[str, float]) -> dict[str, float]:
    """The thresholds of the rules (docs/reference/definitions.md) from scikit-learn's ROC curve of scores[patient]."""
    known = np.isfinite(scores)
    y, s = y[known], scores[known]
    if y.all() or not y.any():
        return dict.fromkeys(RULES, NAN)
    false, true, cut = (x[1:] for x in roc_curve(y, s, drop_intermediate=False))  # from the highest score down
    sensitive = float(cut[true >= targets["sensitivity"] - 1e-9].max())
    specific = cut[1 - false >= targets["specificity"] - 1e-9]
    cut_specific = float(specific.min()) if len(specific) else float(np.nextafter(s[~y].max(), math.inf))
    gain = true - false
    best = float(cut[gain >= gain.max() - 1e-12].min())
    middle_of = (sensitive + cut_specific) / 2
    crossed = sensitive > cut_specific
    return {
        "target_sensitivity": sensitive,
        "target_specificity": cut_specific,
        "youden": best,
        "rule_in": middle_of if crossed else cut_specific,
        "rule_out": middle_of if crossed else sensitive,
    }


def targets(study: Study) -> dict[str, float]:
    """The aims of the rules, as the settings in manifest.json have them."""
    return {name: study.config[f"target_{name}"] for name in ("sensitivity", "specificity")}


def fold_thresholds(study: Study) -> tuple[dict[str, Any], dict[str, Any]]:
    """The thresholds of each fold from the inner scores of its training part, and those that folds.parquet has."""
    found: dict[str, Any] = {}
    written: dict[str, Any] = {}
    for name, model in {**study.models, **study.baselines}.items():
        for r, k in np.ndindex(*model.inner.shape[:2]) if model.inner is not None else ():
            scores = np.where(study.settled, model.inner[r, k], np.nan)
            place = f"{name}, repeat {r + 1}, fold {k + 1}"
            found[place] = choose(study.y, scores, targets(study))
            here = study.fold[r] == k
            written[place] = {
                rule: float(model.thresholds[rule][r, here][0]) if rule in model.thresholds else None for rule in RULES
            }
    return found, written


def operating_point(
    y: np.ndarray, logit: np.ndarray, threshold: np.ndarray, drawn: np.ndarray, prevalences: Sequence[float]
) -> dict[str, Any]:
    """Counts of those at or above their own threshold, means over repeats; Wilson's intervals, bootstrap for PPV and
    NPV unless all or none are right."""
    if not np.isfinite(threshold).all():
        flagged, sensitivity, specificity, ppv, npv = NAN, nothing(), nothing(), nothing(), nothing()
    else:
        flag = (logit >= threshold).mean(axis=0)
        flagged = float(flag.mean())
        sensitivity = wilson(float(flag[y].sum()), int(y.sum()))
        specificity = wilson(float((1 - flag)[~y].sum()), int((~y).sum()))
        ppv, npv = predictive(y, flag, drawn), predictive(~y, 1 - flag, drawn)
    return {
        "threshold": float(expit(threshold.mean())),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": ppv,
        "npv": npv,
        "lr_pos": quotient(sensitivity["value"], 1 - specificity["value"]),
        "lr_neg": quotient(1 - sensitivity["value"], specificity["value"]),
        "flagged": flagged,
        "number_needed_to_test": quotient(1.0, ppv["value"]),
        "at_prevalence": [] if math.isnan(flagged) else [elsewhere(p, sensitivity, specificity) for p in prevalences],
    }


def predictive(right: np.ndarray, called: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
    """The share of calls that are right."""
    hits, total = float((called * right).sum()), float(called.sum())
    if not total:
        return nothing()
    if hits in (0, total):
        return wilson(hits, total)
    with np.errstate(invalid="ignore"):
        return estimate(hits / total, *middle((drawn @ (called * right)) / (drawn @ called)))


def elsewhere(prevalence: float, sensitivity: dict[str, float], specificity: dict[str, float]) -> dict[str, Any]:
    """Bayes' rule at another prevalence, with MOVER-R intervals of the likelihood ratios."""
    odds = prevalence / (1 - prevalence)
    up, down = over(sensitivity, complement(specificity)), over(complement(sensitivity), specificity)
    ppv = {k: odds_to_share(odds, v) for k, v in up.items()}
    npv = {k: 1 - odds_to_share(odds, down[o]) for k, o in (("value", "value"), ("low", "high"), ("high", "low"))}
    return {"prevalence": prevalence, "ppv": ppv, "npv": npv, "number_needed_to_test": quotient(1.0, ppv["value"])}


def bundle_thresholds(study: Study) -> dict[str, Any]:
    """The performance of the thresholds from all out-of-fold scores of the first repeat, on those scores."""
    if study.folds == 1:
        return {}
    here, own = study.complete, study.ensemble.of(study.complete)
    first = study.ensemble.logit[0]
    chosen = choose(study.y, np.where(study.settled, first, np.nan), targets(study))
    y, drawn = study.y[here], samples(int(here.sum()))
    return {
        rule: operating_point(y, own.logit[:1], np.full((1, len(y)), cut), drawn, ()) for rule, cut in chosen.items()
    }


def triage(study: Study, point: Mapping[str, Any]) -> dict[str, Any]:
    """Ruling out against sequencing everybody: TN/n · t/(1-t) - FN/n at risk t (Vickers & Elkin 2006), bootstrap."""
    y, own = study.y[study.complete], study.ensemble.of(study.complete)
    threshold = own.thresholds["rule_out"]
    block: dict[str, Any] = {"one_minus_prevalence": 1 - float(y.mean()), "npv": point["npv"]}
    if not np.isfinite(threshold).all():
        return {**block, "ruled_out": nothing(), "net_benefit": [], "worth_more": False, "worth_from": NAN}
    out = (own.logit < threshold).mean(axis=0)
    drawn, curve = samples(len(y)), []
    for risk in TRIAGE_RISKS:
        gain = np.where(y, -out, out * risk / (1 - risk)) / len(y)
        curve.append({"t": risk, "difference": estimate(float(gain.sum()), *middle(drawn @ gain))})
    gained = [row["t"] for row in curve if row["difference"]["low"] > 0]
    worth = block["npv"]["low"] > block["one_minus_prevalence"] and bool(gained)
    return {
        **block,
        "ruled_out": wilson(float(out.sum()), len(y)),
        "net_benefit": curve,
        "worth_more": worth,
        "worth_from": gained[0] if worth else NAN,
    }


def rapid_tests_avoided(study: Study) -> list[dict[str, Any]]:
    """The share of patients in scope below the highest threshold that kept an NPV, chosen on each fold's training part,
    or on the cohort itself if nothing was cross-validated; none below an NPV that sparing everybody reaches."""
    here = study.complete
    y, own, fold = study.y[here], study.ensemble.of(here), study.fold[:, here]
    if y.all() or not y.any():
        return []
    inner, drawn, rate, rows = own.inner, samples(len(y)), float(y.mean()), []
    if inner is None:
        inner, fold = own.logit[:, None], np.zeros_like(fold)

    def cut(scores: np.ndarray, level: float | None) -> float:
        known = np.isfinite(scores)
        aim = 1 - y[known].mean() / 2 if level is None else level
        places = [*np.unique(scores[known]), math.inf]
        right = [c for c in places[1:] if (~y[scores < c]).sum() >= aim * (scores < c).sum() - 1e-9]
        return max(right, default=-math.inf)

    for level in (*NPV_LEVELS, None):
        aim = 1 - rate / 2 if level is None else level
        cuts = np.array([[cut(scores, level) for scores in repeat] for repeat in inner])
        spared = (own.logit < np.take_along_axis(cuts, fold, axis=1)).mean(axis=0)
        spared = np.full(len(y), NAN) if aim <= 1 - rate else spared
        avoided, reached = predictive(spared, np.ones(len(y)), drawn), predictive(~y, spared, drawn)
        facts = {"npv": aim, "one_minus_prevalence": 1 - rate, "apparent": own.inner is None}
        rows.append({**facts, "avoided": avoided, "npv_reached": reached})
    return rows


def decision_curves(study: Study) -> dict[str, Any]:
    """Net benefit TP/n - FP/n · t/(1-t) of testing those at risk t or above, here and at other prevalences."""
    here = study.complete
    y = study.y[here]
    rate = float(y.mean())
    base = rate
    if study.folds == 1:  # the prevalence that the bundle was calibrated at
        trained = study.manifest["trained_on"]
        base = trained["n_positive_in_scope"] / trained["n_in_scope"]
    logits = {name: m.logit[:, here] for name, m in {**study.models, **study.baselines_in_scope}.items()}

    def curves(prevalence: float, shift: float) -> dict[str, Any]:
        def benefit(logit: np.ndarray, t: float) -> float:
            if y.all() or not y.any():
                return NAN
            tested = logit + shift >= math.log(t / (1 - t))
            true, false = tested[:, y].mean(), tested[:, ~y].mean()
            return float(prevalence * true - (1 - prevalence) * false * t / (1 - t))

        return {
            "prevalence": prevalence,
            "thresholds": CURVE_RISKS,
            "test_all": [prevalence - (1 - prevalence) * t / (1 - t) for t in CURVE_RISKS],
            "models": {name: [benefit(logit, t) for t in CURVE_RISKS] for name, logit in logits.items()},
        }

    def odds(p: float) -> float:
        return math.log(p / (1 - p)) if 0 < p < 1 else NAN

    elsewhere = [curves(p, odds(p) - odds(base)) for p in study.config.get("prevalences", ())]
    return {**curves(rate, 0.0), "at_prevalence": elsewhere}


def calls(study: Study) -> list[list[str]]:
    """The call of each repeat and patient by the thresholds of its fold."""
    rule_in, rule_out = (
        study.ensemble.thresholds.get(rule, np.full(study.fold.shape, np.nan)) for rule in ("rule_in", "rule_out")
    )
    logit = study.ensemble.logit
    call = np.select([logit >= rule_in, logit < rule_out], ["rule_in", "rule_out"], "indeterminate").astype(object)
    failed = np.array([[row["qc"].startswith("fail") for row in own] for own in study.rows])
    call[~np.isfinite(logit + rule_in + rule_out) | ~study.in_scope | failed] = "not_assessable"
    return call.tolist()
