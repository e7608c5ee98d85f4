"""What a report is about: metrics.json and manifest.json, read so that a missing key is an empty one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kras_plugins.cohort.targets import target_label
from kras_plugins.report.html import estimate
from kras_plugins.report.style import model_label, model_order

Facts = Mapping[str, Any]

_FUSIONS = {
    "logit": "the mean of their calibrated logits",
    "probability": "the mean of their calibrated probabilities",
    "stacked": "a logistic regression on their calibrated logits",
    "rank": "the mean of their ranks among training scores, calibrated",
}


@dataclass(frozen=True, kw_only=True)
class Reported:
    """One run or evaluation. `main`: the model that is reported first, the ensemble where there is one, "" if none."""

    metrics: Facts
    manifest: Facts
    models: Mapping[str, Facts]
    luad_only: Mapping[str, Facts]
    main: str

    @property
    def main_model(self) -> Facts:
        """The entry of the main model, empty where there is none."""
        return self.models.get(self.main) or {}

    @property
    def main_phrase(self) -> str:
        """The main model inside a sentence."""
        return "the ensemble" if self.main == "ensemble" else model_label(self.main) or "the model"

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
    """The subject of metrics.json and manifest.json, either of which may lack any key or hold null for it."""
    models = model_entries(metrics.get("models"))
    main = "ensemble" if "ensemble" in models else next(iter(model_order(models)), "")
    luad_only = model_entries(metrics.get("luad_only"))
    return Reported(metrics=metrics, manifest=manifest, models=models, luad_only=luad_only, main=main)


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
