from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from kras_plugins.evaluation.design import Design, one_cohort
from kras_plugins.evaluation.intervals import resamples, wilson
from kras_plugins.evaluation.metrics import auprc, model_metrics
from kras_plugins.evaluation.operating import operating_point
from kras_plugins.evaluation.scores import Scores
from kras_plugins.evaluation.thresholds import constant_thresholds


def cohort(n=300, repeats=1, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.2
    logit = rng.normal(size=(repeats, n)) + 1.3 * y - 1.5
    return y, np.round(logit, 1) if ties else logit


def flat(y, logit, **thresholds):
    scores = Scores(logit=logit, thresholds=constant_thresholds(thresholds, len(y)))
    return model_metrics(y, scores, Design(np.zeros(logit.shape, int)), resamples(len(y), 0))[0]


@pytest.mark.parametrize("ties", [False, True])
def test_the_numbers_of_one_cohort_are_those_of_scikit_learn(ties):
    y, logit = cohort(ties=ties)
    entry = flat(y, logit)
    assert entry["n"] == 300
    assert entry["n_positive"] == y.sum()
    assert entry["auroc"]["value"] == pytest.approx(roc_auc_score(y, logit[0]))
    assert entry["auroc"]["method"].startswith("standard error by patient (DeLong)")
    assert entry["auprc"]["value"] == pytest.approx(average_precision_score(y, logit[0]))
    assert entry["auprc"]["lift"] == pytest.approx(entry["auprc"]["value"] / y.mean())
    assert entry["brier"] == pytest.approx(brier_score_loss(y, expit(logit[0])))
    line = LogisticRegression(C=1e12, tol=1e-10).fit(logit.T, y)
    assert entry["calibration_slope"] == pytest.approx(line.coef_[0, 0], rel=1e-4)
    assert entry["calibration_intercept"] == pytest.approx(line.intercept_[0], rel=1e-4)


@pytest.mark.parametrize("ties", [False, True])
def test_bootstrapped_average_precision_is_that_of_the_drawn_patients(ties):
    y, logit = cohort(n=80, ties=ties)
    counts = resamples(80, 3, count=200)
    drawn = [np.repeat(np.arange(80), row) for row in counts]
    values = [average_precision_score(y[i], logit[0, i]) for i in drawn]
    found = auprc(y, logit, counts)
    assert (found["low"], found["high"]) == pytest.approx(np.percentile(values, [2.5, 97.5]))


def test_average_precision_with_repeats_is_the_mean_over_repeats():
    y, logit = cohort(repeats=3)
    each = [average_precision_score(y, one) for one in logit]
    assert auprc(y, logit, resamples(300, 0, count=50))["value"] == pytest.approx(np.mean(each))


def test_an_operating_point_counts_by_hand():
    y = np.array([True] * 4 + [False] * 6)
    logit = np.array([[3.0, 2, 1, -1, 1, 0, -1, -2, -3, -4]])
    point = operating_point(y, logit, np.full((1, 10), 1.0), resamples(10, 0))
    assert point["threshold"] == pytest.approx(expit(1.0))
    assert tuple(point["sensitivity"].values()) == pytest.approx(wilson(3, 4))  # a score at the threshold is positive
    assert tuple(point["specificity"].values()) == pytest.approx(wilson(5, 6))
    assert point["ppv"]["value"] == 3 / 4
    assert point["npv"]["value"] == 5 / 6
    assert point["lr_pos"] == pytest.approx(0.75 / (1 / 6))
    assert point["lr_neg"] == pytest.approx(0.25 / (5 / 6))
    assert point["flagged"] == 0.4
    assert point["ppv"]["low"] < 0.75 < point["ppv"]["high"]


def test_the_abstracts_operating_point_gives_its_predictive_values():
    # docs/reference/definitions.md, published: 16 of 22 positives and 99 of 341 negatives flagged.
    y, flagged = np.arange(363) < 22, np.r_[np.arange(22) < 16, np.arange(341) < 99]
    point = operating_point(y, flagged[None].astype(float), np.full((1, 363), 0.5), resamples(363, 0))
    assert round(point["ppv"]["value"], 3) == 0.139
    assert round(point["npv"]["value"], 3) == 0.976
    assert round(point["lr_pos"], 2) == 2.51
    assert round(point["lr_neg"], 3) == 0.384  # printed 0.385 from rounded rates
    assert round(point["flagged"], 3) == 0.317


def test_each_patient_is_measured_by_the_threshold_of_its_own_fold():
    y = np.array([True, True, False, False])
    logit, fold = np.array([[1.0, 11, 0, 10]]), np.array([[0, 1, 0, 1]])
    threshold = np.where(fold == 0, 0.5, 10.5)
    point = operating_point(y, logit, threshold, resamples(4, 0))
    assert point["sensitivity"]["value"] == point["specificity"]["value"] == 1


def test_with_repeats_counts_are_means_over_repeats():
    y, logit = cohort(repeats=4)
    threshold = np.full(logit.shape, -1.0)
    point = operating_point(y, logit, threshold, resamples(300, 0, count=50))
    assert point["sensitivity"]["value"] == pytest.approx(np.mean([(one[y] >= -1).mean() for one in logit]))


def test_the_bootstrap_interval_of_a_predictive_value_is_near_the_binomial_one():
    y, logit = cohort(n=3000)
    point = operating_point(y, logit, np.full(logit.shape, -1.0), resamples(3000, 0))
    called = logit[0] >= -1
    _, low, high = wilson(float((y & called).sum()), float(called.sum()))
    assert (point["ppv"]["low"], point["ppv"]["high"]) == pytest.approx((low, high), abs=0.006)


def test_a_rule_that_could_not_be_set_and_one_that_flags_nobody_are_missing_not_wrong():
    y, logit = cohort()
    unset = operating_point(y, logit, np.full(logit.shape, np.nan), resamples(300, 0, count=50))
    assert np.isnan(unset["sensitivity"]["value"])
    assert np.isnan(unset["flagged"])
    nobody = operating_point(y, logit, np.full(logit.shape, 99.0), resamples(300, 0, count=50))
    assert nobody["flagged"] == 0
    assert np.isnan(nobody["ppv"]["value"])
    assert np.isnan(nobody["lr_pos"])
    assert nobody["specificity"]["value"] == 1


@pytest.mark.parametrize("y", [[], [False] * 5, [True] * 5, [True, False]])
def test_tiny_and_one_sided_cohorts_give_missing_numbers_and_no_exception(y):
    labels = np.array(y, bool)
    entry = flat(labels, np.arange(len(y), dtype=float)[None], youden=1.0)
    # For a single pair Newcombe's bound still excludes something: a perfect reversal, and nothing else.
    assert np.isnan(entry["auroc"]["low"]) == (len(set(y)) < 2)
    assert entry["auroc"]["note"]


def test_the_mean_over_fold_models_stands_beside_the_fold_ensemble_on_an_external_cohort():
    y, by_fold = cohort(repeats=5)
    scores = Scores(logit=by_fold.mean(axis=0)[None], by_fold=by_fold)
    entry, _ = model_metrics(y, scores, one_cohort(300), resamples(300, 0, count=50))
    assert entry["auroc"]["fold_mean"] == pytest.approx(np.mean([roc_auc_score(y, one) for one in by_fold]))
    assert entry["auroc"]["value"] > entry["auroc"]["fold_mean"]


def test_two_thousand_bootstraps_of_every_metric_take_a_few_seconds():
    y, logit = cohort(n=900, repeats=5)
    fold = np.stack([np.random.default_rng(r).permutation(900) % 5 for r in range(5)])
    thresholds = {rule: np.zeros(logit.shape) for rule in "abcde"}
    start = time.process_time()
    model_metrics(y, Scores(logit=logit, thresholds=thresholds), Design(fold), resamples(900, 0))
    assert time.process_time() - start < 4
