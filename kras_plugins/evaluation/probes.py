"""Does the score reveal what it should not know: site, scanner, resolution, specimen, and histology?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import stratified_auroc
from kras_plugins.evaluation.columns import available, levels, numbers, texts
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.histology import histology_groups
from kras_plugins.evaluation.spread import Z95
from kras_plugins.evaluation.strata import MIN_PER_CLASS

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
    design: Design,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Entries of `probes` in metrics.json, one or two for each of TECHNICAL that varies; always within label, so
    that a factor merely associated with the label is not found in a score that predicts the label, and once more within
    label and histology, since TCGA sites differ in histology.

    Two levels: the AUROC of the score for the second against the first. More: the share of the variance of the score's
    ranks that lies between levels, minus what chance gives (so that epsilon squared is 0 on average), with a
    permutation test. Numbers: Spearman's correlation, with Fisher's interval. `ranking`: float64[repeat patient].
    """
    rows = []
    positive = np.where(np.asarray(labels) > 0, "1", "0")
    histology = np.array(histology_groups([p.histology for p in patients]), np.str_)
    strata = {"label": positive}
    fold = design.fold
    design = Design(fold, fitted=design.fitted)  # the site cannot be the unit when it is what is probed
    if len(set(histology.tolist())) > 1:
        strata["label and histology"] = np.char.add(positive, histology)
    for column in available(patients):
        if column.lower() not in TECHNICAL:
            continue
        values = texts(patients, column)
        number = numbers(values)
        names, level = levels(values)
        enough = [n for n in names if (level == n).sum() >= MIN_PER_CLASS]
        if len(enough) < 2:
            continue
        level = np.where(np.isin(level, enough), level, "")
        for within, stratum in strata.items():
            if column == "histology" and within != "label":
                continue
            row = {"what": f"{column} from score, within {within}", "n": int((level != "").sum())}
            if number is not None:
                found = _correlation(stratum, ranking, fold, number)
            elif len(enough) == 2:
                found = _two(stratum, ranking, design, level, enough)
            else:
                found = _many(stratum, ranking, fold, level, seed)
            rows.append({**row, "note": "", **found})
    return rows


def within_ranks(stratum: npt.NDArray[np.str_], ranking: Float64, fold: npt.NDArray[np.int_]) -> Float64:
    """float64[patient]: rank of the score among patients of the same stratum and fold, in (0, 1), mean over repeats."""
    from scipy.stats import rankdata

    s, f = np.atleast_2d(ranking), np.atleast_2d(fold)
    ranks = np.zeros(s.shape)
    for own, score, where in zip(ranks, s, f, strict=True):
        for k, name in itertools.product(np.unique(where), np.unique(stratum)):
            here = (where == k) & (stratum == name)
            own[here] = (rankdata(score[here]) - 0.5) / max(1, here.sum())
    mean: Float64 = ranks.mean(axis=0)
    return mean


def _two(
    stratum: npt.NDArray[np.str_],
    ranking: Float64,
    design: Design,
    level: npt.NDArray[np.str_],
    names: list[str],
) -> dict[str, Any]:
    here = level != ""
    area = stratified_auroc(level[here] == names[1], ranking[:, here], design.of(here), stratum[here])
    p = math.nan
    if area.standard_error > 0:
        p = math.erfc(abs(area.value - 0.5) / area.standard_error / math.sqrt(2))
    statistic = f"AUROC of {names[1]} against {names[0]}"
    return {"statistic": statistic, "value": area.value, "low": area.low, "high": area.high, "p": p, "note": area.note}


def _many(
    stratum: npt.NDArray[np.str_], ranking: Float64, fold: npt.NDArray[np.int_], level: npt.NDArray[np.str_], seed: int
) -> dict[str, Any]:
    known = level != ""
    block, own = stratum[known], within_ranks(stratum, ranking, fold)[known]
    for name in np.unique(block):
        own[block == name] -= own[block == name].mean()
    codes = np.unique(level[known], return_inverse=True)[1]
    # Levels that never share a fold, such as sites on site-preserved folds, are only exchangeable within it.
    nested = len(np.unique(fold[0])) > 1 and all(
        len(np.unique(fold[0][level == n])) == 1 for n in np.unique(level[known])
    )
    if nested:
        block = np.char.add(np.char.add(block, "|"), fold[0][known].astype(np.str_))
    rng = np.random.default_rng(seed)
    shuffled = np.tile(own, (PERMUTATIONS + 1, 1))
    for name in np.unique(block):
        here = np.flatnonzero(block == name)
        shuffled[1:, here] = rng.permuted(shuffled[1:, here], axis=1)
    member = np.eye(codes.max() + 1)[codes]
    between = ((shuffled @ member) ** 2 / member.sum(axis=0)).sum(axis=1) / max(float(own @ own), 1e-300)
    by_chance = float(between[1:].mean())
    return {
        "statistic": "share of the variance of score ranks between levels, above chance",
        "value": (float(between[0]) - by_chance) / max(1 - by_chance, 1e-9),
        "low": math.nan,
        "high": math.nan,
        "p": float(((between[1:] >= between[0] - 1e-12).sum() + 1) / (PERMUTATIONS + 1)),
        "note": "permutation test" + (" within folds: no two folds share a level" if nested else ""),
    }


def _correlation(
    stratum: npt.NDArray[np.str_], ranking: Float64, fold: npt.NDArray[np.int_], number: Float64
) -> dict[str, Any]:
    from scipy.stats import rankdata

    known = ~np.isnan(number)
    block, rank = stratum[known], within_ranks(stratum, ranking, fold)[known]
    own = np.zeros(len(rank))
    for name in np.unique(block):
        here = block == name
        own[here] = rankdata(number[known][here]) / here.sum()
        rank[here] -= rank[here].mean()
        own[here] -= own[here].mean()
    scale = math.sqrt(float(rank @ rank) * float(own @ own))
    # Each stratum but the first costs a degree of freedom.
    freedom = len(own) - 3 - (len(np.unique(block)) - 1)
    if not scale or freedom < 2:
        return {"statistic": "Spearman", "value": math.nan, "low": math.nan, "high": math.nan, "p": math.nan}
    rho = min(1 - 1e-12, max(-1 + 1e-12, float(rank @ own) / scale))
    # Variance of Fisher's z for Spearman: Bonett & Wright 2000 (Psychometrika 65:23).
    z, se = math.atanh(rho), math.sqrt((1 + rho**2 / 2) / freedom)
    return {
        "statistic": "Spearman's correlation with the score",
        "value": rho,
        "low": math.tanh(z - Z95 * se),
        "high": math.tanh(z + Z95 * se),
        "p": math.erfc(abs(z) * math.sqrt(freedom) / math.sqrt(2)),
    }
