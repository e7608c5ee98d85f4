from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from MLstatkit import Delong_test
from scipy.optimize import brentq
from scipy.stats import brunnermunzel, t
from sklearn.metrics import roc_auc_score

from kras_plugins.evaluation.auroc import auroc, compare, holm, stratified_auroc
from kras_plugins.evaluation.design import Design, one_cohort
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
    # Theirs is a normal test; ours uses Student's t, whose degrees of freedom the interval shows.
    critical = (difference.high - difference.low) / 2 / difference.standard_error
    freedom = brentq(lambda df: t.ppf(0.975, df) - critical, 2, 1e6)
    assert difference.p == pytest.approx(2 * t.sf(abs(z), freedom), rel=1e-6)
    assert p < difference.p < p + 0.02
    assert difference.value == pytest.approx(auc_b - auc_a)
    assert difference.value / difference.standard_error == pytest.approx(z, rel=1e-9)


def shape(area, middle):
    """How the variance of an area changes with it (Hanley & McNeil 1982, class sizes replaced by their mean)."""
    return area * (1 - area) * (1 + middle * ((1 - area) / (2 - area) + area / (1 + area)))


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_is_where_the_value_lies_brunner_and_munzels_t_errors_away(seed):
    y, a, _ = cohort(seed=seed)
    x, z = a[y == 1], a[y == 0]
    scipys = brunnermunzel(z, x, distribution="t")
    area = auroc(y, a)
    # scipy returns neither the degrees of freedom nor a standard error: they follow from its statistic and p.
    statistic = (area.value - 0.5) / area.standard_error
    assert statistic == pytest.approx(scipys.statistic, rel=1e-9)
    freedom = brentq(lambda df: 2 * t.sf(abs(statistic), df) - scipys.pvalue, 2, 1e4)
    middle = len(y) / 2 - 1
    for bound in (area.low, area.high):
        error = area.standard_error * np.sqrt(shape(bound, middle) / shape(area.value, middle))
        assert abs(area.value - bound) / error == pytest.approx(t.ppf(0.975, freedom), rel=1e-6)


def folds_and_repeats(seed=0, repeats=2, n_folds=4):
    rng = np.random.default_rng(seed)
    y, a, _ = cohort(seed=seed)
    fold = np.stack([rng.permutation(np.arange(len(y)) % n_folds) for _ in range(repeats)])
    return y, a + rng.normal(size=fold.shape) * 0.3, fold


def test_in_cross_validation_the_area_is_the_mean_over_folds_and_repeats():
    y, scores, fold = folds_and_repeats()
    each = [roc_auc_score(y[f == k], s[f == k]) for s, f in zip(scores, fold, strict=True) for k in range(4)]
    assert auroc(y, scores, Design(fold)).value == pytest.approx(np.mean(each), rel=1e-12)


def test_an_offset_of_one_fold_changes_nothing_though_pooling_would():
    y, scores, fold = folds_and_repeats()
    before, moved = auroc(y, scores, Design(fold)), scores + 10.0 * (fold == 1)
    after = auroc(y, moved, Design(fold))
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
    assert auroc(y, scores, Design(fold)).influence.sum() == pytest.approx(0, abs=1e-9)


def test_identical_repeats_carry_no_more_information_than_one():
    y, scores, fold = folds_and_repeats(repeats=1)
    once, thrice = auroc(y, scores, Design(fold)), auroc(y, np.tile(scores, (3, 1)), Design(np.tile(fold, (3, 1))))
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
        area = auroc(y, scores, Design(fold))
        covered += area.low <= truth <= area.high
    assert 0.92 <= covered / 400 <= 0.98


def test_under_no_difference_the_paired_test_rejects_about_five_percent():
    rng, rejected, y = np.random.default_rng(5), 0, np.arange(200) < 40
    for _ in range(400):
        fold = Design(rng.permutation(200)[None] % 5)
        common = rng.normal(size=200) + y
        a, b = (auroc(y, common + rng.normal(size=200), fold) for _ in range(2))
        rejected += compare(y, a, b).p < 0.05
    assert 0.025 <= rejected / 400 <= 0.08


