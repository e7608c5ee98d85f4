"""A permutation test is exact within its groups, detects real effects and nothing else, and survives being killed."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from kras_plugins import ConfigError
from kras_plugins.evaluation.auroc import auroc
from kras_plugins.evaluation.design import Design
from kras_plugins.learning.experiment import cross_validate
from kras_plugins.learning.permutation import PermutationTest, arrangements, draw, permutation_test
from kras_plugins.store import Store, make_key

MADE_FROM = make_key("experiment", what="tests")


@given(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from("abc"), st.sampled_from("xy")), min_size=1), st.integers(0)
)
def test_each_group_keeps_its_number_of_positives_in_every_permutation(patients, seed):
    labels = np.array([label for label, _, _ in patients])
    groups = [(stratum, site) for _, stratum, site in patients]
    for drawn in draw(labels, groups, 5, seed % 2**63):
        for group in set(groups):
            here = [g == group for g in groups]
            assert drawn[here].sum() == labels[here].sum()


def test_every_arrangement_within_the_groups_is_equally_likely():
    labels, groups = [1, 1, 0, 0, 1, 0, 0], list("aabbaba")
    assert arrangements(labels, groups) == 4  # three of four in a, none of three in b
    drawn, counts = np.unique(draw(labels, groups, 2000, 0), axis=0, return_counts=True)
    assert len(drawn) == 4
    assert chisquare(counts).pvalue > 0.01


def test_a_permutation_is_the_same_however_many_there_are_and_whatever_the_order_of_groups():
    labels, groups = np.arange(30) % 3 == 0, ["a", "b"] * 15
    np.testing.assert_array_equal(draw(labels, groups, 3, 7), draw(labels, groups, 9, 7)[:3])
    assert (draw(labels, groups, 3, 7) != draw(labels, groups, 3, 8)).any()


def p_of(statistic, labels, groups, permutations, seed):
    drawn = draw(labels, groups, permutations, seed)
    return PermutationTest(observed=statistic(labels), permuted=np.array([statistic(one) for one in drawn])).p


def test_p_is_the_share_of_all_arrangements_that_reach_the_observed_one():
    """Two groups of four with two positives each: 36 arrangements, all counted here one by one."""
    x = np.array([3.1, 0.2, 1.7, 0.4, 2.2, 2.9, 0.1, 1.3])
    labels, groups = np.array([1, 0, 1, 0, 0, 1, 1, 0]), list("aaaabbbb")
    every = [x[[*one, *other]].sum() for one in combinations(range(4), 2) for other in combinations(range(4, 8), 2)]
    reached = np.mean(np.array(every) >= x @ labels - 1e-9)
    p = p_of(lambda y: x @ y, labels, groups, 1999, 0)
    assert p == pytest.approx(reached, abs=4 * np.sqrt(reached * (1 - reached) / 1999))


def test_p_is_uniform_where_there_is_nothing_to_find():
    rng, labels, groups = np.random.default_rng(0), np.arange(40) % 4 == 0, ["a", "b"] * 20
    found = []
    for seed in range(600):
        x = rng.normal(size=40)
        found.append(round(20 * p_of(lambda y, x=x: x @ y, labels, groups, 19, seed)))
    counts = np.bincount(found, minlength=21)
    assert counts[0] == 0
    assert chisquare(counts[1:]).pvalue > 0.01


def test_values_that_differ_by_rounding_alone_reach_the_observed_one():
    assert PermutationTest(observed=0.1 + 0.2, permuted=np.full(19, 0.3)).p == 1


def test_what_cannot_be_fitted_counts_against_the_study():
    test = PermutationTest(observed=0.9, permuted=np.array([0.5, np.nan, 0.4]))
    assert (test.p, test.failed, test.null_mean) == (0.5, 1, pytest.approx(0.45))


def test_without_permutations_or_without_a_value_there_is_no_p():
    assert np.isnan(PermutationTest(observed=0.9, permuted=np.zeros(0)).p)
    assert np.isnan(PermutationTest(observed=np.nan, permuted=np.zeros(9)).p)


class Killed(BaseException):
    pass


def test_a_killed_test_goes_on_at_the_permutation_it_was_in_and_ends_the_same(tmp_path):
    drawn, x = draw(np.arange(20) % 2, ["a"] * 20, 19, 0), np.random.default_rng(1).normal(size=20)
    fitted = []

    def refit(b, labels, scratch):
        fitted.append(b)
        scratch.make(make_key("fit", b=b), lambda folder: (folder / "much").write_bytes(bytes(99)))
        return float(x @ labels)

    def killed(b, labels, scratch):
        value = refit(b, labels, scratch)
        if b == 6:
            raise Killed
        return value

    whole = permutation_test(1.0, drawn, refit, store=Store(tmp_path / "whole"), made_from=MADE_FROM)
    fitted.clear()
    store = Store(tmp_path / "cut")
    with pytest.raises(Killed):
        permutation_test(1.0, drawn, killed, store=store, made_from=MADE_FROM)
    assert fitted == [*range(7)]
    again = permutation_test(1.0, drawn, refit, store=store, made_from=MADE_FROM)
    assert fitted == [*range(7), *range(6, 19)]
    assert again.p == whole.p
    np.testing.assert_array_equal(again.permuted, whole.permuted)
    assert {entry.kind for entry in store.entries()} == {"permutation"}  # fits are dropped
    assert not list(store.root.rglob("much"))


def test_what_lies_ahead_is_told_once_from_the_first_refit_that_was_made(tmp_path, monkeypatch):
    clock = iter(np.arange(0, 1000, 5.0))
    monkeypatch.setattr("kras_plugins.learning.permutation.time.monotonic", lambda: next(clock))
    drawn, told, store = draw(np.arange(40) % 2, ["a"] * 40, 19, 0), [], Store(tmp_path)
    for some in (4, 19):
        permutation_test(
            0.0, drawn[:some], lambda *_: 0.0, store=store, made_from=MADE_FROM, ahead=lambda *left: told.append(left)
        )
    assert told == [(3, 15.0), (14, 70.0)]


def test_another_experiment_or_other_labels_share_no_value(tmp_path):
    drawn, store = draw(np.arange(40) % 2, ["a"] * 40, 19, 0), Store(tmp_path)
    first = permutation_test(0.0, drawn, lambda b, *_: float(b), store=store, made_from=MADE_FROM)
    other = permutation_test(
        0.0, drawn, lambda b, *_: -float(b), store=store, made_from=make_key("experiment", what="other")
    )
    np.testing.assert_array_equal(first.permuted, np.arange(19))
    np.testing.assert_array_equal(other.permuted, -np.arange(19))


def test_labels_that_cannot_be_fitted_are_tried_again_and_have_no_value(tmp_path):
    drawn, store = draw(np.arange(40) % 2, ["a"] * 40, 3, 0), Store(tmp_path)

    def refit(b, *_):
        if b == 1:
            raise ConfigError("one class only", "none")
        return float(b)

    test = permutation_test(9.0, drawn, refit, store=store, made_from=MADE_FROM)
    np.testing.assert_array_equal(test.permuted, [0, np.nan, 2])
    assert len(list(store.entries())) == 2


def refitted(people, members, root, groups):
    """p of the whole nested cross-validation, as a study makes it."""

    def statistic(labels, store):
        design = {"folds": 2, "inner_folds": 2, "keep_models": False, "store": store, "sample_keys": people.keys}
        result = cross_validate(people.samples, labels, people.strata, people.sites, members, **design)
        return auroc(result.labels, result.ensemble.strict, Design(result.fold)).value

    store = Store(root)
    return permutation_test(
        statistic(people.labels, store), draw(people.labels, groups, 19, 0), lambda _b, *args: statistic(*args),
        store=store, made_from=MADE_FROM,
    )  # fmt: skip


def test_a_real_signal_is_beyond_all_permutations_and_their_models_are_not_kept(tmp_path, make_people, make_member):
    people = make_people(n=60, signal=3.0)
    test = refitted(people, [make_member()], tmp_path, people.strata)
    assert test.p == 1 / 20
    assert test.null_mean == pytest.approx(0.5, abs=0.1)
    assert not list(tmp_path.rglob("model"))
    # the two outer folds of the study itself, and a number per permutation
    assert len(list(Store(tmp_path).entries())) == 2 + 19


def test_what_histology_alone_says_is_no_signal_unless_labels_are_permuted_freely(tmp_path, make_people, make_member):
    within, freely = [], []
    for seed in range(2):
        people = make_people(n=120, signal=0.0, seed=seed)
        common = np.arange(120) % 2 == 0
        people.labels[:] = common & (np.random.default_rng(seed).random(120) < 0.5)
        people.strata[:] = np.where(common, "LUAD", "LUSC").tolist()
        for sample, here in zip(people.samples, common, strict=True):
            sample.profile.values[0] += 4 * here
        for found, groups in ((within, people.strata), (freely, ["all"] * 120)):
            found.append(refitted(people, [make_member()], tmp_path / f"{seed}{len(set(groups))}", groups).p)
    assert freely == [1 / 20] * 2
    assert min(within) > 0.2
