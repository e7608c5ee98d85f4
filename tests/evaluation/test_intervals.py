from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from kras_plugins.evaluation.intervals import difference, percentile_interval, resamples, wilson


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (1, 5), (16, 22), (242, 341), (5, 5), (900, 901)])
def test_wilson_is_scipys(hits, n):
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(hits, n), [hits / n, expected.low, expected.high], atol=1e-12)


def test_wilson_matches_the_printed_intervals_of_the_abstract():
    # docs/reference/definitions.md, published
    assert [round(100 * x, 1) for x in wilson(16, 22)] == [72.7, 51.8, 86.8]
    assert [round(100 * x, 1) for x in wilson(242, 341)] == [71.0, 65.9, 75.5]


def test_of_nothing_there_is_no_proportion():
    assert np.isnan(wilson(0, 0)).all()


def test_resamples_draw_n_patients_with_replacement_and_repeat_with_the_seed():
    counts = resamples(50, seed=1, count=4000)
    assert (counts.sum(axis=1) == 50).all()
    assert (counts == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)
    np.testing.assert_array_equal(counts[:7], resamples(50, seed=1, count=7))
    assert (counts[:7] != resamples(50, seed=2, count=7)).any()


def test_stratified_resamples_keep_the_number_of_each_class():
    y = np.arange(50) < 8
    counts = resamples(50, seed=1, count=200, strata=y)
    assert (counts[:, y].sum(axis=1) == 8).all()
    assert (counts[:, ~y].sum(axis=1) == 42).all()
    assert len(np.unique(counts[:, y], axis=0)) > 190
    assert len(np.unique(resamples(50, seed=1, count=200)[:, y].sum(axis=1))) > 5


def test_a_bootstrapped_mean_has_the_textbook_interval():
    x = np.random.default_rng(0).normal(size=400)
    low, high = percentile_interval(resamples(400, seed=0), lambda w: w @ x / 400)
    half = 1.96 * x.std() / 20
    assert (low, high) == pytest.approx((x.mean() - half, x.mean() + half), abs=0.01)


def test_an_undefined_statistic_has_no_interval():
    assert np.isnan(percentile_interval(resamples(5, seed=0), lambda w: np.full(len(w), np.nan))).all()


def test_chunks_do_not_change_the_interval(monkeypatch):
    x, counts = np.arange(30.0), resamples(30, seed=0)
    whole = percentile_interval(counts, lambda w: w @ x)
    monkeypatch.setattr("kras_plugins.evaluation.intervals._CELLS", 100)
    assert percentile_interval(counts, lambda w: w @ x) == whole


def test_the_difference_of_symmetric_intervals_adds_variances():
    assert difference((0.7, 0.7 - 0.03, 0.7 + 0.03), (0.6, 0.6 - 0.04, 0.6 + 0.04)) == pytest.approx((0.1, 0.05, 0.15))


def test_the_difference_of_two_proportions_is_newcombes():
    from statsmodels.stats.proportion import confint_proportions_2indep

    expected = confint_proportions_2indep(9, 10, 3, 25, method="newcomb")
    np.testing.assert_allclose(difference(wilson(9, 10), wilson(3, 25))[1:], expected)
