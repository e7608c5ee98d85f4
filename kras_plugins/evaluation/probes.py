"""Can the score tell what it should not know: site, scanner, resolution, specimen, and histology?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.columns import available, levels, numbers, texts
from kras_plugins.evaluation.strata import MIN_PER_CLASS, stratified_auroc

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.cohort.table import Patient
    from kras_plugins.data import Float64

TECHNICAL = ("site", "cohort", "scanner", "scanner_model", "vendor", "mpp", "specimen", "kras_test", "histology")
PERMUTATIONS = 1999


def probes(
    patients: Sequence[Patient],
    labels: npt.NDArray[np.int8],
    ranking: Float64,
    fold: npt.NDArray[np.int_],
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Entries of `probes` in metrics.json, one for each of TECHNICAL that varies; always within label, so that a factor
    that merely goes with the label is not found in a score that predicts the label.

    Two levels: the AUROC of the score for the second against the first. More: the share of the variance of the score's
    ranks that lies between levels, less what chance gives (epsilon squared is 0 on average then), with a permutation
    test. Numbers: Spearman's correlation, with Fisher's interval. `ranking`, `fold`: [repeat patient].
    """
    rows = []
    for column in available(patients):
        if column.lower() not in TECHNICAL:
            continue
        values = texts(patients, column)
        number = numbers(values)
        names, level = levels(values)
        enough = [n for n in names if (level == n).sum() >= MIN_PER_CLASS]
        if len(enough) < 2:
            continue
        row: dict[str, Any] = {"what": f"{column} from score", "n": int(np.isin(level, enough).sum()), "note": ""}
        if number is not None:
            row |= _correlation(labels, ranking, fold, number)
        elif len(enough) == 2:
            row |= _two(labels, ranking, fold, level, enough)
        else:
            row |= _many(labels, ranking, fold, np.where(np.isin(level, enough), level, ""), seed)
        rows.append(row)
    return rows


def within_ranks(labels: npt.ArrayLike, ranking: Float64, fold: npt.NDArray[np.int_]) -> Float64:
    """float64[patient]: rank of the score among patients of the same label and fold, in (0, 1), mean over repeats."""
    from scipy.stats import rankdata

    y, s, f = np.asarray(labels) > 0, np.atleast_2d(ranking), np.atleast_2d(fold)
    ranks = np.zeros(s.shape)
    for own, score, where in zip(ranks, s, f, strict=True):
        for k, value in itertools.product(np.unique(where), (False, True)):
            here = (where == k) & (y == value)
            own[here] = (rankdata(score[here]) - 0.5) / max(1, here.sum())
    mean: Float64 = ranks.mean(axis=0)
    return mean


def _two(
    labels: npt.ArrayLike, ranking: Float64, fold: npt.NDArray[np.int_], level: npt.NDArray[np.str_], names: list[str]
) -> dict[str, Any]:
    here = np.isin(level, names)
    stratum = np.where(np.asarray(labels)[here] > 0, "1", "0")
    area = stratified_auroc(level[here] == names[1], ranking[:, here], fold[:, here], stratum)
    p = math.nan
    if area.standard_error > 0:
        p = math.erfc(abs(area.value - 0.5) / area.standard_error / math.sqrt(2))
    statistic = f"AUROC of {names[1]} against {names[0]}, within label"
    return {"statistic": statistic, "value": area.value, "low": area.low, "high": area.high, "p": p, "note": area.note}


def _many(
    labels: npt.ArrayLike, ranking: Float64, fold: npt.NDArray[np.int_], level: npt.NDArray[np.str_], seed: int
) -> dict[str, Any]:
    y, known = np.asarray(labels) > 0, level != ""
    rank, site = within_ranks(y, ranking, fold)[known], level[known]
    own = np.zeros(len(rank))
    for value in (False, True):
        here = y[known] == value
        own[here] = rank[here] - (rank[here].mean() if here.any() else 0)
    codes = np.unique(site, return_inverse=True)[1]
    # Levels that never share a fold, such as sites on site-preserved folds, are only exchangeable within it.
    nested = all(len(np.unique(fold[0][level == s])) == 1 for s in set(site.tolist()))
    block = y[known].astype(np.int_) + (2 * fold[0][known] if nested else 0)
    rng = np.random.default_rng(seed)
    shuffled = np.tile(own, (PERMUTATIONS + 1, 1))
    for b in np.unique(block):
        here = np.flatnonzero(block == b)
        shuffled[1:, here] = rng.permuted(shuffled[1:, here], axis=1)
    member = np.eye(codes.max() + 1)[codes]
    between = ((shuffled @ member) ** 2 / member.sum(axis=0)).sum(axis=1) / max(float(own @ own), 1e-300)
    by_chance = float(between[1:].mean())
    return {
        "statistic": "share of the variance of score ranks between levels, within label, above chance",
        "value": (float(between[0]) - by_chance) / max(1 - by_chance, 1e-9),
        "low": math.nan,
        "high": math.nan,
        "p": float(((between[1:] >= between[0] - 1e-12).sum() + 1) / (PERMUTATIONS + 1)),
        "note": "permutation test"
        + (" within folds, as no two folds share a level: it sees differences inside folds only" if nested else ""),
    }


def _correlation(
    labels: npt.ArrayLike, ranking: Float64, fold: npt.NDArray[np.int_], number: Float64
) -> dict[str, Any]:
    from scipy.stats import rankdata

    y, known = np.asarray(labels) > 0, ~np.isnan(number)
    rank, own = within_ranks(y, ranking, fold)[known], np.zeros(int(known.sum()))
    for value in (False, True):
        here = y[known] == value
        own[here] = (rankdata(number[known][here]) - 0.5) / max(1, here.sum())
        rank[here] -= rank[here].mean() if here.any() else 0
        own[here] -= own[here].mean() if here.any() else 0
    scale = math.sqrt(float(rank @ rank) * float(own @ own))
    n = len(own)
    if not scale or n < 6:
        return {"statistic": "Spearman", "value": math.nan, "low": math.nan, "high": math.nan, "p": math.nan}
    rho = min(1 - 1e-12, max(-1 + 1e-12, float(rank @ own) / scale))
    # Variance of Fisher's z for Spearman: Bonett & Wright 2000; one more degree is spent on the label.
    z, se = math.atanh(rho), math.sqrt((1 + rho**2 / 2) / (n - 4))
    return {
        "statistic": "Spearman's correlation with the score, within label",
        "value": rho,
        "low": math.tanh(z - 1.959963984540054 * se),
        "high": math.tanh(z + 1.959963984540054 * se),
        "p": math.erfc(abs(z) * math.sqrt(n - 4) / math.sqrt(2)),
    }
