"""Models learn from all patients; calibration, fusion and thresholds from those who can get a call."""

from __future__ import annotations

import numpy as np
import pytest

from kras_plugins.cohort.splits import folds, holdout
from kras_plugins.cohort.table import Patient
from kras_plugins.evaluation.baselines import Known
from kras_plugins.evaluation.evaluated import FEWEST_POSITIVES, Evaluated
from kras_plugins.evaluation.summary import summarize
from kras_plugins.learning.calibration import fit_platt
from kras_plugins.learning.experiment import cross_validate
from kras_plugins.store import Store


@pytest.fixture
def stubborn(ridge):
    """A classifier that learns nothing: its score is the sum of a patient's features."""

    class Stubborn(ridge):
        def fit(self, train, valid):
            pass

        def predict(self, samples):
            return np.array([s.profile.values.sum() for s in samples], np.float32)

        def save(self, folder):
            pass

    return Stubborn


def run(people, members, root, **options):
    return cross_validate(
        *people.arguments, members, store=Store(root), sample_keys=people.keys, keep_models=False, **options
    )


def scope_of(people):
    return np.array([stratum == "LUAD" for stratum in people.strata])


def changed(people, who):
    """The same patients with some labels flipped."""
    labels = people.labels.copy()
    labels[who] = 1 - labels[who]
    return type(people)(people.samples, labels, people.strata, people.sites)


@pytest.mark.parametrize("fusion", ["logit", "stacked", "rank"])
def test_labels_out_of_scope_move_no_calibration_and_no_fusion(tmp_path, make_people, make_member, stubborn, fusion):
    people = make_people(120, signal=0.8)
    scope, fold = scope_of(people), np.arange(120) % 4
    outside, inside = np.flatnonzero(~scope), np.flatnonzero(scope & (people.labels == 0))[:6]

    def lines(of, root):
        found = run(of, [make_member(stubborn)], root, given_folds=fold, in_scope=scope, fusion=fusion)
        return found, [(line.slope, line.intercept) for line in found.platt["ridge"][0]]

    found, before = lines(people, tmp_path / "a")
    after, same = lines(changed(people, outside), tmp_path / "b")
    assert np.allclose(same, before)
    np.testing.assert_allclose(after.ensemble.strict, found.ensemble.strict, atol=1e-6)
    assert not np.allclose(lines(changed(people, inside), tmp_path / "c")[1], before)


def test_the_line_is_platts_of_the_scores_in_scope(tmp_path, make_people, make_member, stubborn):
    people = make_people(120, signal=0.8)
    scope = scope_of(people)
    found = run(people, [make_member(stubborn)], tmp_path, in_scope=scope)
    raw = np.array([s.profile.values.sum() for s in people.samples], np.float32).astype(float)
    for k, line in enumerate(found.platt["ridge"][0]):
        train = scope & (found.fold[0] != k)
        expected = fit_platt(raw[train], people.labels[train])
        assert (line.slope, line.intercept) == pytest.approx((expected.slope, expected.intercept), rel=1e-4)
    # All are scored, whether in scope or not.
    assert np.isfinite(found.logit["ridge"]).all()


def test_models_learn_from_all_patients(tmp_path, make_people, make_member, ridge):
    seen = []

    class Spy(ridge):
        def fit(self, train, valid):
            seen.append(len(train) + len(valid))
            super().fit(train, valid)

    people = make_people(100)
    run(people, [make_member(Spy)], tmp_path, in_scope=scope_of(people), folds=5)
    assert max(seen) == 80


@pytest.mark.parametrize("seed", range(5))
def test_positives_in_scope_are_spread_evenly_over_folds(seed):
    rng = np.random.default_rng(seed)
    strata = rng.choice(["LUAD", "NSCLC", "", "LUSC", "SCLC"], 300).tolist()
    scope = np.array([s not in ("LUSC", "SCLC") for s in strata])
    labels = (rng.random(300) < np.where(scope, 0.2, 0.05)).astype(np.int8)
    fold = folds(labels, strata, [""] * 300, 5, seed, "random", scope)
    for who in (labels == 1, (labels == 1) & scope, (labels == 0) & scope):
        counts = np.bincount(fold[who], minlength=5)
        assert counts.max() - counts.min() <= 1
    held = holdout(labels, strata, [""] * 300, 0.2, seed, "random", scope)
    positives = scope & (labels == 1)
    assert abs(held[positives].sum() - 0.2 * positives.sum()) <= 1.5


