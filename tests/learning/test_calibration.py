from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import _sigmoid_calibration

from kras_plugins.learning.calibration import Platt, fit_platt, shift_prevalence


def informative(n_positive: int, n_negative: int, scale: float = 1.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = np.r_[np.ones(n_positive), np.zeros(n_negative)]
    return scale * (rng.normal(size=len(y)) + y), y


@pytest.mark.parametrize(("positives", "negatives", "scale"), [(60, 800, 1.0), (12, 150, 1e-3), (5, 9, 40.0)])
def test_an_unconstrained_line_is_that_of_scikit_learn(positives, negatives, scale):
    scores, y = informative(positives, negatives, scale)
    ours = fit_platt(scores, y)
    a, b = _sigmoid_calibration(scores, y)  # p = 1 / (1 + exp(a s + b))
    assert ours.slope > 0
    np.testing.assert_allclose(ours.logit(scores), -(a * scores + b), rtol=1e-3, atol=1e-3)


def test_separable_scores_keep_a_finite_line_because_targets_are_smoothed():
    line = fit_platt([1, 2, 3, 10, 11, 12], [0, 0, 0, 1, 1, 1])
    p = 1 / (1 + np.exp(-line.logit([1.0, 12.0])))
    assert 0 < line.slope < 10
    assert p[0] > 0.1  # target of a negative: 1/5
    assert p[1] < 0.9  # target of a positive: 4/5


@pytest.mark.parametrize(
    "scores", [[3.0, 2.0, 1.0, 0.0] * 5, [7.0] * 20, np.full(20, 1e9)], ids=["reversed", "equal", "equal and large"]
)
def test_a_score_without_information_becomes_the_constant_prevalence(scores):
    y = [0, 0, 1, 1] * 5
    line = fit_platt(scores, y)
    assert line.slope == 0
    assert line.logit(scores) == pytest.approx(0.0, abs=1e-12)  # half are positive


def test_the_constant_is_close_to_a_low_prevalence():
    y = np.arange(900) < 60
    line = fit_platt(-y.astype(float), y)
    assert line.slope == 0
    assert 1 / (1 + np.exp(-line.intercept)) == pytest.approx(60 / 900, rel=0.02)


@given(st.floats(1e-4, 1e4), st.floats(-1e4, 1e4), st.integers(0, 50))
@settings(deadline=None, max_examples=25)
def test_calibrated_logits_do_not_depend_on_the_scale_of_scores(scale, shift, seed):
    scores, y = informative(8, 30, seed=seed)
    moved = scores * scale + shift
    np.testing.assert_allclose(
        fit_platt(moved, y).logit(moved), fit_platt(scores, y).logit(scores), rtol=1e-3, atol=1e-3
    )


def test_missing_scores_stay_missing():
    assert np.isnan(Platt(2.0, 1.0).logit([np.nan, 1.0])).tolist() == [True, False]


def test_another_prevalence_moves_the_odds_by_the_ratio_of_prior_odds():
    shifted = shift_prevalence([0.0, 1.0], 0.5, 0.2)
    np.testing.assert_allclose(np.exp(shifted - [0.0, 1.0]), 0.25)
    np.testing.assert_allclose(shift_prevalence(shifted, 0.2, 0.5), [0.0, 1.0], atol=1e-12)
    with pytest.raises(ValueError, match="strictly between"):
        shift_prevalence([0.0], 0.1, 1.0)
