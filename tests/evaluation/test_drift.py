"""Single comparisons with training: p as in other libraries, sizes as chance makes them, nothing hidden."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kras_plugins.evaluation.drift import (
    Binned,
    binned,
    categories,
    compare_levels,
    compare_values,
    edges_of,
    ks,
    psi,
    quantile,
)


@pytest.mark.parametrize(("n", "m", "shift"), [(300, 50, 0.3), (200, 200, 0.2), (1000, 100, 0.3), (80, 40, 0.8)])
def test_with_an_edge_at_every_value_d_is_scipys_and_p_is_that_of_its_limit(n: int, m: int, shift: float) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=n), rng.normal(shift, 1, m)
    edges = np.sort(np.concatenate([a, b])).tolist()
    d, p = ks(binned(a, edges).counts, binned(b, edges).counts)
    exact = stats.ks_2samp(a, b, method="exact")
    assert d == pytest.approx(exact.statistic)
    assert p == pytest.approx(stats.kstwobign.sf(np.sqrt(n * m / (n + m)) * d))
    assert exact.pvalue / 1.02 <= p <= 1.6 * exact.pvalue, "never too small, and not much too large"


def test_at_the_edges_that_are_frozen_p_is_not_below_that_of_all_values() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        a, b = rng.normal(size=200), rng.normal(0.4, 1, 60)
        found = compare_values("x", binned(a), b)
        assert found.p is not None
        assert found.p >= stats.ks_2samp(a, b).pvalue / 1.02


def test_p_of_small_samples_without_drift_is_not_too_small() -> None:
    rng = np.random.default_rng(1)
    drawn = [compare_values("x", binned(rng.normal(size=60)), rng.normal(size=25)).p for _ in range(1500)]
    for level in (0.01, 0.05, 0.2):
        assert np.mean(np.array(drawn) <= level) <= level + 3 * np.sqrt(level * (1 - level) / len(drawn))


def test_two_levels_are_compared_by_fishers_test_as_scipy_has_it() -> None:
    found = compare_levels("x", {"a": 180, "b": 20}, ["a"] * 30 + ["b"] * 12)
    assert found.p == pytest.approx(stats.fisher_exact([[180, 20], [30, 12]]).pvalue)
    assert found.detail == "b: 12 of 42 (29%), training 20 of 200 (10%)"


def test_several_frequent_levels_are_compared_by_chi_square_as_scipy_has_it() -> None:
    test, statistic, p, which = categories([60, 90, 50], [30, 20, 10])
    known = stats.chi2_contingency([[60, 90, 50], [30, 20, 10]], correction=False)
    assert (test, which) == ("chi-square", 0)
    assert (statistic, p) == (pytest.approx(known.statistic), pytest.approx(known.pvalue))


def test_rare_levels_are_compared_exactly_each_and_their_number_counts() -> None:
    test, _, p, which = categories([95, 3, 2], [20, 1, 9])
    each = [stats.fisher_exact([[k, 100 - k], [j, 30 - j]]).pvalue for k, j in ((95, 20), (3, 1), (2, 9))]
    assert (test, which) == ("Fisher's exact, each level", 2)
    assert p == pytest.approx(3 * min(each))


def test_a_scanner_that_training_never_had_is_found_and_named() -> None:
    found = compare_levels("scanner", {"Alpha": 100}, ["Beta"] * 25)
    assert found.p is not None and found.p < 1e-20
    assert found.detail.startswith("Beta: 25 of 25 (100%), training 0 of 100")


def test_the_psi_of_small_samples_is_large_without_drift_and_is_shown_less_that() -> None:
    rng = np.random.default_rng(2)
    training = [binned(rng.normal(size=400)) for _ in range(600)]
    found = [compare_values("x", t, rng.normal(size=40)).psi for t in training]
    sizes = [(one.value, one.by_chance, one.limit) for one in found if one is not None]
    value, chance, limit = np.mean(sizes, axis=0)
    assert value > 0.15, "without correction no drift reads as a moderate one"
    assert value == pytest.approx(chance, rel=0.2)
    assert np.mean([v > top for v, _, top in sizes]) <= 0.07
    assert limit > chance


def test_psi_is_the_sum_that_it_is_defined_as() -> None:
    a, b = np.array([100.5, 200.5, 100.5]) / 401.5, np.array([30.5, 30.5, 40.5]) / 101.5
    found = psi([100, 200, 100], [30, 30, 40])
    assert found.value == pytest.approx(float(((b - a) * np.log(b / a)).sum()))
    assert found.by_chance == pytest.approx(2 * (1 / 400 + 1 / 100))
    assert found.limit == pytest.approx(stats.chi2.ppf(0.95, 2) * (1 / 400 + 1 / 100))
    assert psi([100, 200, 100], [5, 8, 7]).size == "within chance"
    assert (found.corrected, found.size) == (pytest.approx(found.value - found.by_chance), "moderate")


def test_too_few_is_said_and_who_is_unknown_does_not_count() -> None:
    training = binned(np.arange(100.0))
    few = compare_values("x", training, np.array([1.0] * 19 + [np.nan] * 40))
    assert (few.n, few.unknown, few.p, few.note) == (19, 40, None, "too few: 19 of 20")
    assert compare_values("x", binned(np.arange(15.0)), np.arange(50.0)).note == "too few in training: 15 of 20"
    levels = compare_levels("x", {"a": 50, "": 30}, ["a"] * 25 + [""] * 10)
    assert (levels.n, levels.n_training, levels.unknown, levels.p) == (25, 50, 10, 1.0)


def test_what_falls_below_a_value_that_all_of_training_share_is_found() -> None:
    training = binned(np.zeros(100))
    found = compare_values("x", training, np.full(30, -1.0))
    assert found.p is not None and found.p < 1e-10
    assert compare_values("x", training, np.zeros(30)).p == 1.0


def test_counts_between_quantiles_give_the_quantiles_back() -> None:
    values = np.random.default_rng(3).normal(size=400)
    found = binned(values)
    assert quantile(found, 0.5) == pytest.approx(np.median(values), abs=1e-4)
    assert quantile(found, 0.25) == pytest.approx(np.percentile(values, 25), abs=1e-4)
    assert edges_of([0.0, 0.0, 1.0]) == (np.nextafter(0.0, -1.0), 0.0, 1.0)
    assert binned(np.array([])) == Binned(edges=(), counts=(0,), missing=0)
