"""Is it better than sequencing everybody to skip those whom the frozen threshold rules out?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.intervals import estimate, percentile_interval, wilson

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64
    from kras_plugins.evaluation.intervals import Counts

RULE = "rule_out"
RANGE = tuple(round(t / 100, 2) for t in range(1, 11))
"""Risks at or above which a patient would be sequenced: from 100 down to 10 sequenced for one carrier found."""
NOT_SHOWN = "not shown to be worth more than sequencing everybody"


def triage(labels: Bool, logit: Float64, threshold: Float64, npv: Mapping[str, Any], counts: Counts) -> dict[str, Any]:
    """The block `triage` of metrics.json: what ruling out saves and loses against sequencing everybody.

    `logit`, `threshold`: float64[repeat patient], the threshold set without the patient; `npv`: the estimate of the
    same operating point. The difference in net benefit at risk t is TN/n · t/(1-t) - FN/n over those ruled out (Vickers
    & Elkin 2006), its interval a bootstrap of patients. Worth more only if the lower bound of the NPV exceeds
    1 - prevalence, which sequencing nobody reaches, and the difference excludes 0 somewhere in RANGE.
    """
    block: dict[str, Any] = {
        "threshold": RULE,
        "ruled_out": estimate((math.nan,) * 3),
        "npv": npv,
        "one_minus_prevalence": float((~labels).mean()) if len(labels) else math.nan,
        "net_benefit": [],
        "worth_more": False,
        "worth_from": math.nan,
        "verdict": "no threshold could be set",
    }
    if not len(labels) or not threshold.size or not np.isfinite(threshold).all():
        return block
    out = (logit < threshold).mean(axis=0)
    block["ruled_out"] = estimate(wilson(float(out.sum()), len(out)))
    curve: list[dict[str, Any]] = []
    for t in RANGE:
        gain = out * np.where(labels, -1.0, t / (1 - t)) / len(labels)

        def difference(weights: Float64, gain: Float64 = gain) -> Float64:
            result: Float64 = weights @ gain
            return result

        low, high = percentile_interval(counts, difference)
        curve.append({"t": t, "difference": estimate((float(gain.sum()), low, high))})
    block["net_benefit"] = curve
    gained = [row["t"] for row in curve if row["difference"]["low"] > 0]
    better = npv["low"] > block["one_minus_prevalence"]
    if better and gained:
        block |= {"worth_more": True, "worth_from": gained[0]}
        block["verdict"] = (
            f"worth more than sequencing everybody where at least {gained[0]:.0%} of those sequenced should be carriers"
        )
    elif not better:
        block["verdict"] = f"{NOT_SHOWN}: the NPV is not shown to exceed the share of patients without the mutation"
    else:
        block["verdict"] = f"{NOT_SHOWN}: no net benefit is shown at risks of {RANGE[0]:.0%} to {RANGE[-1]:.0%}"
    return block
