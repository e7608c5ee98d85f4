from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from dcurves import dca
from scipy.special import expit

from kras_plugins.evaluation.decision import THRESHOLDS, decision_curves


def cohort(n=400, repeats=1, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.15
    return y, rng.normal(size=(repeats, n)) + 1.2 * y - 2.2


def published(y, logit, prevalence=None):
    """Net benefit by model of the package dcurves."""
    table = dca(
        data=pd.DataFrame({"y": y, "m": expit(logit)}), outcome="y", modelnames=["m"], thresholds=list(THRESHOLDS),
        prevalence=prevalence,
    )  # fmt: skip
    return {name: rows.sort_values("threshold")["net_benefit"].to_numpy() for name, rows in table.groupby("model")}


def test_net_benefit_is_that_of_dcurves():
    y, logit = cohort()
    curves, expected = decision_curves(y, {"rf": logit}), published(y, logit[0])
    assert curves["prevalence"] == y.mean()
    assert curves["thresholds"] == list(THRESHOLDS)
    assert (curves["thresholds"][0], curves["thresholds"][-1]) == (0.01, 0.30)
    np.testing.assert_allclose(curves["models"]["rf"], expected["m"], atol=1e-12)
    np.testing.assert_allclose(curves["test_all"], expected["all"], atol=1e-12)
    np.testing.assert_array_equal(expected["none"], 0)
    assert curves["at_prevalence"] == []


def test_at_another_prevalence_logits_move_and_classes_are_weighted_as_dcurves_does():
    y, logit = cohort()
    (found,) = decision_curves(y, {"rf": logit}, [0.05])["at_prevalence"]
    offset = np.log(0.05 / 0.95) - np.log(y.mean() / (1 - y.mean()))
    expected = published(y, logit[0] + offset, prevalence=0.05)
    assert found["prevalence"] == 0.05
    np.testing.assert_allclose(found["models"]["rf"], expected["m"], atol=1e-12)
    np.testing.assert_allclose(found["test_all"], expected["all"], atol=1e-12)


def test_a_model_of_a_bundle_moves_from_the_prevalence_it_was_calibrated_at():
    y, logit = cohort()
    same = decision_curves(y, {"rf": logit}, [0.05], calibrated_at=0.05)["at_prevalence"][0]
    moved = decision_curves(y, {"rf": logit + 1.0}, [0.05], calibrated_at=expit(np.log(0.05 / 0.95) + 1.0))
    np.testing.assert_allclose(moved["at_prevalence"][0]["models"]["rf"], same["models"]["rf"], atol=1e-12)


def test_repeats_are_averaged():
    y, logit = cohort(repeats=3)
    each = [published(y, one)["m"] for one in logit]
    np.testing.assert_allclose(decision_curves(y, {"rf": logit})["models"]["rf"], np.mean(each, axis=0), atol=1e-12)


@pytest.mark.parametrize("y", [[], [False] * 4, [True] * 4])
def test_without_both_classes_there_is_no_curve(y):
    curves = decision_curves(np.array(y, bool), {"rf": np.zeros((1, len(y)))}, [0.1])
    assert np.isnan(curves["models"]["rf"]).all()
