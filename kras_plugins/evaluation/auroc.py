"""The area under the ROC curve from placement values, within folds and strata; paired differences; Holm's correction.

A patient's placement value is the share of the other class that it is ranked correctly against, ties counting half.
Scores of different fold models are not on one scale, so patients are only ever compared within one fold of one repeat;
a cohort scored by one model is the case of one fold and one repeat, where the results by patient are DeLong's method.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.evaluation.design import Design, one_cohort
from kras_plugins.evaluation.spread import NO_VARIANCE, LeftOut, Spread, critical, score_interval, spread, two_sided_p

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64

    Index = npt.NDArray[np.intp]

CONSTANT = "the same score for everyone: exactly 0.5"
EXACT = "no variance in these patients, so the bounds are those of Newcombe 2006, method 5"
_NO_SPREAD = Spread(error=math.nan, freedom=math.nan, inflation=1.0, by_patient=math.nan)


@dataclass(frozen=True, kw_only=True)
class Auroc:
    """An area with its 95 % interval, all NaN if no pair of both classes exists, as `note` then states.

    `influence`: float64[patient], each patient's share in the estimate's deviation; they sum to 0. `left_out`: the
    areas without each site. `spread`: the standard error and where it comes from.
    """

    value: float
    low: float
    high: float
    influence: Float64
    spread: Spread = _NO_SPREAD
    left_out: LeftOut | None = None
    note: str = ""

    @property
    def standard_error(self) -> float:
        """The widened standard error on the plain scale; NaN or 0, not 1e-17, if the interval is exact."""
        return 0.0 if self.spread.by_patient <= NO_VARIANCE else self.spread.error


@dataclass(frozen=True, kw_only=True)
class Difference:
    """AUROC of a minus that of b on the same patients: 95 % interval and two-sided p; NaN where undefined."""

    value: float
    low: float
    high: float
    p: float
    standard_error: float = math.nan
    note: str = ""


def auroc(labels: npt.ArrayLike, scores: npt.ArrayLike, design: Design | None = None) -> Auroc:
    """AUROC of scores[patient], or of scores[repeat patient] within the folds of a design.

    The value is the plain mean of the fold areas over folds and repeats; folds without both classes have none. The
    error by patient sums over patients their squared influence, a patient's placement values weighted by 1/(number of
    its class in the fold) and averaged over folds and repeats (DeLong 1988; LeDell, Petersen, van der Laan 2015; one
    sort per fold, after Sun & Xu 2014), with DeLong's n/(n-1) for each class. The error by site is a jackknife over
    sites, whose patients share scanner, stain and referral. The larger of the two is widened by `Design.inflation`, for
    what another training set would have changed.

    The interval is `spread.score_interval`, with Student's t on the Satterthwaite degrees of freedom of the two
    classes' variances (as in Brunner & Munzel 2000 for this statistic), or on the number of sites minus one
    (docs/decisions/0010-intervals-and-thresholds.md).
    """
    y = np.asarray(labels) > 0
    s = np.atleast_2d(np.asarray(scores, np.float64))
    design = one_cohort(s.shape[1]) if design is None else design
    if len(design.fold) < len(s):  # one model a row
        design = Design(np.repeat(design.fold, len(s), axis=0), design.site, design.fitted)
    cells = _cells(y, s, design, np.zeros(len(y), np.intp))
    return _area(y, cells, np.ones(len(cells)), design)


def stratified_auroc(
    labels: npt.ArrayLike, ranking: Float64, design: Design, strata: Sequence[str] | npt.NDArray[np.str_]
) -> Auroc:
    """AUROC over pairs of a positive and a negative of one stratum, fold and repeat; stratum "" has no pairs.

    The covariate-adjusted AUROC of Janes & Pepe 2009 (Biometrika 96:371) for a discrete covariate, with equal weight
    for every pair: the share of all such pairs that are in order, which is the mean of the within-stratum areas
    weighted by their number of pairs. Interval as in `auroc`.
    """
    y, stratum = np.asarray(labels) > 0, np.asarray(strata, np.str_)
    code = np.unique(stratum, return_inverse=True)[1].astype(np.intp)
    cells = _cells(y, np.atleast_2d(ranking), design, np.where(stratum == "", -1, code))
    pairs = np.array([len(cell.positive) * len(cell.negative) for cell in cells], np.float64)
    return _area(y, cells, pairs, design, by_pairs=True)


def compare(labels: npt.ArrayLike, a: Auroc, b: Auroc) -> Difference:
    """Paired comparison of two areas of the same patients and folds (DeLong 1988), errors as in `auroc`.

    If neither area has variance, the interval is made from their exact ones (Zou & Donner 2008, Stat Med 27:1693).
    """
    y = np.asarray(labels) > 0
    value = a.value - b.value
    if math.isnan(value):
        return Difference(value=value, low=math.nan, high=math.nan, p=math.nan, note=a.note or b.note)
    left = None
    if a.left_out is not None and b.left_out is not None:
        left = replace(a.left_out, areas=a.left_out.areas - b.left_out.areas)
    found = spread(y, a.influence - b.influence, left, max(a.spread.inflation, b.spread.inflation))
    if not found.error > NO_VARIANCE:
        low = value - math.hypot(a.value - a.low, b.high - b.value)
        high = value + math.hypot(a.high - a.value, b.value - b.low)
        same = bool(np.allclose(a.influence, b.influence, atol=NO_VARIANCE)) and a.standard_error > NO_VARIANCE
        note = "both rank patients the same way" if same else EXACT
        bounds = (value, value) if same else (low, high)
        return Difference(value=value, low=bounds[0], high=bounds[1], p=math.nan, note=note)
    half = critical(found) * found.error
    return Difference(
        value=value,
        low=value - half,
        high=value + half,
        p=two_sided_p(value / found.error, found),
        standard_error=found.error,
    )


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm 1979) in the given order; NaN stays NaN and does not count as a test."""
    order = sorted((i for i, x in enumerate(p) if not math.isnan(x)), key=lambda i: p[i])
    adjusted, highest = [math.nan] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


