"""The ensemble against each member and each baseline, on the same patients."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import CONSTANT, Auroc, compare, holm
from kras_plugins.evaluation.baselines import HISTOLOGY_ONLY, PREVALENCE
from kras_plugins.evaluation.intervals import estimate, percentiles, resamples
from kras_plugins.evaluation.metrics import average_precision
from kras_plugins.evaluation.power import minimum_detectable

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64

ENSEMBLE = "ensemble"
NOT_CORRECTED = "not one of the tests that Holm's correction covers"
PROVES_NOTHING = "the baseline learned nothing, so being better than it proves nothing"
IN_SCOPE, ALL_PATIENTS = "in_scope", "all_patients"


def comparisons(
    labels: Bool,
    rankings: Mapping[str, Float64],
    areas: Mapping[str, Auroc],
    seed: int,
    population: str,
) -> list[dict[str, Any]]:
    """Entries of `comparisons` in metrics.json, with b each other model except the prevalence, which ranks nobody.

    Paired DeLong tests without correction, see `corrected`. `rankings`: float64[repeat patient] by model, for the
    difference in average precision, whose interval is a bootstrap that keeps the number of each class.
    `minimum_detectable`: the difference of AUROCs that this comparison finds with 80 % power. There is no p against a
    baseline that learned nothing.
    """
    others = [name for name in areas if name not in (ENSEMBLE, PREVALENCE)]
    precision = _precision_differences(labels, rankings, others, seed)
    rows = []
    for b in others:
        d, nothing = compare(labels, areas[ENSEMBLE], areas[b]), areas[b].note == CONSTANT
        rows.append(
            {
                "a": ENSEMBLE,
                "b": b,
                "population": population,
                "delta": d.value,
                "low": d.low,
                "high": d.high,
                "p": math.nan if nothing else d.p,
                "p_holm": math.nan,
                "note": PROVES_NOTHING if nothing else d.note,
                "minimum_detectable": minimum_detectable(d),
                "delta_auprc": precision[b],
            }
        )
    return rows


def corrected(rows: Sequence[dict[str, Any]], members: Collection[str]) -> list[dict[str, Any]]:
    """Holm's correction over the members and histology alone, which are the claims made; other
    baselines are listed with an uncorrected p."""
    claims = [i for i, row in enumerate(rows) if row["b"] in members or row["b"] == HISTOLOGY_ONLY]
    adjusted = dict(zip(claims, holm([rows[i]["p"] for i in claims]), strict=True))
    return [
        row | {"p_holm": adjusted.get(i, math.nan), "note": row["note"] or ("" if i in adjusted else NOT_CORRECTED)}
        for i, row in enumerate(rows)
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
