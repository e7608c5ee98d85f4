"""What a member's AUROC loses when features are permuted among the patients that each of its models tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import auroc
from kras_plugins.evaluation.design import Design
from kras_plugins.learning.shuffled import Scored, feature_groups, plain_scores, shuffled_scores
from kras_plugins.learning.tabular import profile_of
from kras_plugins.semantics.features.table import GROUPS

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64, Sample

PERMUTATIONS, FEWEST = 10, 3
"""Permutations of each group and each feature; the minimum if there are many patients."""
_MOST_ROWS = 5000
"""Patients times permutations, which bounds the time: many patients need fewer permutations."""
TOP_GROUPS = 2
"""How many groups, those that lose most, are examined feature by feature."""


def importance(
    models: Sequence[Scored], samples: Sequence[Sample], labels: npt.NDArray[np.int8], seed: int
) -> dict[str, Any]:
    """A member's entry of `importance` in metrics.json: how much its AUROC drops by feature group, most first.

    `models`: the member's, each with the patients it is tested on; `samples`, `labels` int8[patient]: of all patients.
    The AUROC compares patients of one model only, as everywhere. `drop`: mean over the permutations; `sd`: their
    standard deviation, which measures only the effect of the shuffling and not that of other patients. `features`: the
    same by feature, of the groups that lose most and more than that spread.
    """
    fold = np.full(len(samples), -1)
    for k, model in enumerate(models):
        fold[model.patients] = k
    here = np.flatnonzero(fold >= 0)
    whole = _auroc(labels[here], plain_scores(models, samples)[here], fold[here]) if len(here) else math.nan
    entry = {"n": len(here), "n_positive": int(labels[here].sum())}
    if math.isnan(whole):
        nothing: dict[str, Any] = {"permutations": 0, "groups": [], "features": []}
        return {**entry, "auroc": None, **nothing, "note": "no pair of both classes"}
    permutations = max(FEWEST, min(PERMUTATIONS, _MOST_ROWS // len(here)))

    def lost(features: Sequence[str], group: str = "") -> dict[str, float]:
        scores = shuffled_scores(models, samples, features, permutations, seed, group=group)
        drops = whole - np.array([_auroc(labels[here], row[here], fold[here]) for row in scores])
        return {"drop": float(drops.mean()), "sd": float(drops.std(ddof=1))}

    found = feature_groups(profile_of(samples[here[0]]).names)
    groups: list[dict[str, Any]] = [
        {"group": group, "name": GROUPS.get(group, group), "features": len(names), **lost(names, group)}
        for group, names in found.items()
    ]
    groups.sort(key=lambda row: -row["drop"])
    top = [row["group"] for row in groups[:TOP_GROUPS] if row["drop"] > row["sd"]]
    features: list[dict[str, Any]] = [
        {"feature": name, "group": group, **lost([name])} for group in top for name in found[group]
    ]
    features.sort(key=lambda row: -row["drop"])
    return {**entry, "auroc": whole, "permutations": permutations, "groups": groups, "features": features, "note": ""}


def _auroc(labels: npt.NDArray[np.int8], scores: Float64, fold: npt.NDArray[np.int_]) -> float:
    return auroc(labels, scores, Design(fold[None])).value
