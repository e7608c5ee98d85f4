"""How members become one: each way by its own rules, frozen and loaded, and never fitted on those it scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from kras_plugins import ConfigError
from kras_plugins.learning.bundle import load_bundle, write_bundle
from kras_plugins.learning.experiment import cross_validate
from kras_plugins.learning.fusion import fit_fusion, load_fusion, out_of_fold
from kras_plugins.store import Store

KINDS = ("logit", "probability", "stacked", "rank")


def scores(n=400, seed=0):
    """Logits of a good and of a useless member, and labels."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(np.int8)
    return {"good": rng.normal(2.0 * labels - 1, 1.0), "noise": rng.normal(0, 3.0, n)}, labels


@pytest.mark.parametrize("kind", KINDS)
def test_a_fusion_comes_back_from_json_the_same(kind):
    logits, labels = scores()
    fusion = fit_fusion(kind, logits, labels)
    again = load_fusion(kind, json.loads(json.dumps(fusion.to_dict(), allow_nan=False)))
    new, _ = scores(30, 1)
    np.testing.assert_array_equal(again.fuse(new).strict, fusion.fuse(new).strict)


@pytest.mark.parametrize("kind", KINDS)
def test_a_patient_s_score_does_not_depend_on_who_else_is_scored(kind):
    fusion = fit_fusion(kind, *scores())
    new, _ = scores(30, 1)
    alone = [fusion.fuse({name: values[i : i + 1] for name, values in new.items()}).strict[0] for i in range(30)]
    np.testing.assert_allclose(alone, fusion.fuse(new).strict, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_member_leaves_the_strict_score_empty_and_the_available_one_there(kind):
    fusion = fit_fusion(kind, *scores())
    nan = np.nan
    fused = fusion.fuse({"good": np.array([1.0, 1.0, nan]), "noise": np.array([0.5, nan, nan])})
    assert np.isfinite(fused.strict).tolist() == [True, False, False]
    assert np.isfinite(fused.available).tolist() == [True, True, False]
    assert fused.available[0] == fused.strict[0]


def test_logit_and_probability_are_the_two_means():
    logits = {"a": np.array([2.0]), "b": np.array([-1.0])}
    labels = np.array([1])
    assert fit_fusion("logit", logits, labels).fuse(logits).strict[0] == pytest.approx(0.5)
    fused = fit_fusion("probability", logits, labels).fuse(logits).strict[0]
    assert expit(fused) == pytest.approx((expit(2.0) + expit(-1.0)) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_patient_whom_all_members_are_sure_of_has_a_finite_score(kind):
    logits, labels = scores()
    fused = fit_fusion(kind, logits, labels).fuse(dict.fromkeys(logits, np.array([-900.0, -40.0, 40.0, 900.0]))).strict
    assert np.isfinite(fused).all()
    assert (np.diff(fused) >= 0).all()
    if kind == "probability":
        np.testing.assert_allclose(fused, [-900, -40, 40, 900])


def test_stacking_is_a_ridge_logistic_regression_and_sets_a_useless_member_aside():
    logits, labels = scores()
    stacked = fit_fusion("stacked", logits, labels)
    reference = LogisticRegression(C=1.0, tol=1e-10).fit(np.c_[logits["good"], logits["noise"]], labels)
    np.testing.assert_allclose(list(stacked.weights.values()), reference.coef_[0], rtol=1e-3)
    assert abs(stacked.weights["noise"]) < 0.1 * stacked.weights["good"]
    new, truth = scores(500, 1)
    mean = fit_fusion("logit", logits, labels).fuse(new).strict
    assert roc_auc_score(truth, stacked.fuse(new).strict) > roc_auc_score(truth, mean) + 0.05


def test_ranks_are_taken_among_the_training_patients_whatever_a_member_s_scale():
    logits, labels = scores()
    new, truth = scores(200, 1)
    fused = fit_fusion("rank", logits, labels).fuse(new).strict
    stretched = [{**part, "noise": np.exp(part["noise"])} for part in (logits, new)]
    np.testing.assert_allclose(fit_fusion("rank", stretched[0], labels).fuse(stretched[1]).strict, fused)
    ranks = np.mean([(logits[m][:, None] < new[m]).mean(axis=0) for m in logits], axis=0)
    assert np.corrcoef(np.argsort(np.argsort(ranks)), np.argsort(np.argsort(fused)))[0, 1] > 0.999
    assert expit(fused).mean() == pytest.approx(truth.mean(), abs=0.08)


@pytest.mark.parametrize("kind", ["stacked", "rank"])
def test_out_of_fold_scores_are_fused_without_their_inner_fold(kind):
    logits, labels = scores()
    inner = np.arange(len(labels)) % 3
    before = out_of_fold(kind, logits, labels, inner)
    turned = np.where(inner == 0, 1 - labels, labels)
    after = out_of_fold(kind, logits, turned, inner)
    np.testing.assert_array_equal(before[inner == 0], after[inner == 0])
    assert (before[inner == 1] != after[inner == 1]).all()


@pytest.mark.parametrize("kind", ["stacked", "rank"])
def test_a_fusion_that_must_be_fitted_says_whom_it_lacks(kind):
    logits, labels = scores()
    logits["good"][labels == 1] = np.nan
    with pytest.raises(ConfigError, match="no positive patient"):
        fit_fusion(kind, logits, labels)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_gives_each_patient_the_out_of_fold_ensemble_score_of_its_fold(tmp_path, make_people, both, kind):
    people = make_people()
    experiment = cross_validate(
        *people.arguments, both, store=Store(tmp_path / "store"), sample_keys=people.keys, fusion=kind
    )
    write_bundle(tmp_path / "bundle", experiment, facts={}, thresholds={}, provenance={})
    plugins = {m.plugin.name: m.plugin for m in both}
    bundle = load_bundle(tmp_path / "bundle", lambda name, folder: plugins[name].load(folder))
    scored = bundle.score(people.samples)
    everyone = np.arange(len(people.labels))
    again = scored.ensemble_by_fold[experiment.fold[0], everyone]
    np.testing.assert_allclose(again, experiment.ensemble.strict[0], rtol=1e-5)
    np.testing.assert_allclose(scored.ensemble.strict, scored.ensemble_by_fold.mean(axis=0))
    test = experiment.fold[0] == np.arange(5)[:, None]
    np.testing.assert_array_equal(np.isnan(experiment.inner_ensemble[0]), test)
