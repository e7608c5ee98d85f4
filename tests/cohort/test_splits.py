"""Folds: a partition of patients, balanced, and whole sites on request."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kras_plugins import ConfigError
from kras_plugins.cohort.splits import SITE_SLACK, folds, holdout, imbalance


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[np.ndarray, list[str], list[str], int, int]:
    n_folds = draw(st.integers(2, 5))
    n = draw(st.integers(2 * n_folds, 80))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), np.int8)
    labels[:n_folds], labels[n_folds : 2 * n_folds] = 0, 1
    strata = draw(st.lists(st.sampled_from(["LUAD", "LUSC", "rare"]), min_size=n, max_size=n))
    sites = draw(st.lists(st.sampled_from("abcdefgh"), min_size=n, max_size=n))
    return labels, strata, sites, n_folds, draw(st.integers(0, 2**31))


@settings(deadline=None, max_examples=60)
@given(cohorts())
def test_random_folds_differ_by_at_most_one_in_size_label_and_stratum(cohort: tuple) -> None:
    labels, strata, sites, n_folds, seed = cohort
    fold = folds(labels, strata, sites, n_folds, seed)
    assert fold.shape == labels.shape
    assert set(fold.tolist()) == set(range(n_folds))
    groups = [np.ones(len(labels), bool), labels == 1, labels == 0]
    groups += [(labels == y) & (np.array(strata) == s) for y in (0, 1) for s in set(strata)]
    for group in groups:
        counts = np.bincount(fold[group], minlength=n_folds)
        assert counts.max() - counts.min() <= 1


@settings(deadline=None, max_examples=30)
@given(cohorts())
def test_random_folds_do_not_heed_the_names_of_strata_or_any_site(cohort: tuple) -> None:
    labels, strata, sites, n_folds, seed = cohort
    renamed = {"LUAD": "z", "LUSC": "a", "rare": "m"}
    np.testing.assert_array_equal(
        folds(labels, strata, sites, n_folds, seed),
        folds(labels, [renamed[s] for s in strata], [""] * len(sites), n_folds, seed),
    )


def test_another_seed_gives_other_folds_and_the_same_seed_the_same() -> None:
    labels = np.repeat([1, 0], 20).astype(np.int8)
    strata, sites = ["LUAD"] * 40, ["a"] * 40
    first, again, other = (folds(labels, strata, sites, 5, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_patient_is_equally_likely_in_every_fold_with_every_other() -> None:
    labels = np.repeat([1, 0], 6).astype(np.int8)
    drawn = np.array([folds(labels, ["x"] * 12, ["a"] * 12, 3, seed) for seed in range(600)])
    shares = np.stack([(drawn == k).mean(axis=0) for k in range(3)])
    assert np.abs(shares - 1 / 3).max() < 0.09
    together = (drawn[:, 0] == drawn[:, 11]).mean()  # one of four negatives' places in three folds of two: 1/3
    assert together == pytest.approx(1 / 3, abs=0.07)


@pytest.mark.parametrize("scheme", ["random", "site"])
@pytest.mark.parametrize(("positives", "word"), [(2, "positive"), (9, "negative")])
def test_fewer_patients_of_a_class_than_folds_are_refused(scheme: str, positives: int, word: str) -> None:
    labels = (np.arange(11) < positives).astype(np.int8)
    with pytest.raises(ConfigError, match=f"2 {word} patients") as caught:
        folds(labels, ["x"] * 11, [str(i) for i in range(11)], 3, 0, scheme)
    assert "2 folds" in caught.value.hint


def brute_force(labels: np.ndarray, strata: list[str], sites: list[str], n_folds: int) -> float:
    """The least imbalance over all assignments of sites to folds in which every fold has both classes."""
    names = sorted(set(sites))
    best = np.inf
    for assignment in itertools.product(range(n_folds), repeat=len(names)):
        fold = np.array([assignment[names.index(site)] for site in sites])
        if all(set(labels[fold == k].tolist()) == {0, 1} for k in range(n_folds)):
            best = min(best, imbalance(fold, labels, strata, n_folds))
    return best


@pytest.mark.parametrize("seed", range(6))
def test_site_folds_are_as_balanced_as_the_best_of_all_assignments(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, n_folds = 60, 2 + seed % 2
    sites = ["ABCDEFG"[i] for i in rng.choice(7, n, p=[0.3, 0.2, 0.15, 0.1, 0.1, 0.1, 0.05])]
    labels = (rng.random(n) < 0.35).astype(np.int8)
    strata = ["LUAD" if u < 0.6 else "LUSC" for u in rng.random(n)]
    fold = folds(labels, strata, sites, n_folds, seed, "site")
    assert all(len(set(fold[np.array(sites) == site].tolist())) == 1 for site in set(sites))
    assert all(set(labels[fold == k].tolist()) == {0, 1} for k in range(n_folds))
    best = brute_force(labels, strata, sites, n_folds)
    assert best - 1e-9 <= imbalance(fold, labels, strata, n_folds) <= best + SITE_SLACK


def test_imbalance_is_the_mean_relative_deviation_worked_out_by_hand() -> None:
    fold = np.array([0, 0, 0, 1])
    labels = np.array([1, 1, 0, 0], np.int8)
    # patients 3 and 1 about a mean of 2: 0.5; positives 2 and 0 about 1: 1; "a" 2 and 0: 1; "b" 1 and 1: 0
    assert imbalance(fold, labels, ["a", "a", "b", "b"], 2) == pytest.approx(2.5)
    assert imbalance(fold, labels, ["a"] * 4, 2) == pytest.approx(1.5)


def test_site_folds_do_not_heed_the_names_of_sites() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random(80) < 0.4).astype(np.int8)
    sites = [str(i) for i in rng.integers(0, 9, 80)]
    renamed = [f"site {9 - int(site)}" for site in sites]
    np.testing.assert_array_equal(
        folds(labels, ["x"] * 80, sites, 3, 4, "site"), folds(labels, ["x"] * 80, renamed, 3, 4, "site")
    )


def test_seeds_give_different_site_folds_that_are_equally_good() -> None:
    rng = np.random.default_rng(2)
    labels = (rng.random(200) < 0.3).astype(np.int8)
    sites = [str(i) for i in rng.integers(0, 14, 200)]
    found = [folds(labels, ["x"] * 200, sites, 4, seed, "site") for seed in range(4)]
    partitions = {frozenset(frozenset(np.flatnonzero(f == k).tolist()) for k in range(4)) for f in found}
    assert len(partitions) > 1
    balance = [imbalance(f, labels, ["x"] * 200, 4) for f in found]
    assert max(balance) - min(balance) <= SITE_SLACK


def test_too_few_sites_with_a_positive_are_refused_with_what_to_do() -> None:
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0], np.int8)
    sites = ["a", "a", "b", "b", "a", "b", "c", "d"]
    with pytest.raises(ConfigError, match="only 2 of 4 sites have a positive patient") as caught:
        folds(labels, ["x"] * 8, sites, 3, 0, "site")
    assert "at most 2 folds or --splits random" in caught.value.hint


def test_unknown_sites_are_not_taken_for_one_site() -> None:
    with pytest.raises(ConfigError, match="2 patients have no site"):
        folds(np.array([1, 1, 0, 0], np.int8), ["x"] * 4, ["a", "", "b", ""], 2, 0, "site")


def test_tcga_sites_are_balanced_within_a_few_patients(shared_data: Path) -> None:
    with (shared_data / "tcga" / "kras_labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = np.array([int(row["kras_g12c"]) for row in rows], np.int8)
    sites = [row["PATIENT_BARCODE"].split("-")[1] for row in rows]
    fold = folds(labels, [row["DISEASE"] for row in rows], sites, 3, 0, "site")
    assert all(len(held) == 1 for held in (set(fold[np.array(sites) == s].tolist()) for s in set(sites)))
    assert max(Counter(fold.tolist()).values()) - min(Counter(fold.tolist()).values()) <= 10
    assert np.ptp(np.bincount(fold[labels == 1])) <= 2


@settings(deadline=None, max_examples=60)
@given(cohorts(), st.floats(0.05, 0.6))
def test_holdout_takes_its_share_of_each_class_and_leaves_both(cohort: tuple, fraction: float) -> None:
    labels, strata, sites, _, seed = cohort
    held = holdout(labels, strata, sites, fraction, seed)
    assert held.dtype == bool
    for value in (0, 1):
        members = labels == value
        assert 1 <= held[members].sum() < members.sum()
        assert abs(held[members].sum() - fraction * members.sum()) <= 1
        for stratum in set(strata):
            group = members & (np.array(strata) == stratum)
            assert abs(held[group].sum() - held[members].sum() * group.sum() / members.sum()) <= 1


def test_the_only_patient_of_a_class_is_not_held_out() -> None:
    labels = np.array([1, *[0] * 9], np.int8)
    held = holdout(labels, ["x"] * 10, ["a"] * 10, 0.3, 0)
    assert not held[0]
    assert held.sum() == 3


@settings(deadline=None, max_examples=60)
@given(cohorts(), st.floats(0.1, 0.5))
def test_a_holdout_by_site_holds_whole_sites_and_leaves_both_labels_on_both_sides(
    cohort: tuple, fraction: float
) -> None:
    labels, strata, sites, _, seed = cohort
    of = np.array(sites)
    possible = any(
        all(len(set(labels[side].tolist())) == 2 for side in (part, ~part))
        for n in range(1, len(set(sites)))
        for chosen in itertools.combinations(sorted(set(sites)), n)
        for part in [np.isin(of, chosen)]
    )
    if not possible:
        with pytest.raises(ConfigError, match="no set of whole sites"):
            holdout(labels, strata, sites, fraction, seed, "site")
        return
    held = holdout(labels, strata, sites, fraction, seed, "site")
    assert not set(of[held]) & set(of[~held])
    assert set(labels[held].tolist()) == set(labels[~held].tolist()) == {0, 1}


def test_a_holdout_by_site_of_many_sites_takes_its_share_of_patients_positives_and_strata() -> None:
    rng = np.random.default_rng(5)
    labels = (rng.random(600) < 0.1).astype(np.int8)
    strata = rng.choice(["LUAD", "LUSC"], 600)
    sites = [f"s{i}" for i in rng.integers(0, 40, 600)]
    parts = [holdout(labels, strata.tolist(), sites, 0.2, seed, "site") for seed in range(5)]
    for held in parts:
        for group in (np.ones(600, bool), labels == 1, strata == "LUAD", strata == "LUSC"):
            assert held[group].mean() == pytest.approx(0.2, abs=0.04)
    assert len({held.tobytes() for held in parts}) == 5  # seeds differ


def test_a_holdout_by_site_needs_every_site_known() -> None:
    with pytest.raises(ConfigError, match="1 patients have no site"):
        holdout(np.array([1, 1, 0, 0], np.int8), ["x"] * 4, ["a", "", "b", "c"], 0.5, 0, "site")