def test_whole_sites_are_dealt_by_their_positives_in_scope_too():
    rng = np.random.default_rng(1)
    sites = [f"s{i}" for i in rng.integers(0, 25, 400)]
    scope = np.array([int(s[1:]) % 2 == 0 for s in sites])  # every other site has only patients out of scope
    labels = (rng.random(400) < 0.2).astype(np.int8)
    strata = np.where(scope, "LUAD", "LUSC").tolist()
    fold = folds(labels, strata, sites, 5, 0, "site", scope)
    counts = np.bincount(fold[scope & (labels == 1)], minlength=5)
    assert counts.min() >= 0.5 * counts.mean()
    assert all(len(set(fold[np.array(sites) == s])) == 1 for s in set(sites))


def summary_of(tmp_path, make_people, make_member, ridge, positives):
    """A study with this many positive patients in scope."""
    people = make_people(150, signal=2.0, prevalence=0.3)
    rank = np.cumsum(people.labels)
    outside = [
        "" if not y or r <= positives else "out of scope: squamous" for y, r in zip(people.labels, rank, strict=True)
    ]
    scope = np.array([not reason for reason in outside])
    experiment = run(people, [make_member(ridge)], tmp_path, in_scope=scope, folds=3)
    patients = [
        Patient(patient_id=s.patient_id, slides=(), label=int(y), histology="LUAD" if here else "LUSC", site=site)
        for s, y, here, site in zip(people.samples, people.labels, scope, people.sites, strict=True)
    ]
    known = Known(histology=[p.histology for p in patients])
    scored = Evaluated.from_cross_validation(experiment, patients, known, outside)
    return scored, summarize(scored, target="g12c", cohort_flow={})


def test_fewer_than_ten_positives_in_scope_set_no_threshold(tmp_path, make_people, make_member, ridge):
    scored, metrics = summary_of(tmp_path, make_people, make_member, ridge, FEWEST_POSITIVES - 1)
    assert np.isnan(scored.ensemble.thresholds["rule_out"]).all()
    assert set(scored.frozen["ensemble"].values()) == {None}
    assert metrics["models"]["ensemble"]["operating_points"]["rule_out"]["threshold"] is None
    assert any(note.startswith("No thresholds: 9 positive patients are in scope") for note in metrics["notes"])
    assert metrics["triage"]["verdict"] == "no threshold could be set"


def test_ten_positives_in_scope_set_thresholds_from_patients_in_scope(tmp_path, make_people, make_member, ridge):
    scored, metrics = summary_of(tmp_path, make_people, make_member, ridge, FEWEST_POSITIVES)
    assert np.isfinite(scored.ensemble.thresholds["rule_out"]).all()
    assert metrics["scope"]["n_positive"] == FEWEST_POSITIVES == metrics["n_positive"]
    assert metrics["all_patients_pooled"]["ensemble"]["n"] == 150
    # Of the ten positives nine must lie at or above a threshold of sensitivity 0.9, whatever those out of scope score.
    logit, cut = scored.ensemble.logit[0], scored.frozen["ensemble"]["target_sensitivity"]
    ours = scored.in_scope & (scored.labels > 0)
    assert (logit[ours] >= cut).sum() >= 9
    assert cut in logit[ours]


def test_a_fold_whose_calibration_is_flat_ranks_by_raw_scores(tmp_path, make_people, make_member, stubborn):
    people = make_people(120, signal=-0.6)  # scores run backwards, so that every slope is held at 0
    scope = np.ones(120, bool)
    experiment = run(people, [make_member(stubborn)], tmp_path, in_scope=scope)
    assert {line.slope for line in experiment.platt["ridge"][0]} == {0.0}
    patients = [Patient(patient_id=s.patient_id, slides=(), label=int(y), histology="LUAD")
                for s, y in zip(people.samples, people.labels, strict=True)]  # fmt: skip
    scored = Evaluated.from_cross_validation(experiment, patients, Known(histology=["LUAD"] * 120), [""] * 120)
    metrics = summarize(scored, target="g12c", cohort_flow={})
    for name in ("ridge", "ensemble"):
        area = metrics["models"][name]["auroc"]
        assert area["value"] < 0.5
        assert area["value"] == pytest.approx(metrics["models"]["ridge"]["uncalibrated_auroc"])
        assert area["low"] < area["value"] < area["high"]
        assert "found nothing in 5 of 5 folds" in area["note"]
