from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit
from statsmodels.stats.proportion import proportion_confint

from kras_plugins.evaluation.intervals import ratio, resamples, wilson
from kras_plugins.evaluation.operating import operating_point, predictive_at


def test_at_the_abstracts_point_a_western_prevalence_gives_the_printed_predictive_values():
    # docs/reference/definitions.md, published: 16 of 22 and 242 of 341; at 13 % PPV 0.27 and 3.7 tests a finding.
    found = predictive_at(0.13, wilson(16, 22), wilson(242, 341))
    assert round(found["ppv"]["value"], 2) == 0.27
    assert round(found["number_needed_to_test"], 1) == 3.7
    here = predictive_at(22 / 363, wilson(16, 22), wilson(242, 341))
    assert here["ppv"]["value"] == pytest.approx(16 / (16 + 99))
    assert here["npv"]["value"] == pytest.approx(242 / (242 + 6))


def test_predictive_values_elsewhere_are_those_of_a_cohort_made_up_of_that_prevalence():
    sensitivity, specificity, prevalence, n = 0.8, 0.7, 0.3, 1_000_000
    found = predictive_at(prevalence, wilson(80, 100), wilson(70, 100))
    true_positive = sensitivity * prevalence * n
    called = true_positive + (1 - specificity) * (1 - prevalence) * n
    assert found["ppv"]["value"] == pytest.approx(true_positive / called)
    assert found["npv"]["value"] == pytest.approx(specificity * (1 - prevalence) * n / (n - called))
    for name in ("ppv", "npv"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]


@pytest.mark.parametrize(
    ("n_positive", "sensitivity", "specificity"), [(22, 0.9, 0.35), (62, 0.9, 0.5), (22, 0.4, 0.9)]
)
def test_intervals_of_predictive_values_elsewhere_hold_the_true_ones_about_as_often_as_they_say(
    n_positive, sensitivity, specificity
):
    rng, n_negative, prevalence, covered = np.random.default_rng(0), 15 * n_positive, 0.13, np.zeros(2)
    true_ppv = sensitivity * prevalence / (sensitivity * prevalence + (1 - specificity) * (1 - prevalence))
    true_npv = specificity * (1 - prevalence) / (specificity * (1 - prevalence) + (1 - sensitivity) * prevalence)
    for _ in range(2000):
        found = predictive_at(
            prevalence,
            wilson(rng.binomial(n_positive, sensitivity), n_positive),
            wilson(rng.binomial(n_negative, specificity), n_negative),
        )
        covered += [found[k]["low"] <= t <= found[k]["high"] for k, t in (("ppv", true_ppv), ("npv", true_npv))]
    assert (np.abs(covered / 2000 - 0.95) < 0.025).all(), covered / 2000


def test_a_rule_without_errors_keeps_finite_bounds():
    found = predictive_at(0.1, wilson(20, 20), wilson(300, 300))
    assert found["ppv"]["value"] == found["ppv"]["high"] == found["npv"]["value"] == found["npv"]["high"] == 1
    assert 0.5 < found["ppv"]["low"] < 1
    assert 0.9 < found["npv"]["low"] < 1
    nobody = predictive_at(0.1, wilson(0, 20), wilson(300, 300))
    assert math.isnan(nobody["ppv"]["value"])
    assert nobody["npv"]["value"] == pytest.approx(0.9)


def test_a_ratio_of_proportions_reaches_where_a_standard_method_does():
    # Log method (Katz 1978) on large counts, where all methods agree.
    value, low, high = ratio(wilson(800, 1000), wilson(300, 1000))
    error = 1.96 * math.sqrt(1 / 800 - 1 / 1000 + 1 / 300 - 1 / 1000)
    assert value == pytest.approx(8 / 3)
    assert (low, high) == pytest.approx((value * math.exp(-error), value * math.exp(error)), rel=0.01)
    turned = ratio(wilson(300, 1000), wilson(800, 1000))
    assert (turned[1], turned[2]) == pytest.approx((1 / high, 1 / low), rel=1e-9)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (1, 5), (16, 22), (242, 341), (5, 5), (900, 901)])
def test_wilson_is_statsmodels(hits, n):
    np.testing.assert_allclose(wilson(hits, n)[1:], proportion_confint(hits, n, method="wilson"), atol=1e-12)


def test_an_operating_point_tells_tests_per_finding_and_other_prevalences():
    y = np.array([True] * 4 + [False] * 6)
    logit = np.array([[3.0, 2, 1, -1, 1, 0, -1, -2, -3, -4]])
    point = operating_point(y, logit, np.full((1, 10), 1.0), resamples(10, 0), (0.1, 0.4))
    assert point["number_needed_to_test"] == pytest.approx(4 / 3)
    assert [row["prevalence"] for row in point["at_prevalence"]] == [0.1, 0.4]
    assert point["at_prevalence"][1]["ppv"]["value"] == pytest.approx(point["ppv"]["value"])
    assert point["at_prevalence"][0]["ppv"]["value"] < point["ppv"]["value"]
    unset = operating_point(y, logit, np.full((1, 10), np.nan), resamples(10, 0), (0.1,))
    assert unset["at_prevalence"] == []
    assert np.isnan(unset["number_needed_to_test"])


def test_predictive_values_without_an_error_are_not_called_certain():
    y = np.arange(30) < 4
    point = operating_point(y, y[None] - 0.5, np.zeros((1, 30)), resamples(30, 0))
    assert tuple(point["ppv"].values()) == pytest.approx(wilson(4, 4))
    assert tuple(point["npv"].values()) == pytest.approx(wilson(26, 26))
    assert tuple(operating_point(y, 0.5 - y[None], np.zeros((1, 30)), resamples(30, 0))["ppv"].values()) == (
        pytest.approx(wilson(0, 26))
    )


def test_the_threshold_is_told_as_a_probability():
    point = operating_point(np.array([True, False]), np.zeros((1, 2)), np.full((1, 2), 1.0), resamples(2, 0))
    assert point["threshold"] == pytest.approx(expit(1.0))
