"""AUROC within strata: in each level of a covariate, and over pairs of patients of the same level only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import Auroc, auroc, from_influence, placements
from kras_plugins.evaluation.metrics import auroc_entry

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64

MIN_PER_CLASS = 5
"""Below so many positives or negatives a group gets no AUROC."""


def group_auroc(
    labels: npt.ArrayLike, ranking: Float64, fold: npt.NDArray[np.int_], group: Bool
) -> tuple[dict[str, Any], Auroc | None]:
    """`n`, `n_positive`, `auroc`, `note` of the patients in group, bool[patient], and the area itself.

    `ranking`, `fold`: [repeat patient]. No area below MIN_PER_CLASS patients of a class.
    """
    y = (np.asarray(labels) > 0)[group]
    n_positive = int(y.sum())
    entry: dict[str, Any] = {"n": len(y), "n_positive": n_positive}
    if min(n_positive, len(y) - n_positive) < MIN_PER_CLASS:
        return entry | {"auroc": None, "note": f"fewer than {MIN_PER_CLASS} patients of a class"}, None
    area = auroc(y, ranking[:, group], fold[:, group])
    return entry | {"auroc": auroc_entry(area, fold[:, group]), "note": area.note}, area


def stratified_auroc(
    labels: npt.ArrayLike, ranking: Float64, fold: npt.NDArray[np.int_], strata: Sequence[str] | npt.NDArray[np.str_]
) -> Auroc:
    """AUROC over pairs of a positive and a negative of one stratum, fold and repeat; a patient of stratum "" has none.

    The covariate-adjusted AUROC of Janes & Pepe 2009 (Biometrika 96:371) for a discrete covariate, every pair counting
    alike: the share of all such pairs that are in order, which is the within-stratum areas weighted by their number of
    pairs. Variance from placement values as in `auroc`.
    """
    y, s, f = np.asarray(labels) > 0, np.atleast_2d(ranking), np.atleast_2d(fold)
    stratum = np.asarray(strata)
    place, weight, pairs = np.zeros(s.shape), np.zeros(s.shape), 0
    names = sorted(set(stratum.tolist()) - {""})
    for r in range(len(s)):
        for k, name in itertools.product(np.unique(f[r]), names):
            here = np.flatnonzero((f[r] == k) & (stratum == name))
            positive, negative = here[y[here]], here[~y[here]]
            if len(positive) and len(negative):
                place[r, positive], place[r, negative] = placements(s[r, positive], s[r, negative])
                weight[r, positive], weight[r, negative] = len(negative), len(positive)
                pairs += len(positive) * len(negative)
    if not pairs:
        return from_influence(y, math.nan, np.zeros(len(y)))
    value = float((weight * place)[:, y].sum() / pairs)
    return from_influence(y, value, (weight * (place - value)).sum(axis=0) / pairs)


def conditional_p(
    labels: npt.ArrayLike,
    ranking: Float64,
    fold: npt.NDArray[np.int_],
    strata: Sequence[str] | npt.NDArray[np.str_],
    seed: int,
    permutations: int = 1999,
) -> float:
    """Two-sided p of a permutation test of score and label given the stratum: labels are shuffled within strata only.

    The statistic is the number of ordered pairs within stratum, fold and repeat, less half of all pairs. Scores are
    held fixed. NaN where no stratum has both classes.
    """
    y, s, f = np.asarray(labels) > 0, np.atleast_2d(ranking), np.atleast_2d(fold)
    stratum = np.asarray(strata)
    rng = np.random.default_rng(seed)
    drawn = np.tile(y, (permutations + 1, 1))
    groups = [np.flatnonzero(stratum == name) for name in sorted(set(stratum.tolist()) - {""})]
    groups = [g for g in groups if 0 < y[g].sum() < len(g)]
    if not groups:
        return math.nan
    for g in groups:
        drawn[1:, g] = rng.permuted(drawn[1:, g], axis=1)
    from scipy.stats import rankdata

    found = np.zeros(permutations + 1)
    for r in range(len(s)):
        for g in groups:
            for k in np.unique(f[r, g]):
                here = g[f[r, g] == k]
                label = drawn[:, here].astype(np.float64)
                n_positive = label.sum(axis=1)
                ordered = label @ rankdata(s[r, here]) - n_positive * (n_positive + 1) / 2
                found += ordered - n_positive * (len(here) - n_positive) / 2
    extreme = np.abs(found[1:]) >= abs(found[0]) - 1e-9
    return float((extreme.sum() + 1) / (permutations + 1))
