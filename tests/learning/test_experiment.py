from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kras_plugins import Bag, ConfigError, PluginError, StoreError
from kras_plugins.learning.experiment import cross_validate
from kras_plugins.learning.plan import derive_seed
from kras_plugins.store import Store


def run(people, members, root, **options):
    return cross_validate(*people.arguments, members, store=Store(root), sample_keys=people.keys, **options)


@pytest.fixture
def spy(ridge):
    """A classifier that records who it was shown: one (fit, valid, scored) entry per fit."""
    seen = []

    class Spy(ridge):
        def fit(self, train, valid):
            self.seen = [{s.patient_id for s in train.samples}, {s.patient_id for s in valid.samples}, set()]
            seen.append(self.seen)
            super().fit(train, valid)

        def predict(self, samples):
            self.seen[2] |= {s.patient_id for s in samples}
            return super().predict(samples)

    Spy.log = seen
    return Spy


@pytest.mark.parametrize("scheme", ["random", "site"])
def test_no_fit_of_an_outer_fold_ever_sees_a_patient_of_its_test_fold(tmp_path, make_people, make_member, spy, scheme):
    people = make_people()
    result = run(people, [make_member(spy)], tmp_path, folds=4, repeats=2, scheme=scheme)
    ids = np.array(result.patient_ids)
    fits = iter(spy.log)
    for r, k in np.ndindex(2, 4):
        test = set(ids[result.fold[r] == k])
        inner = [next(fits) for _ in range(3)]
        outer = next(fits)
        assert outer[2] == test
        for fit, valid, scored in [*inner, outer]:
            assert not (fit | valid) & test
            assert not fit & valid
            assert not (fit | valid) & scored
        # Inner scores cover the outer-training part, each patient once.
        counted = Counter(p for _, _, scored in inner for p in scored)
        assert counted == dict.fromkeys(set(ids) - test, 1)
    assert next(fits, None) is None


def test_a_label_hidden_in_the_samples_stays_unknown_to_the_test_fold(tmp_path, make_people, make_member, ridge):
    """The classifier looks up the labels of everyone it was fitted with: any leak gives an AUROC of 1."""

    class Memory(ridge):
        def fit(self, train, valid):
            parts = [*zip(train.samples, train.labels, strict=True), *zip(valid.samples, valid.labels, strict=True)]
            self.known = {s.patient_id: float(y) for s, y in parts}

        def predict(self, samples):
            return np.array([self.known.get(s.patient_id, 0.5) for s in samples], np.float32)

        def save(self, folder):
            pass

    people = make_people()
    result = run(people, [make_member(Memory)], tmp_path)
    assert np.unique(result.raw["ridge"]).tolist() == [0.5]
    # Nothing to calibrate inside either: had inner scores leaked, the slope would be positive.
    assert {line.slope for line in result.platt["ridge"][0]} == {0.0}


def test_noise_scores_half_on_average(tmp_path, make_people, make_member):
    areas = []
    for seed in range(8):
        people = make_people(signal=0.0, seed=seed)
        result = run(people, [make_member()], tmp_path, seed=seed)
        raw = result.raw["ridge"][0]
        areas += [roc_auc_score(people.labels[result.fold[0] == k], raw[result.fold[0] == k]) for k in range(5)]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.06)


def test_the_labels_of_a_test_fold_change_nothing_in_its_scores(tmp_path, make_people, make_member, monkeypatch):
    people = make_people()
    fixed = np.arange(90) % 5
    monkeypatch.setattr("kras_plugins.learning.experiment.assign_folds", lambda *_: fixed)
    before = run(people, [make_member()], tmp_path / "a")
    turned = replace_labels(people, np.where(fixed == 0, 1 - people.labels, people.labels))
    after = run(turned, [make_member()], tmp_path / "b")
    np.testing.assert_array_equal(before.logit["ridge"][0, fixed == 0], after.logit["ridge"][0, fixed == 0])
    np.testing.assert_array_equal(before.inner["ridge"][0, 0], after.inner["ridge"][0, 0])
    assert (before.logit["ridge"] != after.logit["ridge"]).any()


def replace_labels(people, labels):
    return type(people)(people.samples, labels.astype(np.int8), people.strata, people.sites)


def test_every_patient_is_scored_once_a_repeat_and_inner_scores_leave_out_the_test_fold(tmp_path, make_people, both):
    result = run(make_people(), both, tmp_path, repeats=2)
    assert (result.fold[0] != result.fold[1]).any()
    for name in ("ridge", "bag_ridge"):
        assert np.isfinite(result.logit[name]).all()
        test = result.fold[:, None, :] == np.arange(5)[None, :, None]
        np.testing.assert_array_equal(np.isnan(result.inner[name]), test)
        assert len(result.models[name]) == 5  # of the first repeat only
    np.testing.assert_allclose(result.ensemble.strict, (result.logit["ridge"] + result.logit["bag_ridge"]) / 2)


def test_a_planted_signal_is_found_and_calibrated(tmp_path, make_people, both):
    people = make_people(n=300, signal=1.5)
    result = run(people, both, tmp_path)
    logit = result.ensemble.strict[0]
    assert roc_auc_score(people.labels, logit) > 0.85
    assert (1 / (1 + np.exp(-logit))).mean() == pytest.approx(people.labels.mean(), abs=0.05)


def test_a_patient_without_a_bag_is_missing_for_that_member_only(tmp_path, make_people, both):
    people = make_people()
    people.samples[7] = replace(people.samples[7], bags=())
    result = run(people, both, tmp_path)
    assert np.isnan(result.logit["bag_ridge"][:, 7]).all()
    assert np.isnan(result.ensemble.strict[:, 7]).all()
    np.testing.assert_array_equal(result.ensemble.available[:, 7], result.logit["ridge"][:, 7])
    assert np.isfinite(np.delete(result.ensemble.strict, 7, axis=1)).all()


