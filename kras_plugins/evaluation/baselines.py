"""What no model is needed for: the prevalence alone, and the histology alone.

Both rank by constants and give the rates of training patients as probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.cohort.table import UNKNOWN
from kras_plugins.evaluation.scores import Scores
from kras_plugins.evaluation.thresholds import DEFAULT, Targets, constant_thresholds, fold_thresholds

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64

PREVALENCE = "prevalence"
HISTOLOGY_ONLY = "histology_only"

Rates = Mapping[str, float]
"""A fitted baseline: probability by group; the group "" is everyone."""


def is_adenocarcinoma(histology: str | None) -> bool | None:
    """Whether a histology is adenocarcinoma (also written LUAD, ADC); None where unknown. Adenosquamous is not."""
    word = (histology or "").strip().lower()
    if word in UNKNOWN:
        return None
    return word in {"luad", "ad", "adc", "ac"} or ("adeno" in word and "adenosq" not in word and "adeno-sq" not in word)


def histology_groups(histologies: Sequence[str | None]) -> list[str]:
    """`adenocarcinoma`, `other`, or "" where unknown, one a patient."""
    names = {True: "adenocarcinoma", False: "other", None: ""}
    return [names[is_adenocarcinoma(h)] for h in histologies]


def fit_rates(labels: npt.ArrayLike, groups: Sequence[str] | None = None) -> dict[str, float]:
    """Rates of training patients: of all of them under "", and of each group if given.

    A group's rate is (k + ½)/(n + 1), Jeffreys' posterior mean, as none of 464 is no probability of 0.
    """
    y = np.asarray(labels) > 0
    rates = {"": float(y.mean())}
    for group in sorted(set(groups or ()) - {""}):
        member = np.array([g == group for g in groups or ()])
        rates[group] = float((y[member].sum() + 0.5) / (member.sum() + 1))
    return rates


def baseline_scores(
    labels: npt.ArrayLike,
    histologies: Sequence[str | None],
    fold: npt.NDArray[np.int_],
    targets: Targets = DEFAULT,
) -> dict[str, Scores]:
    """The baselines in cross-validation, each patient's rates and thresholds from the training part of its fold.

    `fold`: int[repeat patient]. `histology_only` is there when both adenocarcinoma and another histology are.
    """
    groups = histology_groups(histologies)
    y = np.asarray(labels) > 0
    result = {}
    for name, key in _baselines(groups).items():
        inner = np.full((len(fold), int(fold.max()) + 1, len(y)), np.nan)
        logit = np.full(fold.shape, np.nan)
        for r, k in np.ndindex(inner.shape[:2]):
            train = fold[r] != k
            rates = fit_rates(y[train], [g for g, t in zip(key, train, strict=True) if t])
            every = _logits(rates, key)
            inner[r, k, train], logit[r, ~train] = every[train], every[~train]
        rank = np.tile(_rank(key), (len(fold), 1))
        result[name] = Scores(logit=logit, thresholds=fold_thresholds(y, inner, fold, targets), rank=rank)
    return result


def frozen_baselines(labels: npt.ArrayLike, histologies: Sequence[str | None]) -> dict[str, dict[str, float]]:
    """The rates of every baseline over all training patients, for the bundle."""
    groups = histology_groups(histologies)
    return {name: fit_rates(labels, key) for name, key in _baselines(groups).items()}


def apply_baselines(
    frozen: Mapping[str, Rates],
    histologies: Sequence[str | None],
    thresholds: Mapping[str, Mapping[str, float | None]],
) -> dict[str, Scores]:
    """Frozen baselines on an external cohort; `thresholds` by baseline and rule, as in the bundle."""
    groups = histology_groups(histologies)
    result = {}
    for name, rates in frozen.items():
        key = [""] * len(groups) if name == PREVALENCE else groups
        result[name] = Scores(
            logit=_logits(rates, key)[None],
            thresholds=constant_thresholds(thresholds.get(name, {}), len(groups)),
            rank=_rank(key)[None],
        )
    return result


def _baselines(groups: Sequence[str]) -> dict[str, list[str]]:
    found = {PREVALENCE: [""] * len(groups)}
    if {"adenocarcinoma", "other"} <= set(groups):
        found[HISTOLOGY_ONLY] = list(groups)
    return found


def _rank(groups: Sequence[str]) -> Float64:
    """1 for adenocarcinoma, 0 for the rest, ½ where unknown."""
    order = {"adenocarcinoma": 1.0, "other": 0.0}
    return np.array([order.get(g, 0.5) for g in groups])


def _logits(rates: Rates, groups: Sequence[str]) -> Float64:
    rate = np.array([rates.get(g, rates[""]) for g in groups], np.float64)
    with np.errstate(divide="ignore"):
        logit: Float64 = np.log(rate) - np.log1p(-rate)
    return logit


def adenocarcinoma_mask(histologies: Sequence[str | None]) -> Bool:
    """bool[patient], true where the histology is known to be adenocarcinoma."""
    return np.array([g == "adenocarcinoma" for g in histology_groups(histologies)], bool)