def test_a_fold_without_positives_is_left_out():
    y, scores, fold = np.array([1, 0, 1, 0, 0, 0]), np.array([2.0, 1, 1, 2, 9, 9]), np.array([[0, 0, 0, 0, 1, 1]])
    assert auroc(y, scores, Design(fold)).value == roc_auc_score(y[:4], scores[:4])


def test_what_cannot_be_estimated_is_nan_with_a_note_and_no_exception():
    none = auroc([0, 0, 0], [1.0, 2, 3])
    assert np.isnan([none.value, none.low, none.high]).all()
    assert none.note == "no pair of both classes"
    empty = auroc([], np.empty((1, 0)))
    assert np.isnan(empty.value)


@pytest.mark.parametrize(("positives", "negatives"), [(5, 20), (22, 341), (1, 9), (3, 3)])
def test_an_area_without_variance_gets_the_bound_at_which_it_lies_at_the_edge_of_chance(positives, negatives):
    y = np.arange(positives + negatives) < positives
    perfect = auroc(y, y.astype(float))
    low = perfect.low
    assert (perfect.value, perfect.high) == (1, 1)
    assert "Newcombe 2006" in perfect.note
    # At the bound the area of 1 lies 1.96 errors away, both class sizes replaced by their mean (method 5).
    variance = shape(low, (positives + negatives) / 2 - 1) / (positives * negatives)
    assert 1 - low == pytest.approx(1.959963984540054 * np.sqrt(variance))
    # The worst area mirrors it, and more patients narrow it.
    worst = auroc(y, -y.astype(float))
    assert (worst.low, worst.high) == (0, pytest.approx(1 - low))
    more = np.arange(2 * positives + 2 * negatives) < 2 * positives
    assert auroc(more, more.astype(float)).low > low


def test_one_positive_patient_still_gives_an_interval():
    one = auroc([1, 0, 0], [2.0, 1, 3])
    assert one.value == 0.5
    assert 0 < one.low < 0.5 < one.high < 1


def by_brute_force(y, scores, fold, site):
    """The mean area of folds without each site in turn."""
    areas = []
    for left in np.unique(site):
        each = []
        for s, f in zip(scores, fold, strict=True):
            for k in np.unique(f):
                here = (f == k) & (site != left)
                if 0 < y[here].sum() < here.sum():
                    each.append(roc_auc_score(y[here], s[here]))
        areas.append(np.mean(each))
    return np.array(areas)


@pytest.mark.parametrize("ties", [False, True])
def test_the_error_by_site_is_the_jackknife_over_sites(ties):
    y, scores, fold = folds_and_repeats()
    scores = np.round(scores) if ties else scores
    site = np.random.default_rng(1).integers(0, 9, len(y)).astype(str)
    found = auroc(y, scores, Design(fold, site.tolist(), 4))
    areas = by_brute_force(y, scores, fold, site)
    np.testing.assert_allclose(found.left_out.areas, areas)
    jackknife = np.sqrt(8 / 9 * np.sum((areas - areas.mean()) ** 2))
    assert found.spread.by_site == pytest.approx(jackknife)
    larger = max(jackknife, found.spread.by_patient)
    assert found.standard_error == pytest.approx(larger * np.sqrt(1 + 4 / 3))


def test_the_error_by_site_within_strata_is_the_jackknife_over_sites():
    y, scores, fold = folds_and_repeats(repeats=1)
    rng = np.random.default_rng(2)
    site, stratum = rng.integers(0, 8, len(y)).astype(str), rng.choice(["a", "b"], len(y))
    found = stratified_auroc(y, scores, Design(fold, site.tolist()), stratum)
    for i, left in enumerate(np.unique(site)):
        ordered = pairs = 0
        for k in range(4):
            for one in "ab":
                here = (fold[0] == k) & (stratum == one) & (site != left)
                n = y[here].sum() * (1 - y[here]).sum()
                if n:
                    ordered, pairs = ordered + n * roc_auc_score(y[here], scores[0, here]), pairs + n
        assert found.left_out.areas[i] == pytest.approx(ordered / pairs)


