from __future__ import annotations

import numpy as np
import pytest

from kras_plugins.evaluation.calls import decide, predictions, probability


@pytest.mark.parametrize(
    ("logit", "call"),
    [(1.0, "rule_in"), (0.999, "indeterminate"), (-1.0, "indeterminate"), (-1.001, "rule_out")],
)
def test_a_score_at_the_threshold_is_positive(logit, call):
    assert decide(logit, 1.0, -1.0) == (call, "")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"missing": ["he", "rf"]}, "no score from he, rf"),
        ({"qc": "fail: pen on 60 % of the tissue"}, "quality control: fail: pen on 60 % of the tissue"),
        ({"out_of_scope": "declared squamous"}, "declared squamous"),
        ({"out_of_scope": "declared squamous", "missing": ["rf"]}, "declared squamous"),
    ],
)
def test_a_frozen_threshold_does_not_apply_to_part_of_an_ensemble_or_a_failed_slide(arguments, reason):
    assert decide(5.0, 1.0, -1.0, **arguments) == ("not_assessable", reason)


@pytest.mark.parametrize("rules", [(None, -1.0), (1.0, None), (float("nan"), -1.0)])
def test_without_a_threshold_there_is_no_call(rules):
    assert decide(5.0, *rules) == ("not_assessable", "no threshold could be set")


def test_a_warning_does_not_hinder_a_call():
    assert decide(5.0, 1.0, -1.0, qc="warn: pale")[0] == "rule_in"


def test_predictions_carry_probabilities_calls_and_reasons():
    nan = np.nan
    members = {"he": np.array([2.0, nan, nan]), "rf": np.array([0.0, 0.0, nan])}
    found = predictions(
        ["a", "b", "c"], [["s1", "s2"], ["s3"], []], members, np.array([1.0, 0.0, nan]),
        {"rule_in": 1.0, "rule_out": -1.0}, ["pass", "warn: pale", "pass"],
    )  # fmt: skip
    a, b, c = found
    assert a.call == "rule_in"
    assert a.members == {"he": pytest.approx(0.880797), "rf": 0.5}
    assert a.slides == ("s1", "s2")
    assert (b.call, b.reason, b.ensemble) == ("not_assessable", "no score from he", 0.5)
    assert b.members == {"rf": 0.5}
    assert (c.ensemble, c.members, c.call) == (None, {}, "not_assessable")


def test_a_patient_out_of_scope_keeps_its_probability_and_gets_no_call():
    found = predictions(
        ["a", "b"], [["s"], ["t"]], {"he": np.array([2.0, 2.0])}, np.array([2.0, 2.0]),
        {"rule_in": 1.0, "rule_out": 0.0}, ["pass"] * 2, out_of_scope=["", "not NSCLC"],
    )  # fmt: skip
    assert [(p.call, p.reason) for p in found] == [("rule_in", ""), ("not_assessable", "not NSCLC")]
    assert found[1].ensemble == found[0].ensemble


def test_another_prevalence_moves_probabilities_and_leaves_calls():
    arguments = (["a"], [["s"]], {"he": np.array([1.0])}, np.array([1.0]), {"rule_in": 1.0, "rule_out": 0.0}, ["pass"])
    (before,), (after,) = predictions(*arguments), predictions(*arguments, shift=-2.0)
    assert after.call == before.call == "rule_in"
    assert after.ensemble == pytest.approx(probability(-1.0))
    assert after.members["he"] == after.ensemble < before.ensemble


def test_extreme_logits_do_not_overflow():
    assert (probability(-1e4), probability(0), probability(1e4)) == (0.0, 0.5, 1.0)
