"""predictions.csv: one row per patient and repeat, each scored by models that never saw it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.evaluation.calls import decide, probability

if TYPE_CHECKING:
    import pyarrow as pa

    from kras_plugins.evaluation.evaluated import Evaluated
    from kras_plugins.evaluation.scores import Scores

_BEFORE = ("patient_id", "slides", "fold", "repeat", "label", "site", "histology")
_AFTER = ("members", "ensemble", "call", "reason", "qc")
_WHOLE = frozenset({"fold", "repeat", "label"})
COLUMNS = frozenset({*_BEFORE, *_AFTER, "cautions"})
"""Column names that no member may have."""
_TEXT = frozenset(COLUMNS - _WHOLE - {"ensemble"})


@dataclass(frozen=True, kw_only=True)
class PatientScores:
    """One patient in one repeat: calibrated probabilities, None if a model gave none, and the call.

    `scores`: members and baselines by name; `members`: those classifiers that could score the patient; `ensemble`:
    their mean. `call` uses the thresholds of the patient's fold, with `reason` if there is no call. `fold` and `repeat`
    count from 1 and are None for an external cohort; `qc` is the patient's verdict; `in_scope`: whether a call can be
    made for the patient at all. `ranks`: what patients of a fold are ranked by, of models for which that is not the
    probability (`Scores.in_fold`).
    """

    patient_id: str
    slides: tuple[str, ...] = ()
    fold: int | None = None
    repeat: int | None = None
    label: int | None = None
    site: str = ""
    histology: str = ""
    scores: Mapping[str, float | None]
    members: tuple[str, ...] = ()
    ensemble: float | None = None
    call: str = ""
    reason: str = ""
    qc: str = ""
    in_scope: bool = True
    ranks: Mapping[str, float] = field(default_factory=dict)

    def score(self, model: str) -> float | None:
        """The probability that a member, a baseline or `ensemble` gave, or None."""
        return self.ensemble if model == "ensemble" else self.scores.get(model)

    def rank(self, model: str) -> float | None:
        """What the patient is ranked by among those of the same fold, or None."""
        return self.ranks.get(model, self.score(model))

    def cells(self) -> dict[str, str | int | float | None]:
        """The row of predictions.csv: columns in the order of docs/reference/outputs.md, None for an empty cell."""
        return {
            "patient_id": self.patient_id,
            "slides": " ".join(self.slides),
            "fold": self.fold,
            "repeat": self.repeat,
            "label": self.label,
            "site": self.site,
            "histology": self.histology,
            **self.scores,
            "members": " ".join(self.members),
            "ensemble": self.ensemble,
            "call": self.call,
            "reason": self.reason,
            "qc": self.qc,
        }


def patient_scores(scored: Evaluated, qc: Sequence[str]) -> list[PatientScores]:
    """Every patient in every repeat; `qc`: each patient's verdict."""
    repeats = len(scored.fold)
    cross_validated = repeats > 1 or len(np.unique(scored.fold)) > 1
    thresholds = scored.ensemble.thresholds
    models = {**scored.members, **scored.baselines, "ensemble": scored.ensemble}
    in_fold = {name: s.in_fold for name, s in models.items() if s.in_fold is not None}
    rows = []
    for r in range(repeats):
        for i, patient in enumerate(scored.patients):
            missing = [name for name, s in scored.members.items() if math.isnan(s.logit[r, i])]
            logit = float(scored.available.logit[r, i])
            rule_in, rule_out = (
                float(thresholds[rule][r, i]) if thresholds else None for rule in ("rule_in", "rule_out")
            )
            outside = scored.out_of_scope[i]
            call, reason = decide(logit, rule_in, rule_out, missing=missing, qc=qc[i], out_of_scope=outside)
            rows.append(
                PatientScores(
                    patient_id=patient.patient_id,
                    slides=tuple(slide.slide_id for slide in patient.slides),
                    fold=int(scored.fold[r, i]) + 1 if cross_validated else None,
                    repeat=r + 1 if cross_validated else None,
                    label=int(scored.labels[i]),
                    site=patient.site,
                    histology=patient.histology,
                    scores=_probabilities(scored.members, r, i) | _probabilities(scored.baselines, r, i),
                    members=tuple(name for name in scored.members if name not in missing),
                    ensemble=None if math.isnan(logit) else probability(logit),
                    call=call,
                    reason=reason,
                    qc=qc[i],
                    in_scope=not outside,
                    ranks={name: float(values[r, i]) for name, values in in_fold.items()},
                )
            )
    return rows


def predictions_schema(columns: Sequence[str]) -> pa.Schema:
    """The types of predictions.csv's columns: texts, whole numbers, and float64 for what a model gave."""
    import pyarrow as pa

    kinds = {True: pa.string(), False: pa.float64()}
    return pa.schema([(c, pa.int32() if c in _WHOLE else kinds[c in _TEXT]) for c in columns])


def _probabilities(models: Mapping[str, Scores], repeat: int, patient: int) -> dict[str, float | None]:
    logits = {name: float(s.logit[repeat, patient]) for name, s in models.items()}
    return {name: None if math.isnan(logit) else probability(logit) for name, logit in logits.items()}
