"""Patients as monitoring sees them, new ones and those of training, and what a bundle keeps of the latter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kras_plugins.evaluation.drift import FEWEST, Binned, Compared, binned, compare_levels, compare_values, edges_of
from kras_plugins.evaluation.drift_labels import compare_labelled, labelled_reference

if TYPE_CHECKING:
    from kras_plugins.data import Float64

SCHEMA_VERSION = 1
"""Schema of the fact `reference` of a bundle."""
COLORS = ("red", "green", "blue")
INPUTS = ("scanner", "mpp", "stain", "quality", "abstention", "features", "score")
"""Groups of comparisons that need no label."""
LABELS = ("prevalence", "calibration", "rates")
"""Groups of comparisons that need labels."""
Quality = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One patient, with any number of slides.

    `when`: ISO time, UTC, of scoring, "" for training; `scanner`: of its slides, "" if no file states it; `mpp`: their
    median µm per pixel; `stain`: mean optical density of their tissue in red, green and blue; `quality`: `fail` if a
    slide was set aside. `fold_score`: logit of the ensemble of one fold's models, which for training is the one that
    never saw the patient; `score`: that of the bundle at its own prevalence; None if there is no score. `features`: by
    name, NaN where missing. `label`: None if unknown, which is not negative; `labeled`: when the label arrived, or
    `when`.
    """

    patient_id: str
    when: str = ""
    scanner: str = ""
    mpp: float | None = None
    stain: tuple[float, float, float] | None = None
    quality: Quality = "pass"
    in_scope: bool = False
    histology: str = ""
    fold_score: float | None = None
    score: float | None = None
    features: Mapping[str, float] = field(default_factory=dict)
    label: bool | None = None
    labeled: str = ""

    @property
    def assessable(self) -> bool:
        """Whether the bundle's thresholds apply to the patient."""
        return self.in_scope and self.fold_score is not None


def frozen_reference(
    arrivals: Sequence[Arrival],
    distribution: Mapping[str, Any] | None,
    thresholds: Mapping[str, float | None],
) -> dict[str, Any]:
    """What a bundle keeps of all its training patients for later comparison, as JSON values.

    Continuous quantities are kept as counts between quantiles, never as a patient's value; the quantiles of features
    are in `distribution` (`evaluation.distribution`), so only counts are kept here. `thresholds`: the ensemble's,
    logits by rule. Features, score and labels are of patients in scope.
    """
    scope = [a for a in arrivals if a.in_scope]
    assessed = [a for a in scope if a.fold_score is not None and a.label is not None]
    known = {} if distribution is None else distribution["features"]
    return {
        "schema_version": SCHEMA_VERSION,
        "n": len(arrivals),
        "scanner": dict(sorted(Counter(a.scanner for a in arrivals).items())),
        "mpp": _stated(binned(_numbers([a.mpp for a in arrivals]))),
        "stain": [_stated(binned(channel)) for channel in _stain(arrivals)],
        "quality": dict(sorted(Counter(a.quality for a in arrivals).items())),
        "assessable": sum(a.assessable for a in arrivals),
        "score": _stated(binned(_numbers([a.fold_score for a in scope]))),
        "features": {
            name: {"counts": list(found.counts), "missing": found.missing}
            for name, quantiles in known.items()
            for found in [binned(_feature(scope, name), edges_of(quantiles))]
        },
        "labels": labelled_reference(
            np.array([a.label for a in assessed], bool), _numbers([a.fold_score for a in assessed]), thresholds
        ),
    }


