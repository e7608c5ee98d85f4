"""metrics.json: every number of a run, with its n, interval and baselines (docs/reference/outputs.md, metrics.json)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.cohort.histology import parse_histology
from kras_plugins.evaluation.auroc import Auroc
from kras_plugins.evaluation.baselines import HISTOLOGY_ONLY, PREVALENCE
from kras_plugins.evaluation.comparisons import ALL_PATIENTS, ENSEMBLE, IN_SCOPE, comparisons, corrected
from kras_plugins.evaluation.confounders import confounders
from kras_plugins.evaluation.decision import decision_curves
from kras_plugins.evaluation.drivers import drivers
from kras_plugins.evaluation.evaluated import FEWEST_POSITIVES, Evaluated, enough_positives
from kras_plugins.evaluation.histology import NON_SQUAMOUS
from kras_plugins.evaluation.incremental import incremental
from kras_plugins.evaluation.intervals import estimate, resamples
from kras_plugins.evaluation.metrics import model_metrics
from kras_plugins.evaluation.operating import operating_point
from kras_plugins.evaluation.power import power
from kras_plugins.evaluation.probes import probes
from kras_plugins.evaluation.rapid_tests import rapid_tests_avoided
from kras_plugins.evaluation.scope import scope_kind
from kras_plugins.evaluation.shift import external_block
from kras_plugins.evaluation.spread import FEWEST_SITES
from kras_plugins.evaluation.subgroups import subgroups
from kras_plugins.evaluation.thresholds import constant_thresholds
from kras_plugins.evaluation.triage import RULE, triage

if TYPE_CHECKING:
    from kras_plugins.data import Bool
    from kras_plugins.evaluation.scores import Scores

SCHEMA_VERSION = 2

_NOTES = (
    "Intervals are 95 %. That of an AUROC is for the mean true AUROC of the fold models; in an evaluation of a bundle, "
    "for the true AUROC of this bundle.",
    "The AUROC compares patients only within one fold of one repeat; average precision, Brier score and calibration "
    "use all patients of a repeat on the calibrated scale.",
    "Thresholds were set on training patients in scope only: a score at or above its threshold is positive.",
    "Research use only; no clinical claim.",
)


def summarize(
    scored: Evaluated,
    *,
    target: str,
    cohort_flow: Any,
    notes: Sequence[str] = (),
    seed: int = 0,
    prevalences: Sequence[float] = (),
    calibrated_at: float | None = None,
    external: Mapping[str, Any] | None = None,
    gate: str = "",
) -> dict[str, Any]:
    """The content of metrics.json, JSON-safe: what cannot be computed is None.

    Everything except `all_patients_pooled` is of patients in scope, for whom a call can be made.

    `cohort_flow`: how many patients were excluded where, passed on unchanged. `notes` come before our own. `seed` is
    the bootstrap's. `prevalences`: other populations for which predictive values and decision curves are reported;
    `calibrated_at`: the prevalence the models were calibrated at, this cohort's if None. `external`: for a bundle on
    another cohort, its results in training and the shift (see `external_block`). `gate`: what decided who is in scope.
    `any_member` of the result: the same table for everyone in scope with at least one member if some lack one, else
    empty.
    """
    complete, pooled = scored.complete, scored.ensemble.scored
    in_scope = {name: s for name, s in scored.baselines.items() if name != HISTOLOGY_ONLY}
    every = {name: s for name, s in scored.baselines.items() if name in (PREVALENCE, HISTOLOGY_ONLY)}
    fitted = {**scored.members, ENSEMBLE: scored.ensemble}
    table, areas = _table(scored, {**fitted, **in_scope}, complete, seed, prevalences)
    pooled_table, pooled_areas = _table(scored, {**fitted, **every}, pooled, seed, ())
    meant = [parse_histology(p.histology) for p in scored.patients]
    adenocarcinoma = complete & np.array([m == "adenocarcinoma" for m in meant], bool)
    non_squamous = complete & np.isin(meant, NON_SQUAMOUS)
    strata = {
        name: _table(scored, {**fitted, **in_scope}, who, seed, prevalences)[0] if who.any() else {}
        for name, who in (("luad_only", adenocarcinoma), ("non_squamous", non_squamous))
    }
    labels, rankings = scored.labels[complete] > 0, {n: s.of(complete).ranking for n, s in (fitted | in_scope).items()}
    compared = comparisons(labels, rankings, areas, seed, IN_SCOPE)
    if HISTOLOGY_ONLY in every:
        both = {name: (fitted | every)[name] for name in (ENSEMBLE, HISTOLOGY_ONLY)}
        compared += comparisons(
            scored.labels[pooled] > 0,
            {name: s.of(pooled).ranking for name, s in both.items()},
            {name: pooled_areas[name] for name in both},
            seed,
            ALL_PATIENTS,
        )
    content = {
        "schema_version": SCHEMA_VERSION,
        "target": target,
        "unit": "patient",
        "scope": _scope(scored, meant, gate),
        "n": int(complete.sum()),
        "n_positive": int(scored.labels[complete].sum()),
        "cohort_flow": cohort_flow,
        "drivers": drivers([p for p, here in zip(scored.patients, pooled, strict=True) if here], target),
        "models": table,
        **strata,
        "all_patients_pooled": {name: {key: entry[key] for key in _POOLED} for name, entry in pooled_table.items()},
        "any_member": {} if (complete == scored.in_scope).all() else _any_member(scored, seed, prevalences),
        "comparisons": corrected(compared, scored.members),
        "bundle_thresholds": _bundle_thresholds(scored, complete, seed),
        "triage": _triage(scored, complete, table, seed),
        "decision_curves": decision_curves(
            labels, {name: s.of(complete).logit for name, s in (fitted | in_scope).items()}, prevalences, calibrated_at
        ),
        "power": power(len(labels), int(labels.sum()), scored.design.inflation),
        **_audit(scored, complete, pooled, adenocarcinoma, in_scope, every, seed),
        **({} if external is None else {"external": external_block(external, table)}),
        "notes": [*notes, *_own_notes(scored, strata["luad_only"], int(labels.sum())), *_NOTES],
    }
    result: dict[str, Any] = _json_safe(content)
    return result


_POOLED = ("n", "n_positive", "auroc", "auprc")
"""What is reported for all patients, in and out of scope: thresholds and calibration are made for those in scope."""


def _scope(scored: Evaluated, meant: Sequence[str], gate: str) -> dict[str, Any]:
    """Who is in scope, why the others are not, and how each stated histology was understood."""
    here = scored.in_scope
    kinds = [scope_kind(reason) for reason in scored.out_of_scope if reason]
    return {
        "n": int(here.sum()),
        "n_positive": int(scored.labels[here].sum()),
        "out_of_scope": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "unknown_histology": sum(m == "unknown" for m, one in zip(meant, here, strict=True) if one),
        "histologies": dict(sorted(zip((p.histology for p in scored.patients), meant, strict=True))),
        "gate": gate,
    }


def _table(
    scored: Evaluated, models: Mapping[str, Scores], patients: Bool, seed: int, prevalences: Sequence[float]
) -> tuple[dict[str, Any], dict[str, Auroc]]:
    """All models on the same patients and the same bootstrap samples."""
    labels, design = scored.labels[patients] > 0, scored.design.of(patients)
    counts = resamples(int(patients.sum()), seed)
    table, areas = {}, {}
    for name, scores in models.items():
        table[name], areas[name] = model_metrics(labels, scores.of(patients), design, counts, prevalences)
    return table, areas


def _any_member(scored: Evaluated, seed: int, prevalences: Sequence[float]) -> dict[str, Any]:
    """Each member on the patients in scope that it could score, the ensemble as the mean of those available."""
    table: dict[str, Any] = {}
    for name, scores in {**scored.members, ENSEMBLE: scored.available}.items():
        table |= _table(scored, {name: scores}, scores.scored & scored.in_scope, seed, prevalences)[0]
    return table


def _bundle_thresholds(scored: Evaluated, complete: Bool, seed: int) -> dict[str, Any]:
    """What the bundle's thresholds do on the out-of-fold scores of the first repeat, on which they were chosen.

    Each fold has its own thresholds, which `operating_points` uses; empty for an external cohort, where both are the
    same.
    """
    if scored.fitted == 1:
        return {}
    labels, own = scored.labels[complete] > 0, scored.ensemble.of(complete)
    counts, points = resamples(len(labels), seed), {}
    for rule, cut in constant_thresholds(scored.frozen[ENSEMBLE], len(labels)).items():
        points[rule] = operating_point(labels, own.logit[:1], cut, counts)
    return points


def _triage(scored: Evaluated, complete: Bool, table: Mapping[str, Any], seed: int) -> dict[str, Any]:
    own, labels = scored.ensemble.of(complete), scored.labels[complete] > 0
    points = table[ENSEMBLE]["operating_points"]
    nothing = np.full((1, len(labels)), np.nan)
    npv = points[RULE]["npv"] if RULE in points else estimate((math.nan,) * 3)
    counts = resamples(len(labels), seed)
    avoided = rapid_tests_avoided(labels, own.logit, own.inner, scored.fold[:, complete], counts)
    return triage(labels, own.logit, own.thresholds.get(RULE, nothing), npv, counts) | {"rapid_tests_avoided": avoided}


def _audit(
    scored: Evaluated,
    complete: Bool,
    pooled: Bool,
    adenocarcinoma: Bool,
    in_scope: Mapping[str, Scores],
    every: Mapping[str, Scores],
    seed: int,
) -> dict[str, Any]:
    """Where the ensemble is good, what its score goes along with, what it adds: subgroups, confounders, probes."""
    here = np.flatnonzero(complete)
    patients = [scored.patients[i] for i in here.tolist()]
    labels, design = scored.labels[here], scored.design.of(complete)
    ranking, luad = scored.ensemble.of(complete).within_folds, adenocarcinoma[here]
    models = {**scored.members, ENSEMBLE: scored.ensemble}
    added = []
    populations = ((ALL_PATIENTS, pooled, every), (IN_SCOPE, complete, in_scope))
    for population, who, baselines in (*populations, ("adenocarcinoma", adenocarcinoma, in_scope)):
        added += incremental(
            scored.labels[who] > 0,
            scored.design.of(who),
            {name: s.of(who) for name, s in models.items()},
            {name: s.of(who) for name, s in baselines.items()},
            ["histology", *scored.clinical],
            population,
        )
    return {
        "subgroups": subgroups(patients, labels, ranking, design, scored.subgroups),
        "confounders": confounders(patients, labels, ranking, design, luad, scored.confounders),
        "incremental": added,
        "probes": probes(patients, labels, ranking, design, seed),
    }


def _own_notes(scored: Evaluated, luad_only: Mapping[str, Any], positives: int) -> list[str]:
    notes = []
    incomplete = int((scored.in_scope & ~scored.complete).sum())
    if incomplete:
        notes.append(
            f"{incomplete} patients in scope lack the input of a member: the main tables exclude them; any_member "
            "takes the mean of the members they have, to which no frozen threshold applies."
        )
    if HISTOLOGY_ONLY not in scored.baselines:
        notes.append(
            "No histology_only baseline: the cohort does not have both adenocarcinoma and another histology, or none "
            "is stated. If a cohort mixes them, histology alone may explain an AUROC of all patients."
        )
    if not luad_only:
        notes.append("No luad_only table: no patient in scope is stated to have adenocarcinoma.")
    if scored.fitted > 1 and not enough_positives(scored.labels, scored.in_scope):
        notes.append(
            f"No thresholds: {int(scored.labels[scored.in_scope].sum())} positive patients are in scope, at least "
            f"{FEWEST_POSITIVES} are needed to set one. No patient gets a call."
        )
    sites = scored.design.of(scored.complete)
    known = {s for s, y in zip(sites.site, scored.labels[scored.complete] > 0, strict=True) if s and y}
    if sites.clusters is not None and len(known) < FEWEST_SITES:
        notes.append(
            f"Only {len(known)} sites have a positive patient in scope: at least {FEWEST_SITES} are needed for an "
            "error by site, so intervals treat patients as independent. Patients of one site are not."
        )
    thresholds = scored.ensemble.thresholds
    if thresholds:
        crossed = np.mean(thresholds["rule_in"] == thresholds["rule_out"])
        if crossed:
            notes.append(
                f"For {crossed:.0%} of patients the rule-out threshold would have lain above the rule-in one; both "
                "were put halfway, so that no score is indeterminate."
            )
    return notes


def _json_safe(value: Any) -> Any:
    """Plain JSON values: numpy scalars become Python's, NaN and infinities None."""
    if isinstance(value, Mapping):
        return {str(k): _json_safe(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_safe(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