def placements(positive: Float64, negative: Float64) -> tuple[Float64, Float64]:
    """For each positive the share of negatives below it, for each negative the share of positives above; ties half."""
    below_positive = _share_below(positive, np.sort(negative))
    return below_positive, 1 - _share_below(negative, np.sort(positive))


def _share_below(x: Float64, ordered: Float64) -> Float64:
    below, upto = np.searchsorted(ordered, x, "left"), np.searchsorted(ordered, x, "right")
    share: Float64 = (below + upto) / (2 * len(ordered))
    return share


@dataclass(frozen=True)
class _Cell:
    """Patients that are compared with each other: indices, scores and placement values of both classes."""

    positive: Index
    negative: Index
    score_positive: Float64
    score_negative: Float64
    of_positive: Float64
    of_negative: Float64


def _cells(y: Bool, s: Float64, design: Design, stratum: Index) -> list[_Cell]:
    """The comparable groups with both classes: patients of one stratum (at least 0), fold and repeat."""
    cells = []
    for score, fold in zip(s, design.fold, strict=True):
        for k, of in itertools.product(np.unique(fold), np.unique(stratum[stratum >= 0])):
            here = np.flatnonzero((fold == k) & (stratum == of))
            positive, negative = here[y[here]], here[~y[here]]
            if len(positive) and len(negative):
                own = score[positive], score[negative]
                cells.append(_Cell(positive, negative, *own, *placements(*own)))
    return cells


def _area(y: Bool, cells: Sequence[_Cell], weights: Float64, design: Design, by_pairs: bool = False) -> Auroc:
    """The weighted mean of the areas of cells with its interval."""
    m, n = int(y.sum()), int((~y).sum())
    influence = np.zeros(len(y))
    if not cells:
        nan = math.nan
        return Auroc(value=nan, low=nan, high=nan, influence=influence, note="no pair of both classes")
    areas = np.array([cell.of_positive.mean() for cell in cells])
    value = float(areas @ weights / weights.sum())
    for cell, weight in zip(cells, weights / weights.sum(), strict=True):
        influence[cell.positive] += weight * (cell.of_positive - value) / len(cell.positive)
        influence[cell.negative] += weight * (cell.of_negative - value) / len(cell.negative)
    left = _left_out(y, cells, design, by_pairs)
    found = spread(y, influence, left, design.inflation)
    (low, high), note = score_interval(value, found, m, n), ""
    if all(np.all(np.r_[cell.score_positive, cell.score_negative] == cell.score_positive[0]) for cell in cells):
        low, high, note = 0.5, 0.5, CONSTANT
    elif not found.by_patient > NO_VARIANCE:
        note = EXACT
    return Auroc(value=value, low=low, high=high, influence=influence, spread=found, left_out=left, note=note)


def _left_out(y: Bool, cells: Sequence[_Cell], design: Design, by_pairs: bool) -> LeftOut | None:
    """The area without each site: pairs with a patient of that site are removed from each cell."""
    cluster = design.clusters
    if cluster is None:
        return None
    n = int(cluster.max(initial=-1)) + 1
    wins, pairs = np.empty((len(cells), n)), np.empty((len(cells), n))
    for i, cell in enumerate(cells):
        of_p, of_n = cluster[cell.positive], cluster[cell.negative]
        n_p, n_n = np.bincount(of_p, minlength=n), np.bincount(of_n, minlength=n)
        lost = np.bincount(of_p, cell.of_positive * len(cell.negative), n)
        lost += np.bincount(of_n, cell.of_negative * len(cell.positive), n)
        for g in np.flatnonzero(n_p * n_n):  # pairs within a site were removed twice
            lost[g] -= _own_wins(cell, of_p == g, of_n == g)
        wins[i] = cell.of_positive.sum() * len(cell.negative) - lost
        pairs[i] = (len(cell.positive) - n_p) * (len(cell.negative) - n_n)
    if by_pairs:
        wins, pairs = wins.sum(axis=0, keepdims=True), pairs.sum(axis=0, keepdims=True)
    areas = np.divide(wins, pairs, out=np.zeros_like(wins), where=pairs > 0)
    held = (pairs > 0).sum(axis=0)
    known = {site for site, positive in zip(design.site, y, strict=True) if site and positive}
    return LeftOut(
        areas=np.divide(areas.sum(axis=0), held, out=np.full(n, np.nan), where=held > 0), with_positives=len(known)
    )


def _own_wins(cell: _Cell, positive: Bool, negative: Bool) -> float:
    """Ordered pairs, ties half, among some of a cell's patients."""
    return float(placements(cell.score_positive[positive], cell.score_negative[negative])[0].sum() * negative.sum())
