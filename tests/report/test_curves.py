"""What the figures show: curves within folds, honest bins, the right patients."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import trapezoid
from sklearn.metrics import average_precision_score, roc_auc_score

from kras_plugins.evaluation.rows import PatientScores
from kras_plugins.report.curves import complete_rows, mean_precision, mean_roc, reliability, score_columns


def test_the_area_under_the_mean_roc_is_the_mean_of_the_fold_aurocs() -> None:
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 300).astype(float)
    score = np.round(rng.normal(label, 1.5), 1)  # with ties
    fold = rng.integers(0, 6, 300)
    score[::17] = np.nan
    score += 10 * fold  # folds on different scales must not matter
    curve = mean_roc(label, score, fold.tolist())
    assert curve is not None
    kept = np.isfinite(score)
    folds = [roc_auc_score(label[kept & (fold == f)], score[kept & (fold == f)]) for f in range(6)]
    assert trapezoid(curve[1], curve[0]) == pytest.approx(np.mean(folds), abs=1e-12)
    assert curve[1][0] == 0
    assert curve[1][-1] == 1
    assert (np.diff(curve[1]) >= -1e-12).all()


def test_folds_with_one_label_have_no_roc() -> None:
    label, score = np.array([0.0, 0.0, 1.0, 1.0]), np.arange(4.0)
    assert mean_roc(label, score, ["a", "a", "b", "b"]) is None


def test_reliability_bins_hold_all_patients_and_keep_equal_predictions_together() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(1000)
    label = (rng.random(1000) < probability).astype(float)
    bins = reliability(label, probability)
    assert len(bins) == 10
    assert sum(b.n for b in bins) == 1000
    assert sum(b.low <= b.predicted <= b.high for b in bins) >= 8
    constant = reliability(label, np.full(1000, 0.3))
    assert [b.n for b in constant] == [1000]
    # Wilson 1927: 16 of 22 is 51.8 to 86.8 %
    (one,) = reliability(np.r_[np.ones(16), np.zeros(6)], np.full(22, 0.5))
    assert (one.low, one.high) == pytest.approx((0.518, 0.868), abs=5e-4)


def test_figures_hold_the_patients_of_the_primary_tables() -> None:
    rows = [
        PatientScores(patient_id="a", scores={}, members=("he", "rf")),
        PatientScores(patient_id="b", scores={}, members=("rf",)),
        PatientScores(patient_id="c", scores={}),
        PatientScores(patient_id="d", scores={}, members=("he", "rf"), in_scope=False),
    ]
    assert [row.patient_id for row in complete_rows(rows)] == ["a"], "in scope, with every member"
    assert len(complete_rows([rows[2], rows[2]])) == 2


def test_unknown_labels_are_not_negative() -> None:
    rows = [
        PatientScores(patient_id=str(label), label=label, scores={"he": he})
        for label, he in ((1, 0.5), (None, 0.9), (0, None))
    ]
    scores = score_columns(rows, ["he"])
    assert scores.label.tolist() == [1, 0]
    assert np.isnan(scores.by_model["he"][1])


def test_the_area_under_the_mean_precision_curve_is_the_mean_average_precision() -> None:
    rng = np.random.default_rng(5)
    label = np.tile((rng.random(200) < 0.2).astype(float), 3)
    score = np.round(rng.normal(label, 1.0), 1)  # with ties
    repeat = np.repeat([0, 1, 2], 200)
    score[7::200] = np.nan
    label_of_missing = label[7]
    curve = mean_precision(label, score, repeat.tolist())
    assert curve is not None
    kept = np.isfinite(score)
    means = [average_precision_score(label[kept & (repeat == r)], score[kept & (repeat == r)]) for r in range(3)]
    assert label_of_missing in (0, 1)
    assert trapezoid(curve[1], curve[0]) == pytest.approx(np.mean(means), abs=1e-12)
    assert (curve[0][0], curve[0][-1]) == (0, 1)


def test_repeats_that_lack_a_positive_still_have_a_mean_precision_curve() -> None:
    label, score = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 0.0]), np.array([3.0, np.nan, 1.0, 2.0, 1.0, 1.0])
    curve = mean_precision(label, score, [0, 0, 0, 1, 1, 1])
    assert curve is not None
    assert trapezoid(curve[1], curve[0]) == pytest.approx(1.0)
    assert mean_precision(np.zeros(3), np.arange(3.0), [0, 0, 0]) is None
