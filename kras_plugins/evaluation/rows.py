"""predictions.csv: one row per patient and repeat, each scored by models that never saw it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.calls import decide, probability

if TYPE_CHECKING:
    from kras_plugins.evaluation.scores import Scores
    from kras_plugins.evaluation.summary import Evaluated


def predictions_rows(scored: Evaluated, qc: Sequence[str], out_of_scope: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Rows of predictions.csv (docs/reference/outputs.md, predictions.csv); None is an empty cell.

    Scores are calibrated probabilities. `members` names those that could score the patient, `ensemble` is their mean,
    and `call` uses the thresholds of the patient's fold, with `reason` where there is none. `fold` and `repeat` count
    from 1 and are None for an external cohort. `qc`: each patient's verdict; `out_of_scope`: why the models were not
    made for a patient, "" for those in scope, left out where all are.
    """
    repeats = len(scored.fold)
    cross_validated = repeats > 1 or len(np.unique(scored.fold)) > 1
    thresholds = scored.ensemble.thresholds
    rows = []
    for r in range(repeats):
        for i, patient in enumerate(scored.patients):
            missing = [name for name, s in scored.members.items() if math.isnan(s.logit[r, i])]
            logit = float(scored.available.logit[r, i])
            rule_in, rule_out = (
                float(thresholds[rule][r, i]) if thresholds else None for rule in ("rule_in", "rule_out")
            )
            outside = out_of_scope[i] if out_of_scope else ""
            call, reason = decide(logit, rule_in, rule_out, missing=missing, qc=qc[i], out_of_scope=outside)
            rows.append(
                {
                    "patient_id": patient.patient_id,
                    "slides": " ".join(slide.slide_id for slide in patient.slides),
                    "fold": int(scored.fold[r, i]) + 1 if cross_validated else None,
                    "repeat": r + 1 if cross_validated else None,
                    "label": int(scored.labels[i]),
                    "site": patient.site,
                    "histology": patient.histology,
                    **_cells(scored.members, r, i),
                    **_cells(scored.baselines, r, i),
                    "members": " ".join(name for name in scored.members if name not in missing),
                    "ensemble": None if math.isnan(logit) else probability(logit),
                    "call": call,
                    "reason": reason,
                    "qc": qc[i],
                }
            )
    return rows


def _cells(models: Mapping[str, Scores], repeat: int, patient: int) -> dict[str, float | None]:
    logits = {name: float(s.logit[repeat, patient]) for name, s in models.items()}
    return {name: None if math.isnan(logit) else probability(logit) for name, logit in logits.items()}
