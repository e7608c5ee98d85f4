"""metrics.json: every number of a run, with its n, interval and baselines (docs/reference/outputs.md, metrics.json)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import Auroc
from kras_plugins.evaluation.baselines import HISTOLOGY_ONLY
from kras_plugins.evaluation.comparisons import ENSEMBLE, comparisons
from kras_plugins.evaluation.confounders import confounders
from kras_plugins.evaluation.decision import decision_curves
from kras_plugins.evaluation.evaluated import Evaluated
from kras_plugins.evaluation.histology import adenocarcinoma_mask
from kras_plugins.evaluation.incremental import incremental
from kras_plugins.evaluation.intervals import resamples
from kras_plugins.evaluation.metrics import model_metrics
from kras_plugins.evaluation.power import power
from kras_plugins.evaluation.probes import probes
from kras_plugins.evaluation.shift import external_block
from kras_plugins.evaluation.subgroups import subgroups

if TYPE_CHECKING:
    from kras_plugins.data import Bool
    from kras_plugins.evaluation.scores import Scores

SCHEMA_VERSION = 1

_NOTES = (
    "Intervals are 95 %. They take the fitted models as given: what another training set would change is not in them.",
    "The AUROC compares patients only within one fold of one repeat; average precision, Brier score and calibration "
    "use all patients of a repeat on the calibrated scale.",
    "Thresholds were set on training patients only: a score at or above its threshold is positive.",
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
) -> dict[str, Any]:
    """The content of metrics.json, JSON-safe: what cannot be computed is None.

    `cohort_flow`: how many patients were left out where, passed on as it is. `notes` come before our own. `seed` is the
    bootstrap's. `prevalences`: other populations for which predictive values and decision curves are told;
    `calibrated_at`: the prevalence the models were calibrated at, this cohort's where None. `external`: for a bundle on
    another cohort, what it was worth in training and the shift (see `external_block`). `all_patients` of the
    result: the same table for everyone with at least one member where some lack one, else empty.
    """
    complete = scored.complete
    histology = [p.histology for p in scored.patients]
    models = {**scored.members, ENSEMBLE: scored.ensemble, **scored.baselines}
    table, areas = _table(scored, models, complete, seed, prevalences)
    adenocarcinoma = complete & adenocarcinoma_mask(histology)
    luad_only = _table(scored, models, adenocarcinoma, seed, prevalences)[0] if adenocarcinoma.any() else {}
    labels = scored.labels[complete] > 0
    content = {
        "schema_version": SCHEMA_VERSION,
        "target": target,
        "unit": "patient",
        "n": int(complete.sum()),
        "n_positive": int(scored.labels[complete].sum()),
        "cohort_flow": cohort_flow,
        "models": table,
        "luad_only": luad_only,
        "all_patients": {} if complete.all() else _all_patients(scored, seed, prevalences),
        "comparisons": comparisons(
            labels, {name: s.of(complete).ranking for name, s in models.items()}, areas, scored.members, seed
        ),
        "decision_curves": decision_curves(
            labels, {name: s.of(complete).logit for name, s in models.items()}, prevalences, calibrated_at
        ),
        "power": power(len(labels), int(labels.sum())),
        **_audit(scored, complete, adenocarcinoma, seed),
        **({} if external is None else {"external": external_block(external, table)}),
        "notes": [*notes, *_own_notes(scored, luad_only), *_NOTES],
    }
    result: dict[str, Any] = _json_safe(content)
    return result


def _table(
    scored: Evaluated, models: Mapping[str, Scores], patients: Bool, seed: int, prevalences: Sequence[float]
) -> tuple[dict[str, Any], dict[str, Auroc]]:
    """All models on the same patients and the same bootstrap samples."""
    labels, fold = scored.labels[patients] > 0, scored.fold[:, patients]
    counts = resamples(int(patients.sum()), seed)
    table, areas = {}, {}
    for name, scores in models.items():
        table[name], areas[name] = model_metrics(labels, scores.of(patients), fold, counts, prevalences)
    return table, areas


def _all_patients(scored: Evaluated, seed: int, prevalences: Sequence[float]) -> dict[str, Any]:
    """Each member on the patients it could score, the ensemble as the mean of those available."""
    table: dict[str, Any] = {}
    for name, scores in {**scored.members, ENSEMBLE: scored.available}.items():
        table |= _table(scored, {name: scores}, scores.scored, seed, prevalences)[0]
    return table


def _audit(scored: Evaluated, complete: Bool, adenocarcinoma: Bool, seed: int) -> dict[str, Any]:
    """Where the ensemble is good, what its score goes with, and what it adds: subgroups, confounders, probes."""
    here = np.flatnonzero(complete)
    patients = [scored.patients[i] for i in here.tolist()]
    labels, fold = scored.labels[here], scored.fold[:, here]
    ranking, luad = scored.ensemble.of(complete).ranking, adenocarcinoma[here]
    models = {**scored.members, ENSEMBLE: scored.ensemble}
    added = []
    for population, who in (("all", complete), ("adenocarcinoma", adenocarcinoma)):
        added += incremental(
            scored.labels[who] > 0,
            scored.fold[:, who],
            {name: s.of(who) for name, s in models.items()},
            {name: s.of(who) for name, s in scored.baselines.items()},
            ["histology", *scored.clinical],
            population,
        )
    return {
        "subgroups": subgroups(patients, labels, ranking, fold, scored.subgroups),
        "confounders": confounders(patients, labels, ranking, fold, luad, scored.confounders, seed),
        "incremental": added,
        "probes": probes(patients, labels, ranking, fold, seed),
    }


def _own_notes(scored: Evaluated, luad_only: Mapping[str, Any]) -> list[str]:
    notes = []
    incomplete = int((~scored.complete).sum())
    if incomplete:
        notes.append(
            f"{incomplete} patients lack the input of a member: the main tables leave them out, all_patients takes the "
            "mean of the members they have, to which no frozen threshold applies."
        )
    if HISTOLOGY_ONLY not in scored.baselines:
        notes.append(
            "No histology_only baseline: the cohort does not hold both adenocarcinoma and another histology, or none "
            "is stated. Where a cohort mixes them, histology alone may explain an AUROC."
        )
    if not luad_only:
        notes.append("No luad_only table: no patient is stated to have adenocarcinoma.")
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
