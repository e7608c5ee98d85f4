"""From logits to a patient's result: rule in, rule out, indeterminate, or not assessable and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from kras_plugins.data import Prediction

if TYPE_CHECKING:
    from kras_plugins.data import Float64

    Call = Literal["rule_in", "indeterminate", "rule_out", "not_assessable"]


def decide(
    logit: float,
    rule_in: float | None,
    rule_out: float | None,
    *,
    missing: Sequence[str] = (),
    qc: str = "pass",
    out_of_scope: str = "",
) -> tuple[Call, str]:
    """The call for one patient from its ensemble logit, and the reason if there is no call.

    `missing`: members without a score: the thresholds were set on the whole ensemble, so they do not apply if one is
    missing. `qc`: the patient's verdict (`pass`, `warn …`, `fail …`). `out_of_scope`: why the models were not made
    for this patient, "" if they were. At or above `rule_in` a patient is ruled in, below `rule_out` ruled out.
    """
    if qc.startswith("fail"):
        return "not_assessable", f"quality control: {qc}"
    if out_of_scope:
        return "not_assessable", out_of_scope
    if missing:
        return "not_assessable", f"no score from {', '.join(missing)}"
    if rule_in is None or rule_out is None or not math.isfinite(logit + rule_in + rule_out):
        return "not_assessable", "no threshold could be set"
    if logit >= rule_in:
        return "rule_in", ""
    return ("rule_out", "") if logit < rule_out else ("indeterminate", "")


def predictions(
    patient_ids: Sequence[str],
    slides: Sequence[Sequence[str]],
    members: Mapping[str, Float64],
    ensemble: Float64,
    thresholds: Mapping[str, float | None],
    qc: Sequence[str],
    *,
    shift: float = 0.0,
    out_of_scope: Sequence[str] = (),
) -> list[Prediction]:
    """Results for new patients from logits[patient], NaN if a member is missing.

    `ensemble`: the mean over available members. `thresholds`: the bundle's for the ensemble. `shift`: added to every
    logit before it becomes a probability (another prevalence); thresholds would move with it, so calls do not change.
    `out_of_scope`: a reason per patient, "" for those in scope; omitted if all are.
    """
    results = []
    for i, patient in enumerate(patient_ids):
        missing = [name for name, logit in members.items() if math.isnan(logit[i])]
        call, reason = decide(
            float(ensemble[i]),
            thresholds.get("rule_in"),
            thresholds.get("rule_out"),
            missing=missing,
            qc=qc[i],
            out_of_scope=out_of_scope[i] if out_of_scope else "",
        )
        results.append(
            Prediction(
                patient_id=patient,
                slides=tuple(slides[i]),
                members={
                    name: probability(float(logit[i]) + shift) for name, logit in members.items() if name not in missing
                },
                ensemble=None if math.isnan(ensemble[i]) else probability(float(ensemble[i]) + shift),
                call=call,
                reason=reason,
                qc=qc[i],
            )
        )
    return results


def probability(logit: float) -> float:
    """1 / (1 + e^-logit) without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))
