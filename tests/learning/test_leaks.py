"""Every way in which a test fold can leak into a fit is planted and found; the code itself has no leak."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from kras_plugins.evaluation.thresholds import choose_thresholds
from kras_plugins.learning import experiment as learning
from kras_plugins.learning.calibration import fit_platt
from kras_plugins.learning.experiment import cross_validate
from kras_plugins.learning.fusion import fit_fusion
from kras_plugins.testing import classifier_leaks, find_leaks
from kras_plugins.testing.leaks import content_key

N = 45
FOLD = np.arange(N) % 3
SMALL = {
    "he": {"hidden": 8, "attention": 4, "seeds": 1, "epochs": 2},
    "mlp": {"hidden": 8, "seeds": 1, "epochs": 6},
    "rf": {"trees": 10, "jobs": 1},
    "lgbm": {"rounds": 10},
}
LONG = {
    "mlp": {"hidden": 8, "seeds": 1, "epochs": 40, "patience": 2},
    "lgbm": {"rounds": 60, "patience": 2},
}


def runner(members, people, before=lambda samples, _labels: samples, **options):
    """The nested cross-validation with fixed outer folds, on what `before` makes of the samples."""

    def run(samples, labels, store):
        samples = before(samples, labels)
        return cross_validate(
            samples, labels, people.strata, people.sites, members, store=store,
            sample_keys=[content_key(s) for s in samples], given_folds=FOLD, **options,
        )  # fmt: skip

    return run


def values(samples):
    return np.stack([s.profile.values for s in samples])


def with_values(samples, table, names=None):
    return [
        replace(s, profile=replace(s.profile, values=row, names=names or s.profile.names))
        for s, row in zip(samples, table, strict=True)
    ]


@pytest.fixture
def cohort(make_people):
    people = make_people(n=N)
    return people, people.samples, people.labels


@pytest.mark.parametrize(("scheme", "fusion"), [("random", "logit"), ("random", "stacked"), ("site", "rank")])
def test_the_cross_validation_has_no_leak(cohort, both, scheme, fusion):
    people, *given = cohort
    assert find_leaks(runner(both, people, fusion=fusion, scheme=scheme), *given) == []


@pytest.mark.parametrize("name", sorted(SMALL))
def test_no_bundled_classifier_leaks(cohort, name):
    _, *given = cohort
    (plugin,) = import_module(f"kras_classifier_{name}").kras_classifiers()
    assert classifier_leaks(plugin, *given, options=plugin.options(**SMALL[name])) == []


@pytest.mark.parametrize("name", ["mlp", "lgbm"])
def test_early_stopping_on_the_test_fold_is_found(cohort, monkeypatch, name):
    """As STAMP 2.5.0 does in its cross-validation: the test fold is the validation set."""
    _, *given = cohort
    plan = learning.plan_fits
    monkeypatch.setattr(learning, "plan_fits", lambda *a: tuple(replace(fit, valid=fit.score) for fit in plan(*a)))
    (plugin,) = import_module(f"kras_classifier_{name}").kras_classifiers()
    found = classifier_leaks(plugin, *given, options=plugin.options(**LONG[name]))
    assert any(f"the model of {name} depends on the labels of its test patients" in text for text in found)


def test_scaling_over_everyone_is_found(cohort, make_member):
    def scale(samples, _labels):
        table = values(samples)
        return with_values(samples, (table - table.mean(axis=0)) / table.std(axis=0))

    people, *given = cohort
    found = find_leaks(runner([make_member()], people, scale), *given)
    assert "fold 1: the model of ridge depends on the features of its test patients" in found
    assert not any("labels" in text for text in found)


def test_imputation_over_everyone_is_found(cohort, make_member):
    def fill(samples, _labels):
        table = values(samples)
        return with_values(samples, np.where(np.isnan(table), np.nanmedian(table, axis=0), table))

    people, samples, labels = cohort
    table = values(samples)
    table[::7, 1] = np.nan
    found = find_leaks(runner([make_member()], people, fill), with_values(samples, table), labels)
    assert "fold 1: the model of ridge depends on the features of its test patients" in found


def test_feature_choice_by_everyone_s_labels_is_found(cohort, make_member):
    def choose(samples, labels):
        table = values(samples)
        best = np.argmax(np.abs(table[labels == 1].mean(axis=0) - table[labels == 0].mean(axis=0)))
        return with_values(samples, table[:, [best]], names=("best",))

    people, _, labels = cohort
    # Weak features, so that the choice hangs by a thread.
    noise = with_values(people.samples, np.random.default_rng(1).normal(size=(N, 3)))
    found = find_leaks(runner([make_member()], people, choose), noise, labels)
    assert any("the model of ridge depends on the labels" in text for text in found)


def test_calibration_on_everyone_is_found(cohort, make_member):
    people, *given = cohort
    honest = runner([make_member()], people)

    def run(samples, labels, store):
        done = honest(samples, labels, store)
        line = fit_platt(done.raw["ridge"][0], labels)
        return replace(done, platt={"ridge": ((line,) * 3,)}, logit={"ridge": line.logit(done.raw["ridge"])})

    found = find_leaks(run, *given)
    assert "fold 1: the calibration of ridge depends on the labels of its test patients" in found
    assert "fold 1: a calibrated test score of ridge depends on the labels of its test patients" in found


def test_a_fusion_fitted_on_everyone_is_found(cohort, both):
    people, *given = cohort
    honest = runner(both, people)

    def run(samples, labels, store):
        done = honest(samples, labels, store)
        stacked = fit_fusion("stacked", {name: logit[0] for name, logit in done.logit.items()}, labels)
        return replace(done, fusions=((stacked,) * 3,))

    assert "fold 1: the fusion depends on the labels of its test patients" in find_leaks(run, *given)


def test_thresholds_set_on_everyone_are_found(cohort, make_member):
    def leaking(done):
        chosen = choose_thresholds(done.labels, done.ensemble.strict[0])
        return {rule: np.full(done.fold.shape, value) for rule, value in chosen.items()}

    people, *given = cohort
    found = find_leaks(runner([make_member()], people), *given, thresholds=leaking)
    assert "fold 1: the threshold youden depends on the labels of its test patients" in found


def test_a_plug_in_that_remembers_labels_between_fits_is_found(cohort, make_member, ridge):
    known = {}

    class Remembering(ridge):
        def fit(self, train, valid):
            known.update((s.patient_id, int(y)) for s, y in zip(train.samples, train.labels, strict=True))
            super().fit(train, valid)

        def predict(self, samples):
            return super().predict(samples) + np.array([known.get(s.patient_id, 0) for s in samples])

    people, *given = cohort
    found = find_leaks(runner([make_member(Remembering)], people), *given)
    assert any("a test score of ridge depends on the labels" in text for text in found)


def test_a_run_that_deals_patients_anew_cannot_be_checked(cohort, make_member):
    people, *given = cohort

    def run(samples, labels, store):
        return cross_validate(
            samples, labels, people.strata, people.sites, [make_member()], store=store,
            sample_keys=[content_key(s) for s in samples], folds=3, seed=int(labels.sum()),
        )  # fmt: skip

    with pytest.raises(ValueError, match="give it outer folds"):
        find_leaks(run, *given)