def test_a_killed_run_resumes_at_the_last_finished_fold_with_identical_scores(tmp_path, make_people, make_member, spy):
    people = make_people()
    whole = run(people, [make_member(spy)], tmp_path / "whole")
    fits = len(spy.log)

    class Killed(BaseException):
        pass

    def kill(done, _total, _what):
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        run(people, [make_member(spy)], tmp_path / "cut", progress=kill)
    spy.log.clear()
    resumed = run(people, [make_member(spy)], tmp_path / "cut")
    assert len(spy.log) == fits * 2 // 5
    np.testing.assert_array_equal(resumed.logit["ridge"], whole.logit["ridge"])
    np.testing.assert_array_equal(resumed.inner["ridge"], whole.inner["ridge"])


@pytest.mark.parametrize("change", ["sample", "label", "seed", "identity"])
def test_what_changes_a_fit_is_not_taken_from_the_store(tmp_path, make_people, make_member, spy, change):
    people, member = make_people(), make_member(spy)
    run(people, [member], tmp_path)
    spy.log.clear()
    keys, seed = people.keys, 0
    if change == "sample":
        keys[0] = "other content"
    elif change == "label":
        people.labels[0] = 0
    elif change == "seed":
        seed = 1
    else:
        member = replace(member, identity="tests 2")
    cross_validate(*people.arguments, [member], store=Store(tmp_path), sample_keys=keys, seed=seed)
    assert len(spy.log) == 20


def test_two_members_of_one_plug_in_are_two_fits_with_seeds_of_their_own(tmp_path, make_people, make_member, spy):
    one = make_member(spy)
    run(make_people(), [one, replace(one, name="again")], tmp_path)
    assert len(spy.log) == 40


def test_what_a_plug_in_raises_names_it_and_keeps_the_cause(tmp_path, make_people, make_member, ridge):
    class Broken(ridge):
        def fit(self, train, valid):
            raise KeyError("gone")

    with pytest.raises(PluginError, match=r"classifier ridge failed in repeat 1, fold 1.*gone") as caught:
        run(make_people(), [make_member(Broken)], tmp_path)
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(PluginError, match="classifier again failed") as caught:
        run(make_people(), [replace(make_member(Broken), name="again")], tmp_path)
    assert "`kras plugin check classifier:ridge`" in caught.value.hint


@pytest.mark.parametrize("bad", [np.zeros(3), np.nan], ids=["too few", "not finite"])
def test_scores_that_are_not_one_finite_number_a_sample_are_refused(tmp_path, make_people, make_member, ridge, bad):
    class Wrong(ridge):
        def predict(self, samples):
            return bad if np.ndim(bad) else np.full(len(samples), bad)

    with pytest.raises(PluginError, match="one finite number"):
        run(make_people(), [make_member(Wrong)], tmp_path)


def test_a_full_disk_while_a_model_is_saved_is_an_error_of_the_store(tmp_path, make_people, make_member, ridge):
    class Full(ridge):
        def save(self, folder):
            raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="No space left"):
        run(make_people(), [make_member(Full)], tmp_path)


def test_bags_of_two_encoders_and_a_patient_twice_are_refused(tmp_path, make_people, both):
    people = make_people()
    first = people.samples[0]
    people.samples[0] = replace(first, bags=(replace(first.bags[0], transform_hash="other"),))
    with pytest.raises(ConfigError, match="two encoders"):
        run(people, both, tmp_path)
    people.samples[0] = people.samples[1]
    with pytest.raises(ConfigError, match="p1 appears twice"):
        run(people, both, tmp_path)


def test_too_few_positives_is_said_before_anything_is_fitted(tmp_path, make_people, make_member, spy):
    people = make_people(n=40, prevalence=0.05)  # 2 positives
    with pytest.raises(ConfigError, match="positive"):
        run(people, [make_member(spy)], tmp_path, folds=2)
    assert not spy.log


def test_few_positives_make_fewer_inner_folds_with_a_note(tmp_path, make_people, make_member):
    people = make_people(n=60, prevalence=4 / 60)
    result = run(people, [make_member()], tmp_path, folds=2)
    assert any("2 inner folds instead of 3" in note for note in result.notes)


def test_inner_folds_fall_back_to_random_where_too_few_sites_remain(tmp_path, make_people, make_member):
    people = make_people()
    people.sites = [f"site{i % 3}" for i in range(len(people.labels))]
    result = run(people, [make_member()], tmp_path, folds=3, scheme="site")
    for site in range(3):
        assert len(set(result.fold[0][site::3])) == 1
    assert any("inner folds are random" in note for note in result.notes)


def test_a_member_with_bags_from_one_class_only_is_refused_by_name(tmp_path, make_people, both):
    people = make_people()
    people.samples = [replace(s, bags=()) if y else s for s, y in zip(people.samples, people.labels, strict=True)]
    with pytest.raises(ConfigError, match="bag_ridge"):
        run(people, [both[1]], tmp_path)
    assert both[1].plugin.consumes is Bag


def test_seeds_differ_with_every_step_of_the_path():
    paths = [("a",), ("b",), ("a", 0), ("a", 1), (0, 1), (1, 0), ("a", "b"), ("ab",)]
    assert len({derive_seed(0, *p) for p in paths} | {derive_seed(1, "a")}) == len(paths) + 1
    assert derive_seed(5, "outer", 2) == derive_seed(5, "outer", 2)
