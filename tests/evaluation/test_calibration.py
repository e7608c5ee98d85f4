from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from mapie.metrics.calibration import spiegelhalter_p_value
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from kras_plugins.evaluation.calibration import calibration, calibration_line, in_the_large
from kras_plugins.evaluation.intervals import resamples, wilson


def cohort(n=600, repeats=1, seed=0, stretch=1.0):
    """Labels drawn from calibrated logits, which are then stretched."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n) * 1.2 - 1.5
    y = rng.random(n) < expit(common)
    return y, stretch * (common + rng.normal(size=(repeats, n)) * (0.3 if repeats > 1 else 0))


def block(y, logit, count=500):
    return calibration(y, logit, resamples(len(y), 0, count), calibration_line(y, logit))


@pytest.mark.parametrize("repeats", [1, 3])
def test_slope_and_intercept_with_their_intervals_are_those_of_statsmodels_clustered_by_patient(repeats):
    y, logit = cohort(repeats=repeats, stretch=1.7)
    x, labels, patient = sm.add_constant(logit.ravel()), np.tile(y, repeats), np.tile(np.arange(len(y)), repeats)
    fit = sm.Logit(labels.astype(float), x).fit(disp=0, tol=1e-12)
    clustered = sm.Logit(labels.astype(float), x).fit(
        disp=0, tol=1e-12, cov_type="cluster", cov_kwds={"groups": patient, "use_correction": False}
    )
    # Ours is G/(G-1), the same for each coefficient.
    error = 1.959963984540054 * clustered.bse * np.sqrt(len(y) / (len(y) - 1))
    line = calibration_line(y, logit)
    for (value, low, high), i in ((line.intercept, 0), (line.slope, 1)):
        assert value == pytest.approx(fit.params[i], rel=1e-8)
        assert (high - low) / 2 == pytest.approx(error[i], rel=1e-6)
        assert (high + low) / 2 == pytest.approx(value)


def test_a_line_is_found_where_one_patient_alone_keeps_the_classes_from_being_separated():
    positive = [1.64128741, 2.34162724, 4.68344868, 5.41990937, 6.65958684, 6.68345199]
    negative = [*np.linspace(-4, 0, 24), 0.28353746, 1.61294095, 1.64637836]
    logit, y = np.array([*positive, *negative]), np.arange(33) < 6
    fitted = sm.GLM(y.astype(float), sm.add_constant(logit), family=sm.families.Binomial()).fit(tol=1e-13, maxiter=500)
    line = calibration_line(y, logit[None])
    assert (line.intercept[0], line.slope[0]) == pytest.approx(tuple(fitted.params), rel=1e-6)
    assert line.slope[0] > 60


def test_calibration_in_the_large_is_statsmodels_intercept_with_the_logit_as_offset():
    y, logit = cohort(stretch=0.6)
    fit = sm.GLM(y.astype(float), np.ones(len(y)), family=sm.families.Binomial(), offset=logit[0]).fit(tol=1e-12)
    value, low, high = in_the_large(y, logit)
    assert value == pytest.approx(fit.params[0], rel=1e-8)
    assert (high - low) / 2 == pytest.approx(1.96 * fit.bse[0], rel=0.1)
    assert in_the_large(y, logit + 2.0)[0] == pytest.approx(value - 2)


def test_repeats_of_the_same_scores_do_not_narrow_an_interval():
    y, logit = cohort()
    once, thrice = block(y, logit), block(y, np.tile(logit, (3, 1)))
    for name in ("brier", "slope", "intercept", "in_the_large", "ece"):
        assert list(thrice[name].values()) == pytest.approx(list(once[name].values()), rel=1e-6), name
    assert thrice["spiegelhalter_p"] == pytest.approx(once["spiegelhalter_p"])
    for a, b in zip(thrice["reliability"], once["reliability"], strict=True):
        assert a["n"] == b["n"]
        assert a["predicted"] == pytest.approx(b["predicted"])
        assert a["observed"] == pytest.approx(b["observed"])


def test_brier_score_and_its_scaled_form_are_scikit_learns():
    y, logit = cohort()
    found, p = block(y, logit), expit(logit[0])
    brier = brier_score_loss(y, p)
    assert found["brier"]["value"] == pytest.approx(brier)
    assert found["scaled_brier"] == pytest.approx(1 - brier / brier_score_loss(y, np.full(len(y), y.mean())))
    half = 1.96 * ((p - y) ** 2).std() / np.sqrt(len(y))
    assert (found["brier"]["low"], found["brier"]["high"]) == pytest.approx((brier - half, brier + half), abs=half / 5)


@pytest.mark.parametrize("decimals", [1, 12])
def test_reliability_and_calibration_error_have_the_bins_of_scikit_learn(decimals):
    y, logit = cohort()
    logit = np.round(logit, decimals)
    p, found = expit(logit[0]), block(y, logit)
    observed, predicted = calibration_curve(y, p, n_bins=10, strategy="quantile")
    points = found["reliability"]
    assert [point["predicted"] for point in points] == pytest.approx(predicted)
    assert [point["observed"]["value"] for point in points] == pytest.approx(observed)
    assert sum(point["n"] for point in points) == len(y)
    first = points[0]
    assert tuple(first["observed"].values()) == pytest.approx(wilson(observed[0] * first["n"], first["n"]))
    observed, predicted = calibration_curve(y, p, n_bins=15, strategy="quantile")
    edges = np.quantile(p, np.linspace(0, 1, 16))
    mass = np.bincount(np.searchsorted(edges[1:-1], p), minlength=15) / len(y)
    assert found["ece"]["value"] == pytest.approx((mass[mass > 0] * np.abs(observed - predicted)).sum())


@pytest.mark.parametrize("stretch", [0.8, 1.3])
def test_spiegelhalters_p_is_mapies_on_both_sides(stretch):
    y, logit = cohort(stretch=stretch)
    upper = spiegelhalter_p_value(y.astype(int), expit(logit[0]))  # one-sided
    assert block(y, logit)["spiegelhalter_p"] == pytest.approx(2 * min(upper, 1 - upper))


def test_a_calibrated_model_shows_the_error_that_chance_gives_and_its_interval_reaches_zero():
    blocks = [block(*cohort(seed=seed), count=200) for seed in range(60)]
    mean = np.mean([b["ece"]["value"] for b in blocks])
    assert mean == pytest.approx(np.mean([b["ece_if_calibrated"] for b in blocks]), rel=0.08)
    assert np.mean([b["ece"]["low"] == 0 for b in blocks]) > 0.9
    assert np.mean([b["spiegelhalter_p"] < 0.05 for b in blocks]) < 0.15
    assert np.mean([b["slope"]["low"] <= 1 <= b["slope"]["high"] for b in blocks]) > 0.88


def test_a_miscalibrated_model_is_told_from_chance():
    y, logit = cohort(n=2000)
    found = block(y, logit + 1.5)
    assert found["ece"]["low"] > found["ece_if_calibrated"]
    assert found["ece"]["low"] <= found["ece"]["value"] <= found["ece"]["high"]
    assert found["spiegelhalter_p"] < 1e-6
    assert found["in_the_large"]["high"] < -1


def test_too_extreme_logits_have_a_lower_slope():
    y, logit = cohort(40_000)
    assert calibration_line(y, logit).slope[0] == pytest.approx(1, abs=0.05)
    assert calibration_line(y, 2 * logit).slope[0] == pytest.approx(0.5, abs=0.03)
    assert calibration_line(y, 1e-6 * logit + 5).slope[0] == pytest.approx(1e6, rel=0.05)


@pytest.mark.parametrize(
    "logit", [[1.0, 2, 3, 4], [4.0, 3, 2, 1], [1.0, 1, 1, 1], [1.0, 2, 2, 3]],
    ids=["separated", "reversed", "constant", "touching"],
)  # fmt: skip
def test_no_finite_calibration_line_is_missing(logit):
    line = calibration_line(np.array([False, False, True, True]), np.array([logit]))
    assert np.isnan([*line.slope, *line.intercept]).all()


@pytest.mark.parametrize("y", [[], [False] * 6, [True] * 6])
def test_without_both_classes_what_cannot_be_told_is_missing_and_nothing_fails(y):
    labels = np.array(y, bool)
    found = block(labels, np.linspace(-1, 1, len(y))[None], count=20)
    assert np.isnan(found["slope"]["value"])
    assert np.isnan(found["in_the_large"]["value"])
    assert np.isnan(found["scaled_brier"])


def test_probabilities_of_zero_and_one_do_not_fail():
    y = np.arange(10) < 5
    found = block(y, np.where(y, 800.0, -800.0)[None], count=20)
    assert found["brier"]["value"] == found["ece"]["value"] == 0
    assert np.isnan(found["spiegelhalter_p"])
