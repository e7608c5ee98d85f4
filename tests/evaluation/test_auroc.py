from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from MLstatkit import Delong_test
from scipy.optimize import brentq
from scipy.special import logit
from scipy.stats import brunnermunzel, t
from sklearn.metrics import roc_auc_score

from kras_plugins.evaluation.auroc import auroc, compare, holm
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.subgroups import interaction_p


def cohort(n_positive=25, n_negative=140, ties=False, seed=0):
    """Labels and two correlated scores."""
    rng = np.random.default_rng(seed)
    y = np.r_[np.ones(n_positive), np.zeros(n_negative)].astype(int)
    common = rng.normal(size=len(y)) + 0.8 * y
    a, b = common + rng.normal(size=len(y)), common + 0.5 * rng.normal(size=len(y))
    return (y, np.round(a), np.round(b)) if ties else (y, a, b)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_area_standard_error_and_paired_p_are_delongs(ties, seed):
    y, a, b = cohort(ties=ties, seed=seed)
    z, p, ci_a, ci_b, auc_a, auc_b, info = Delong_test(y, a, b)
    assert info["method"] == "delong"
    ours_a, ours_b = auroc(y, a), auroc(y, b)
    for ours, area, (low, high) in ((ours_a, auc_a, ci_a), (ours_b, auc_b, ci_b)):
        assert ours.value == pytest.approx(area, rel=1e-12)
        # DeLong's own interval is symmetric about the value; ours keeps its standard error on the logit scale.
        assert ours.standard_error == pytest.approx((high - low) / (2 * 1.959963984540054), rel=1e-9)
    difference = compare(y, ours_b, ours_a)
    assert difference.p == pytest.approx(p, rel=1e-9)
    assert difference.value == pytest.approx(auc_b - auc_a)
    assert difference.value / difference.standard_error == pytest.approx(z, rel=1e-9)
    assert (difference.high - difference.low) / (2 * 1.959963984540054) == pytest.approx(difference.standard_error)


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_is_brunner_and_munzels_t_on_the_logit_scale(seed):
    y, a, _ = cohort(seed=seed)
    x, z = a[y == 1], a[y == 0]
    scipys = brunnermunzel(z, x, distribution="t")
    area = auroc(y, a)
    # scipy tells neither the degrees of freedom nor a standard error: they are in its statistic and p.
    statistic = (area.value - 0.5) / area.standard_error
    assert statistic == pytest.approx(scipys.statistic, rel=1e-9)
    logits = logit([area.low, area.value, area.high])
    half = logits[2] - logits[1]
    assert half == pytest.approx(logits[1] - logits[0])
    critical = half * area.value * (1 - area.value) / area.standard_error
    freedom = brentq(lambda df: 2 * t.sf(abs(statistic), df) - scipys.pvalue, 2, 1e4)
    assert critical == pytest.approx(t.ppf(0.975, freedom), rel=1e-6)


def folds_and_repeats(seed=0, repeats=2, n_folds=4):
    rng = np.random.default_rng(seed)
    y, a, _ = cohort(seed=seed)
    fold = np.stack([rng.permutation(np.arange(len(y)) % n_folds) for _ in range(repeats)])
    return y, a + rng.normal(size=fold.shape) * 0.3, fold


def test_in_cross_validation_the_area_is_the_mean_over_folds_and_repeats():
    y, scores, fold = folds_and_repeats()
    each = [roc_auc_score(y[f == k], s[f == k]) for s, f in zip(scores, fold, strict=True) for k in range(4)]
    assert auroc(y, scores, fold).value == pytest.approx(np.mean(each), rel=1e-12)


def test_an_offset_of_one_fold_changes_nothing_though_pooling_would():
    y, scores, fold = folds_and_repeats()
    before, moved = auroc(y, scores, fold), scores + 10.0 * (fold == 1)
    after = auroc(y, moved, fold)
    assert (after.value, after.low, after.high) == (before.value, before.low, before.high)
    assert abs(roc_auc_score(y, moved[0]) - roc_auc_score(y, scores[0])) > 0.05


@given(st.integers(0, 10_000), st.floats(0.1, 5))
@settings(deadline=None, max_examples=25)
def test_a_rising_transform_changes_nothing_and_a_falling_one_mirrors(seed, power):
    y, a, _ = cohort(8, 30, ties=seed % 2 == 0, seed=seed)
    before = auroc(y, a)
    rising, falling = auroc(y, np.sign(a) * np.abs(a) ** power), auroc(y, -a)
    assert (rising.value, rising.low, rising.high) == (before.value, before.low, before.high)
    assert falling.value == pytest.approx(1 - before.value)
    assert falling.low == pytest.approx(1 - before.high)
    # Exchanging the classes mirrors as well.
    assert auroc(1 - y, a).value == pytest.approx(1 - before.value)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=10)
def test_influences_sum_to_zero(seed):
    y, scores, fold = folds_and_repeats(seed)
    assert auroc(y, scores, fold).influence.sum() == pytest.approx(0, abs=1e-9)


