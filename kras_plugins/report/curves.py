"""What the figures need of patients' scores: columns by model, the mean ROC curve within folds, reliability."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.evaluation.intervals import wilson

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64
    from kras_plugins.evaluation.rows import PatientScores


@dataclass(frozen=True, kw_only=True)
class ScoreColumns:
    """Patients with a known label, in columns: one row per patient and repeat.

    `label`: float64[row] of 0 and 1; `fold`: (repeat, fold) of each row; `by_model`: float64[row] each, NaN
    where a model gave none; `ranks`: the same, of what rows of one fold are ranked by; `first_repeat`: bool[row], the
    rows in which each patient stands once.
    """

    label: Float64
    fold: tuple[tuple[int | None, int | None], ...]
    histology: tuple[str, ...]
    call: tuple[str, ...]
    by_model: Mapping[str, Float64]
    ranks: Mapping[str, Float64]
    first_repeat: Bool


def score_columns(rows: Sequence[PatientScores], models: Sequence[str]) -> ScoreColumns:
    """The rows with a known label, with the scores of `models`; those that a model did not give are NaN."""
    known = [row for row in rows if row.label is not None]
    given = {m: [row.score(m) for row in known] for m in models}
    ranks = {m: [row.rank(m) for row in known] for m in models}
    return ScoreColumns(
        label=np.array([row.label for row in known], np.float64),
        fold=tuple((row.repeat, row.fold) for row in known),
        histology=tuple(row.histology for row in known),
        call=tuple(row.call for row in known),
        by_model={m: _numbers(scores) for m, scores in given.items()},
        ranks={m: _numbers(scores) for m, scores in ranks.items()},
        first_repeat=np.array([row.repeat == known[0].repeat for row in known], dtype=bool),
    )


def _numbers(scores: Sequence[float | None]) -> Float64:
    return np.array([np.nan if s is None else s for s in scores], np.float64)


def complete_rows(rows: Sequence[PatientScores]) -> list[PatientScores]:
    """The rows of the primary tables: patients in scope with a score from every member."""
    every = frozenset(name for row in rows for name in row.members)
    return [row for row in rows if row.in_scope and frozenset(row.members) == every]


def mean_roc(label: Float64, score: Float64, groups: Sequence[Hashable]) -> tuple[Float64, Float64] | None:
    """The vertical mean of the groups' ROC curves, as (fpr, tpr) of its corners; None if no group has both labels.

    Scores are compared only within a group (fold and repeat), and the area under the mean curve is exactly
    the mean of the groups' AUROCs, which is the number that metrics.json gives (LeDell, Petersen, van der
    Laan 2015). Rows with a NaN score are left out.
    """
    from sklearn.metrics import roc_curve

    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        if np.isfinite(score[i]):
            members.setdefault(group, []).append(i)
    curves = [
        roc_curve(label[rows], score[rows], drop_intermediate=False)[:2]
        for rows in members.values()
        if 0 < label[rows].sum() < len(rows)
    ]
    if not curves:
        return None
    x = np.unique(np.concatenate([fpr for fpr, _ in curves]))
    before, after = np.mean([_limits(fpr, tpr, x) for fpr, tpr in curves], axis=0)
    return np.repeat(x, 2), np.stack([before, after], axis=1).ravel()


def _limits(fpr: Float64, tpr: Float64, x: Float64) -> tuple[Float64, Float64]:
    """The heights of one ROC curve just before and just after each `x`; they differ where it rises vertically."""
    steps, first = np.unique(fpr, return_index=True)
    low, high = tpr[first], tpr[np.append(first[1:], len(fpr)) - 1]

    def height(segment: npt.NDArray[np.intp]) -> Float64:
        i = segment.clip(0, len(steps) - 2)
        slope = (low[i + 1] - high[i]) / (steps[i + 1] - steps[i])
        return np.asarray(high[i] + (x - steps[i]) * slope, dtype=np.float64)

    before = np.where(x > 0, height(np.searchsorted(steps, x, "left") - 1), 0.0)
    after = np.where(x < 1, height(np.searchsorted(steps, x, "right") - 1), 1.0)
    return before, after


def mean_precision(label: Float64, score: Float64, repeats: Sequence[Hashable]) -> tuple[Float64, Float64] | None:
    """Precision over recall as (recall, precision) of its corners, the mean over repeats; None without positives.

    All patients of a repeat are ranked together on the calibrated scale, as for the AUPRC of metrics.json, and
    the area under the curve is the mean of the repeats' average precisions. Rows with a NaN score are left out.
    """
    rows: dict[Hashable, list[int]] = {}
    for i, repeat in enumerate(repeats):
        if np.isfinite(score[i]):
            rows.setdefault(repeat, []).append(i)
    steps = [_precision_steps(label[r], score[r]) for r in rows.values() if label[r].any()]
    if not steps:
        return None
    recall = np.unique(np.concatenate([np.linspace(0, 1, len(s) + 1) for s in steps]))
    middle = (recall[1:] + recall[:-1]) / 2
    heights = np.mean([s[np.minimum((middle * len(s)).astype(np.intp), len(s) - 1)] for s in steps], axis=0)
    return np.repeat(recall, 2)[1:-1], np.repeat(heights, 2)


def _precision_steps(label: Float64, score: Float64) -> Float64:
    """float64[positive]: the precision at which each positive is found; equal scores are found together."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    found = np.cumsum(label[order])[ends]
    which = np.searchsorted(found, np.arange(1, int(label.sum()) + 1), "left")
    result: Float64 = (found / (ends + 1))[which]
    return result


@dataclass(frozen=True)
class Bin:
    """Patients of similar predicted probability: mean prediction, observed share with its Wilson interval, count."""

    predicted: float
    observed: float
    low: float
    high: float
    n: int


def reliability(label: Float64, probability: Float64, *, min_size: int = 25, max_bins: int = 10) -> list[Bin]:
    """Bins between quantiles of the predictions, each with about `min_size` patients or more, for a calibration plot.

    Rows with a NaN probability are left out; equal predictions are never split. 95 % Wilson (1927)
    intervals.
    """
    finite = np.isfinite(probability)
    label, probability = label[finite], probability[finite]
    if not len(label):
        return []
    count = int(np.clip(len(label) // min_size, 1, max_bins))
    inner_edges = np.unique(np.quantile(probability, np.linspace(0, 1, count + 1)[1:-1]))
    which = np.digitize(probability, inner_edges)
    bins = []
    for i in np.unique(which):
        inside = which == i
        n, events = int(inside.sum()), int(label[inside].sum())
        bins.append(Bin(float(probability[inside].mean()), *wilson(events, n), n))
    return bins