def absent(facts: Mapping[str, Any]) -> dict[str, str]:
    """By group, why a bundle with these facts cannot be compared with; empty if all groups can be."""
    reference = facts.get("reference")
    if reference is None:
        why = "the bundle was made before references for monitoring were kept: train again to have one"
        return dict.fromkeys((*INPUTS, *LABELS), why)
    if reference["schema_version"] != SCHEMA_VERSION:
        why = f"the bundle has reference schema {reference['schema_version']}, this version reads {SCHEMA_VERSION}"
        return dict.fromkeys((*INPUTS, *LABELS), why)
    found = {}
    if not any(level for level in reference["scanner"]):
        found["scanner"] = "no training slide states its scanner"
    if not sum(reference["mpp"]["counts"]):
        found["mpp"] = "no resolution was measured in training: no slide was opened"
    if not sum(reference["stain"][0]["counts"]):
        found["stain"] = "no stain was measured in training: no slide was opened"
    if not reference["features"]:
        found["features"] = (
            "the bundle keeps no distribution of features: it has no features, or fewer than 20 patients had them"
        )
    return found


def compare_inputs(
    facts: Mapping[str, Any], arrivals: Sequence[Arrival], fewest: int = FEWEST
) -> dict[str, list[Compared]]:
    """Comparisons by group of INPUTS, without those that are `absent`; one value per patient."""
    missing = absent(facts)
    if missing.keys() >= {*INPUTS}:
        return {}
    reference = facts["reference"]
    scope = [a for a in arrivals if a.in_scope]
    given = reference["assessable"]
    quantiles = (facts.get("distribution") or {}).get("features", {})
    found = {
        "scanner": [compare_levels("scanner", reference["scanner"], [a.scanner for a in arrivals], fewest)],
        "mpp": [compare_values("mpp", _binned(reference["mpp"]), _numbers([a.mpp for a in arrivals]), fewest)],
        "stain": [
            compare_values(f"stain, {color}", _binned(training), channel, fewest)
            for color, training, channel in zip(COLORS, reference["stain"], _stain(arrivals), strict=True)
        ],
        "quality": [compare_levels("quality", reference["quality"], [a.quality for a in arrivals], fewest)],
        "abstention": [
            compare_levels(
                "not assessable",
                {"assessable": given, "not assessable": reference["n"] - given},
                ["assessable" if a.assessable else "not assessable" for a in arrivals],
                fewest,
            )
        ],
        "features": [
            compare_values(
                name,
                Binned(edges=edges_of(quantiles[name]), counts=tuple(kept["counts"]), missing=kept["missing"]),
                _feature(scope, name),
                fewest,
            )
            for name, kept in reference["features"].items()
            if name in quantiles
        ],
        "score": [
            compare_values("score", _binned(reference["score"]), _numbers([a.fold_score for a in scope]), fewest)
        ],
    }
    return {group: checks for group, checks in found.items() if group not in missing}


def compare_outcomes(
    facts: Mapping[str, Any],
    arrivals: Sequence[Arrival],
    thresholds: Mapping[str, float | None],
    fewest: int = FEWEST,
) -> dict[str, list[Compared]]:
    """Comparisons by group of LABELS, of assessable patients whose label is known."""
    if absent(facts).keys() >= {*LABELS}:
        return {}
    known = [a for a in arrivals if a.assessable and a.label is not None]
    labels, logit = np.array([a.label for a in known], bool), _numbers([a.fold_score for a in known])
    return compare_labelled(facts["reference"]["labels"], labels, logit, thresholds, fewest)


def _stated(found: Binned) -> dict[str, Any]:
    return {"edges": list(found.edges), "counts": list(found.counts), "missing": found.missing}


def _binned(kept: Mapping[str, Any]) -> Binned:
    return Binned(edges=tuple(kept["edges"]), counts=tuple(kept["counts"]), missing=kept["missing"])


def _stain(arrivals: Sequence[Arrival]) -> list[Float64]:
    """Each channel, float64[patient], NaN if not measured."""
    nothing = (math.nan, math.nan, math.nan)
    return list(np.array([a.stain or nothing for a in arrivals], np.float64).reshape(-1, 3).T)


def _feature(arrivals: Sequence[Arrival], name: str) -> Float64:
    return np.array([a.features.get(name, math.nan) for a in arrivals], np.float64)


def _numbers(values: Sequence[float | None]) -> Float64:
    return np.array([math.nan if v is None else v for v in values], np.float64)