def test_identical_repeats_carry_no_more_information_than_one():
    y, scores, fold = folds_and_repeats(repeats=1)
    once, thrice = auroc(y, scores, fold), auroc(y, np.tile(scores, (3, 1)), np.tile(fold, (3, 1)))
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_interval_within_folds_holds_the_true_area_about_as_often_as_it_says(repeats):
    """Fold models that only differ by offset and scale: their true area is Φ(1/√2)."""
    truth, covered, rng = 0.7602, 0, np.random.default_rng(3)
    y = np.arange(220) < 40
    for _ in range(400):
        x = rng.normal(size=220) + y
        fold = np.stack([rng.permutation(220) % 5 for _ in range(repeats)])
        offset, scale = rng.normal(size=(repeats, 5)) * 3, rng.uniform(0.5, 2, (repeats, 5))
        scores = np.stack([o[f] + s[f] * x for f, o, s in zip(fold, offset, scale, strict=True)])
        area = auroc(y, scores, fold)
        covered += area.low <= truth <= area.high
    assert 0.92 <= covered / 400 <= 0.98


def test_under_no_difference_the_paired_test_rejects_about_five_percent():
    rng, rejected, y = np.random.default_rng(5), 0, np.arange(200) < 40
    for _ in range(400):
        fold = rng.permutation(200) % 5
        common = rng.normal(size=200) + y
        a, b = (auroc(y, common + rng.normal(size=200), fold) for _ in range(2))
        rejected += compare(y, a, b).p < 0.05
    assert 0.025 <= rejected / 400 <= 0.08


def test_a_fold_without_positives_is_left_out():
    y, scores, fold = np.array([1, 0, 1, 0, 0, 0]), np.array([2.0, 1, 1, 2, 9, 9]), np.array([0, 0, 0, 0, 1, 1])
    assert auroc(y, scores, fold).value == roc_auc_score(y[:4], scores[:4])


def test_what_cannot_be_estimated_is_nan_with_a_note_and_no_exception():
    none = auroc([0, 0, 0], [1.0, 2, 3])
    assert np.isnan([none.value, none.low, none.high]).all()
    assert none.note == "no pair of both classes"
    one = auroc([1, 0, 0], [2.0, 1, 3])
    assert one.value == 0.5
    assert np.isnan(one.low)
    assert "fewer than two" in one.note
    perfect = auroc([1, 1, 0, 0], [2.0, 2, 1, 1])
    assert perfect.value == 1
    assert np.isnan(perfect.high)
    assert perfect.note == "zero variance"
    empty = auroc([], np.empty((1, 0)))
    assert np.isnan(empty.value)


def test_a_constant_score_has_an_area_of_one_half():
    constant = auroc([1, 1, 0, 0, 0], np.zeros(5))
    assert constant.value == 0.5
    assert constant.note == "zero variance"


def test_a_model_against_itself_has_no_p():
    y, a, _ = cohort()
    same = compare(y, auroc(y, a), auroc(y, 2 * a + 1))
    assert same.value == 0
    assert np.isnan(same.p)
    assert same.note == "zero variance"


def test_holm_steps_down_and_leaves_out_undefined_tests():
    # Hand-worked: sorted .01 .02 .03 .04 times 4 3 2 1, made rising.
    assert holm([0.03, 0.01, float("nan"), 0.04, 0.02]) == pytest.approx([0.06, 0.04, np.nan, 0.06, 0.06], nan_ok=True)
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_no_pair_of_both_classes_is_no_area_and_no_error():
    nothing = auroc([0, 0, 0], [1, 2, 3])
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()
    assert nothing.note == "no pair of both classes"


def test_one_positive_amid_the_negatives_is_not_taken_for_the_same_score_of_everyone():
    found = auroc([1, 0, 0], [0.5, 0.1, 0.9])
    assert found.value == 0.5
    assert found.low < 0.1 and found.high > 0.9
    assert "same score" not in found.note
    assert (auroc([1, 0, 0], [0.5] * 3).low, auroc([1, 0, 0], [0.5] * 3).high) == (0.5, 0.5)


@pytest.mark.parametrize("folds", range(2, 20))
def test_what_rounding_leaves_of_no_variance_is_no_error_and_makes_no_p(folds):
    """The mean of three areas of 1 may be 0.9999999999999999, which once gave an interaction a p of 1e-43."""
    fold, y = np.arange(4 * folds) % folds, np.arange(4 * folds) < 2 * folds
    perfect = auroc(y, y.astype(float)[None], Design(fold[None], fitted=folds))
    half = auroc(y, np.random.default_rng(0).normal(size=(1, 4 * folds)), Design(fold[None], fitted=folds))
    assert perfect.standard_error == 0
    assert np.isnan(interaction_p(perfect, half))


def test_a_hundred_thousand_scores_take_less_than_a_second():
    y, a, _ = cohort(10_000, 90_000)
    start = time.process_time()
    auroc(y, a)
    assert time.process_time() - start < 1
