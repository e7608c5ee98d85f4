"""What a report is about: metrics.json and manifest.json, read so that a missing key is an empty one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kras_plugins.cohort.targets import target_label
from kras_plugins.evaluation.evaluated import FEWEST_POSITIVES
from kras_plugins.report.html import estimate
from kras_plugins.report.style import model_label, model_order
from kras_plugins.report.terms import population_label, too_few_positives

Facts = Mapping[str, Any]

_FUSIONS = {
    "logit": "the mean of their calibrated logits",
    "probability": "the mean of their calibrated probabilities",
    "stacked": "a logistic regression on their calibrated logits",
    "rank": "the mean of their ranks among training scores, calibrated",
}


@dataclass(frozen=True, kw_only=True)
class Reported:
    """One run or evaluation.

    `models`: in scope; `luad_only`, `non_squamous`: of them, those with adenocarcinoma and those not squamous;
    `any_member`: of them, everyone with at least one member; `pooled`: all patients, in scope or not. `main`: the model
    that is reported first, the ensemble where there is one, "" if none.
    """

    metrics: Facts
    manifest: Facts
    models: Mapping[str, Facts]
    luad_only: Mapping[str, Facts]
    non_squamous: Mapping[str, Facts]
    any_member: Mapping[str, Facts]
    pooled: Mapping[str, Facts]
    main: str

    @property
    def main_model(self) -> Facts:
        """The entry of the main model, empty where there is none."""
        return self.models.get(self.main) or {}

    @property
    def main_phrase(self) -> str:
        """The main model inside a sentence."""
        return "the ensemble" if self.main == "ensemble" else model_label(self.main) or "the model"

    def same_patients(self, table: Mapping[str, Facts]) -> bool:
        """Whether a table covers all patients in scope, so that it repeats `models`."""
        own, other = self.main_model, table.get(self.main) or {}
        return own.get("n") is not None and all(own.get(key) == other.get(key) for key in ("n", "n_positive"))

    @property
    def strata(self) -> list[tuple[str, Mapping[str, Facts]]]:
        """Parts of the patients in scope by what readers call them; those that all belong to are left out."""
        tables = (("adenocarcinoma", self.luad_only), ("non_squamous", self.non_squamous))
        return [(population_label(name), table) for name, table in tables if table and not self.same_patients(table)]

    @property
    def bundle_thresholds(self) -> Facts:
        """Operating points of the frozen thresholds: of a run on the scores they were chosen on, else as evaluated."""
        own = self.metrics.get("bundle_thresholds") or {}
        return own or ((self.main_model.get("operating_points") or {}) if self.external else {})

    @property
    def no_thresholds(self) -> str:
        """Why nobody gets a call; "" where there are thresholds, or nothing is known of them."""
        points = self.main_model.get("operating_points") or {}
        cuts = [(points.get(rule) or {"threshold": 0}).get("threshold") for rule in ("rule_in", "rule_out")]
        if not points or None not in cuts:
            return ""
        positives = (self.metrics.get("scope") or {}).get("n_positive")
        if self.external or positives is None or positives >= FEWEST_POSITIVES:
            return "No thresholds are set: no patient gets a call."
        return f"{too_few_positives(positives)}."

    @property
    def external(self) -> bool:
        """Whether a frozen bundle was evaluated, and nothing trained."""
        return bool(self.metrics.get("external")) or "bundle_digest" in self.manifest

    @property
    def target(self) -> str:
        """What readers call the target."""
        return target_label(str(self.metrics.get("target") or ""))

    @property
    def fusion(self) -> str:
        """How members become the ensemble, of a run or of the bundle that is evaluated; "" where nothing says so."""
        for facts in (self.manifest.get("config"), self.manifest.get("trained_on")):
            kind = (facts or {}).get("fusion")
            if kind:
                return _FUSIONS.get(str(kind), str(kind))
        return ""

    def rows(self, key: str) -> list[Facts]:
        """A list of objects of metrics.json, without nulls."""
        return [row for row in self.metrics.get(key) or () if isinstance(row, Mapping)]


def read_reported(metrics: Facts, manifest: Facts) -> Reported:
    """The subject of metrics.json and manifest.json, either of which may lack any key or have null for it."""
    models = model_entries(metrics.get("models"))
    main = "ensemble" if "ensemble" in models else next(iter(model_order(models)), "")
    return Reported(
        metrics=metrics,
        manifest=manifest,
        models=models,
        luad_only=model_entries(metrics.get("luad_only")),
        non_squamous=model_entries(metrics.get("non_squamous")),
        any_member=model_entries(metrics.get("any_member")),
        pooled=model_entries(metrics.get("all_patients_pooled")),
        main=main,
    )


def model_entries(value: Facts | None) -> dict[str, Facts]:
    """The models of a table of metrics.json; a note beside them is left out."""
    return {name: model or {} for name, model in (value or {}).items() if model is None or isinstance(model, Mapping)}


def rule_label(name: str) -> str:
    """What readers call a rule for a threshold."""
    return {"youden": "Youden"}.get(name, name.replace("_", " "))


def count(entry: Facts, key: str) -> str:
    """A count of patients as text."""
    return "not stated" if entry.get(key) is None else str(entry[key])


def auroc_in_words(model: Facts | None) -> str:
    """`0.745 (0.617–0.873), 363 patients, 22 positive`, or that it is not in this run."""
    if not model:
        return "not in this run"
    auroc = estimate(model.get("auroc") or {})
    return f"{auroc}, {count(model, 'n')} patients, {count(model, 'n_positive')} positive"


def out_of_scope_in_words(of: Reported) -> str:
    """`385 squamous, 2 not NSCLC`, or that nobody is, or that the run does not say."""
    scope = of.metrics.get("scope") or {}
    found = scope.get("out_of_scope")
    if found is None:
        return "not stated"
    return ", ".join(f"{n} {kind}" for kind, n in found.items() if n) or "nobody"