def test_scores_that_only_tell_sites_get_a_wide_interval_and_independent_ones_do_not():
    rng = np.random.default_rng(4)
    wide, plain = [], []
    for _ in range(60):
        site = rng.integers(0, 12, 300)
        y = rng.random(300) < rng.uniform(0.02, 0.4, 12)[site]
        score = rng.normal(size=12)[site] + 0.1 * rng.normal(size=300)
        by_site = auroc(y, score, one_cohort(300, [f"s{x}" for x in site]))
        wide.append(by_site.spread.by_site / by_site.spread.by_patient)
        own = auroc(y, rng.normal(size=300), one_cohort(300, [f"s{x}" for x in site]))
        plain.append(own.spread.by_site / own.spread.by_patient)
    assert np.median(wide) > 1.5
    assert 0.8 < np.median(plain) < 1.3


def test_few_sites_with_positives_are_reported_and_not_used():
    y, a, _ = cohort()
    site = np.array([f"s{i % 5}" for i in range(len(y))])
    few = auroc(y, a, one_cohort(len(y), site.tolist()))
    assert (few.spread.sites, few.spread.sites_with_positives, few.spread.site_counts) == (5, 5, False)
    assert few.spread.by_site > 0
    assert (few.low, few.high) == (auroc(y, a).low, auroc(y, a).high)


def test_patients_of_unknown_site_are_clusters_of_their_own():
    y, a, _ = cohort()
    site = ["x"] * 20 + [""] * (len(y) - 20)
    found = auroc(y, a, one_cohort(len(y), site))
    assert found.spread.sites == 1 + len(y) - 20
    assert found.spread.sites_with_positives == 1
    # With every patient alone, the jackknife over patients is nearly DeLong's error.
    alone = auroc(y, a, one_cohort(len(y), ["", *[""] * (len(y) - 2), "x"]))
    assert alone.spread.by_site == pytest.approx(alone.spread.by_patient, rel=0.03)


@pytest.mark.parametrize(("folds", "inflation"), [(1, 1.0), (2, np.sqrt(3)), (5, 1.5), (10, np.sqrt(1 + 10 / 9))])
def test_models_that_share_training_patients_widen_the_error_by_nadeau_and_bengios_factor(folds, inflation):
    y, a, _ = cohort()
    fold = np.arange(len(y))[None] % folds
    plain, wide = auroc(y, a, Design(fold)), auroc(y, a, Design(fold, (), folds))
    assert wide.standard_error == pytest.approx(inflation * plain.standard_error)
    assert auroc(y, a, Design(fold, (), folds).unfitted()).low == plain.low
    b = a + np.random.default_rng(0).normal(size=len(y))
    both = [compare(y, auroc(y, a, Design(fold, (), k)), auroc(y, b, Design(fold))) for k in (1, folds)]
    assert both[1].standard_error == pytest.approx(inflation * both[0].standard_error)


def test_two_areas_without_variance_are_compared_by_their_exact_bounds():
    y = np.arange(30) < 8
    perfect, constant = auroc(y, y.astype(float)), auroc(y, np.zeros(30))
    found = compare(y, perfect, constant)
    assert found.value == 0.5
    assert (found.low, found.high) == (pytest.approx(perfect.low - 0.5), 0.5)


def test_a_constant_score_has_an_area_of_one_half():
    constant = auroc([1, 1, 0, 0, 0], np.zeros(5))
    assert (constant.value, constant.low, constant.high) == (0.5, 0.5, 0.5)
    assert "the same score for everyone" in constant.note


def test_a_model_against_itself_has_no_p():
    y, a, _ = cohort()
    same = compare(y, auroc(y, a), auroc(y, 2 * a + 1))
    assert same.value == 0
    assert (same.low, same.high) == (0, 0)
    assert np.isnan(same.p)
    assert same.note == "both rank patients the same way"


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
