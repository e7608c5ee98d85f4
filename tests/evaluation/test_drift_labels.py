"""Calibration and rates against training's, once labels have arrived."""

from __future__ import annotations

import numpy as np
import pytest
from monitored import THRESHOLDS, people
from scipy import stats
from scipy.special import expit

from kras_plugins.evaluation.drift_labels import compare_labelled, labelled_reference, predictive_p
from kras_plugins.evaluation.monitored import observed_expected


def drawn(rng: np.random.Generator, n: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    own = people(rng, n, prevalence=shift)
    return np.array([a.label for a in own]), np.array([a.fold_score for a in own])


def test_calibration_is_compared_by_welchs_test_as_scipy_has_it() -> None:
    rng = np.random.default_rng(0)
    (y, x), (labels, logit) = drawn(rng, 300), drawn(rng, 120, 1.0)
    found = compare_labelled(labelled_reference(y, x, THRESHOLDS), labels, logit, THRESHOLDS)
    large, slope = found["calibration"]
    before, now = y - expit(x), labels - expit(logit)
    assert large.p == pytest.approx(stats.ttest_ind(now, before, equal_var=False).pvalue)
    centered = stats.ttest_ind(now * (logit - x.mean()), before * (x - x.mean()), equal_var=False)
    assert slope.p == pytest.approx(centered.pvalue)
    assert large.p < 0.01


def test_rates_at_a_threshold_that_training_set_are_judged_as_such_a_threshold_varies() -> None:
    rng = np.random.default_rng(1)
    naive, right = [], []
    for _ in range(1500):
        training, new = np.sort(rng.normal(size=30)), rng.normal(size=200)
        cut = training[3]  # the highest with sensitivity of at least 0.9: 27 of 30
        hits = int((new >= cut).sum())
        right.append(predictive_p(hits, 200, 27, 30))
        naive.append(stats.binomtest(hits, 200, 0.9).pvalue)
    assert np.mean(np.array(naive) <= 0.05) > 0.2, "as if the threshold were known: many false alarms"
    assert 0.01 < np.mean(np.array(right) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)


def test_lost_sensitivity_is_found_and_says_counts() -> None:
    reference = {"n": 200, "n_positive": 40, "center": -2.0, "large": [0, 0.3], "slope": [0, 0.3],
                 "rules": {"rule_out": [37, 40]}}  # fmt: skip
    labels = np.arange(60) < 20
    logit = np.where(np.arange(60) % 2 == 0, -4.0, -1.0)
    sensitivity, specificity = compare_labelled(reference, labels, logit, THRESHOLDS)["rates"]
    assert sensitivity.p is not None and sensitivity.p < 0.01
    assert sensitivity.detail == "10 of 20 (50%), training 37 of 40 (92%)"
    assert specificity.note == "the bundle has no such threshold"


def test_too_few_of_a_class_is_said() -> None:
    rng = np.random.default_rng(2)
    reference = labelled_reference(*drawn(rng, 200), THRESHOLDS)
    found = compare_labelled(reference, np.arange(30) < 2, rng.normal(-2, 1, 30), THRESHOLDS)
    assert {check.note for check in found["calibration"]} == {"too few positive: 2 of 5"}
    assert found["rates"][0].note == "too few: 2 of 5"
    assert found["prevalence"][0].p is not None


def test_observed_over_expected_covers_one_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(800):
        p = rng.uniform(0.05, 0.5, 150)
        _, low, high = observed_expected(rng.random(150) < p, p)
        inside.append(low <= 1 <= high)
    assert np.mean(inside) > 0.93
    assert np.isnan(observed_expected(np.zeros(5, bool), np.full(5, 0.1))[0])
