from __future__ import annotations

import numpy as np
import pytest

from kras_plugins.evaluation.auroc import auroc, compare
from kras_plugins.evaluation.power import hanley_mcneil, minimum_detectable, power


def test_the_abstracts_areas_have_the_intervals_of_hanley_and_mcneil():
    # docs/reference/definitions.md, published
    for area, n_positive, n_negative, low, high in ((0.745, 22, 341, 0.62, 0.87), (0.787, 62, 868, 0.72, 0.86)):
        half = 1.96 * hanley_mcneil(area, n_positive, n_negative)
        assert (area - half, area + half) == pytest.approx((low, high), abs=0.006)


def test_an_area_at_the_limit_is_found_in_four_of_five_cohorts():
    rng, n_positive, n_negative = np.random.default_rng(0), 62, 868
    found = power(n_positive + n_negative, n_positive)
    area = found["auroc_detectable"]
    assert 0.5 < area < 0.65
    # Exponential scores have AUROC rate/(1 + rate), the case for which the standard error is exact.
    y, hits = np.arange(n_positive + n_negative) < n_positive, 0
    null = 1.96 * hanley_mcneil(0.5, n_positive, n_negative)
    for _ in range(400):
        s = rng.exponential(np.where(y, area / (1 - area), 1.0))
        hits += abs(auroc(y, s).value - 0.5) > null
    assert hits / 400 == pytest.approx(0.8, abs=0.06)


def test_more_patients_see_smaller_areas_and_too_few_see_none():
    assert power(930, 62)["auroc_detectable"] < power(363, 22)["auroc_detectable"]
    assert np.isnan(power(4, 2)["auroc_detectable"])
    assert "too few" in power(4, 2)["note"]
    assert power(5, 0)["note"] == "one class is absent"


def test_a_difference_at_the_minimum_is_found_in_four_of_five_cohorts():
    rng, y = np.random.default_rng(1), np.arange(600) < 100
    detectable, hits = [], 0
    shift = 0.49  # chosen so that the true difference lies near the mean of what the cohorts call detectable
    values = []
    for _ in range(300):
        common = rng.normal(size=600)
        a, b = common + rng.normal(size=600) + (1 + shift) * y, common + rng.normal(size=600) + y
        d = compare(y, auroc(y, a), auroc(y, b))
        detectable.append(minimum_detectable(d))
        values.append(d.value)
        hits += d.p < 0.05
    assert np.mean(detectable) == pytest.approx(np.mean(values), rel=0.1)
    assert hits / 300 == pytest.approx(0.8, abs=0.08)


def test_without_a_standard_error_there_is_no_minimum():
    y = np.array([1, 1, 0, 0])
    assert np.isnan(minimum_detectable(compare(y, auroc(y, [1.0, 2, 3, 4]), auroc(y, [1.0, 2, 3, 4]))))
