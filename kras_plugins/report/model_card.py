"""The model card (after Mitchell et al., FAccT 2019): what a model is, its data, how good it is, and what it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kras_plugins.data import split_extractor
from kras_plugins.manifest import stated_parts
from kras_plugins.report.html import NONE, estimate, number, percent
from kras_plugins.report.reported import Facts, Reported, auroc_in_words, count, out_of_scope_in_words, rule_label
from kras_plugins.report.style import is_baseline, model_label, model_order
from kras_plugins.report.terms import population_label

_INTERVALS = (
    "Intervals are for the mean true AUROC of the fold models, widened to allow for another training set; the bundle "
    "is an average of these models."
)
_RATES = ("sensitivity", "specificity", "ppv", "npv")


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the card: a title, points in plain text, and perhaps a table of headers and rows."""

    title: str
    points: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def model_card(of: Reported, verdict: str, demonstration: Sequence[str] = ()) -> list[Section]:
    """The sections of the card, the same text for report.html and model-card.md.

    `verdict`: the sentence on top of the report; `demonstration`: why the numbers say nothing about patients, if so.
    """
    members = [m for m in model_order(of.models) if not is_baseline(m) and m != "ensemble"]
    groups = [*of.strata, *([(population_label("all_patients"), of.pooled)] if of.pooled else [])]
    tables = (of.models, *(table for _, table in groups))
    version = (of.manifest.get("versions") or {}).get("kras") or "(version not stated)"
    return [
        Section(
            title="What it is",
            points=(
                f"Predicts {of.target} from H&E slides of non-small cell lung cancer: a calibrated probability and a "
                "call for each patient.",
                f"Members: {', '.join(map(model_label, members)) or 'not stated'}"
                f"{f'; the ensemble is {of.fusion}' if of.fusion else ''}.",
                *_parts(of.manifest),
                f"Made with kras {version}; all options, versions and digests are in manifest.json.",
            ),
        ),
        Section(
            title="Intended use",
            points=(
                "Research use only. Not a medical device; no clinical decision may rest on it.",
                "Not a substitute for sequencing, and no reason to omit it.",
                "Not for tumors other than non-small cell lung cancer, other stains, or cytology. Patients out of "
                "scope (squamous, not NSCLC, hardly any cancer epithelium) get no call.",
                *(f"Demonstration: {reason}." for reason in demonstration),
            ),
        ),
        Section(
            title="Data",
            points=(
                f"{count(of.metrics, 'n')} patients in scope, {count(of.metrics, 'n_positive')} positive; out of "
                f"scope: {out_of_scope_in_words(of)}.",
                f"Validation: {_validation(of)}.",
                "Origin, time and representativeness of the patients: to be stated by the authors.",
            ),
        ),
        Section(
            title="Performance beside its baselines",
            points=(verdict,),
            headers=("Model", "AUROC, in scope", *(f"AUROC, {title}" for title, _ in groups)),
            rows=tuple(
                (model_label(name), *(auroc_in_words(t[name]) if name in t else NONE for t in tables))
                for name in model_order({**of.models, **of.pooled})
            ),
        ),
        _thresholds(of),
        _calibration(of.main_model),
        Section(
            title="Limits",
            points=(
                "Where histologies are mixed, an AUROC of all patients may reflect the histology alone: read the "
                "columns in scope.",
                *([_INTERVALS] if not of.external else []),
                "Predictive values are valid for the share of positives in this cohort; recompute them for another.",
                "Scanner, stain, center and population affect performance; without external validation nothing is "
                "known about that.",
                "The score may reflect mutations that accompany the target, not the target; see the confounders.",
            ),
        ),
    ]  # fmt: skip


def _parts(manifest: Facts) -> list[str]:
    lines = []
    for key, part in stated_parts(manifest).items():
        kind = split_extractor(key)[0]
        lines.append(f"{kind.capitalize()}: {part.get('name')} {part.get('version') or ''}".strip())
        for weights in part.get("weights") or ():
            if isinstance(weights, Mapping):
                licence = weights.get("licence") or "not stated"
                lines.append(f"Weights {weights.get('model')}: {weights.get('source')}, license {licence}")
    return lines


def _validation(of: Reported) -> str:
    if of.external:
        return "external: a frozen bundle on patients it never saw"
    config = of.manifest.get("config") or {}
    if not config.get("folds"):
        return "not stated"
    return (
        f"{config['folds']}-fold nested cross-validation, repeats: {config.get('repeats')}, {config.get('splits')} "
        "folds, grouped by patient"
    )


def _thresholds(of: Reported) -> Section:
    points = {name: point for name, point in of.bundle_thresholds.items() if point}
    shown = bool(points) and not of.no_thresholds
    said = "Measured on the out-of-fold scores they were chosen on; those of single folds are in report.html."
    return Section(
        title="Thresholds of the bundle",
        points=((said,) if not of.external else ()) if shown else (of.no_thresholds or "No threshold in this run.",),
        headers=("Rule", "Threshold", "Sensitivity", "Specificity", "PPV", "NPV") if shown else (),
        rows=tuple(
            (rule_label(name), number(p.get("threshold")), *(percent(p.get(k)) for k in _RATES))
            for name, p in (points.items() if shown else ())
        ),
    )


def _calibration(model: Facts) -> Section:
    found = model.get("calibration") or {}
    flat = {"slope": "calibration_slope", "intercept": "calibration_intercept", "brier": "brier"}
    shown = [f"{key.capitalize()}: {estimate(found.get(key) or model.get(name))}" for key, name in flat.items()]
    return Section(title="Calibration (ideal: slope 1, intercept 0)", points=tuple(shown))
