"""The ensemble against each member and each baseline, on the same patients."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import Auroc, compare, holm
from kras_plugins.evaluation.baselines import HISTOLOGY_ONLY, PREVALENCE
from kras_plugins.evaluation.intervals import estimate, percentiles, resamples
from kras_plugins.evaluation.metrics import average_precision
from kras_plugins.evaluation.power import minimum_detectable

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64

ENSEMBLE = "ensemble"
NOT_CORRECTED = "beside the tests that Holm's correction covers"


def comparisons(
    labels: Bool, rankings: Mapping[str, Float64], areas: Mapping[str, Auroc], members: Collection[str], seed: int
) -> list[dict[str, Any]]:
    """Entries of `comparisons` in metrics.json, b each member and each baseline but the prevalence, which ranks nobody.

    Paired DeLong test with Holm's correction over the members and histology alone, which are the claims made; other
    baselines stand beside it with a plain p. `rankings`: float64[repeat patient] by model, for the difference in
    average precision, whose interval is a bootstrap that keeps the number of each class. `minimum_detectable`: the
    difference of AUROCs that this comparison finds with 80 % power.
    """
    others = [name for name in areas if name not in (ENSEMBLE, PREVALENCE)]
    found = {name: compare(labels, areas[ENSEMBLE], areas[name]) for name in others}
    claims = [name for name in others if name in members or name == HISTOLOGY_ONLY]
    corrected = dict(zip(claims, holm([found[name].p for name in claims]), strict=True))
    precision = _precision_differences(labels, rankings, others, seed)
    return [
        {
            "a": ENSEMBLE,
            "b": b,
            "delta": d.value,
            "low": d.low,
            "high": d.high,
            "p": d.p,
            "p_holm": corrected.get(b, math.nan),
            "note": d.note or ("" if b in corrected else NOT_CORRECTED),
            "minimum_detectable": minimum_detectable(d),
            "delta_auprc": precision[b],
        }
        for b, d in found.items()
    ]


def _precision_differences(
    labels: Bool, rankings: Mapping[str, Float64], others: Collection[str], seed: int
) -> dict[str, dict[str, float]]:
    if not labels.any():
        return {name: estimate((math.nan,) * 3) for name in others}
    counts = resamples(len(labels), seed, strata=labels)
    value, drawn = average_precision(labels, rankings[ENSEMBLE], counts)
    differences = {}
    for name in others:
        other, other_drawn = average_precision(labels, rankings[name], counts)
        differences[name] = estimate((value - other, *percentiles(np.subtract(drawn, other_drawn))))
    return differences
