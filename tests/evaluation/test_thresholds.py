from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kras_plugins.evaluation.thresholds import RULES, Targets, choose_thresholds, constant_thresholds, fold_thresholds

scores_and_labels = st.lists(
    st.tuples(st.sampled_from(np.linspace(-2, 2, 9).tolist()), st.booleans()), min_size=2, max_size=60
)


def rates(y, s, threshold):
    return (s[y] >= threshold).mean(), (s[~y] < threshold).mean()


@given(scores_and_labels)
@settings(deadline=None, max_examples=150)
def test_each_rule_holds_its_promise_also_with_ties(pairs):
    s, y = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    assume(y.any() and not y.all())
    chosen = choose_thresholds(y, s)
    assert tuple(chosen) == RULES
    # The highest threshold with the target sensitivity: one step more loses it.
    sensitive = chosen["target_sensitivity"]
    assert rates(y, s, sensitive)[0] >= 0.9
    assert rates(y, s, np.nextafter(sensitive, np.inf))[0] < 0.9
    # The lowest observed score with the target specificity.
    specific = chosen["target_specificity"]
    assert rates(y, s, specific)[1] >= 0.9
    assert all(rates(y, s, t)[1] < 0.9 for t in s if t < specific)
    best = max(sum(rates(y, s, t)) for t in s)
    assert sum(rates(y, s, chosen["youden"])) == pytest.approx(best)
    # Between rule-out and rule-in nothing is promised; if the two cross, both promises hold.
    assert chosen["rule_out"] <= chosen["rule_in"]
    assert rates(y, s, chosen["rule_out"])[0] >= 0.9
    assert rates(y, s, chosen["rule_in"])[1] >= 0.9


def test_crossing_thresholds_leave_no_score_indeterminate():
    y, s = np.r_[np.zeros(20, bool), np.ones(20, bool)], np.r_[np.arange(20.0), np.arange(30.0, 50)]
    chosen = choose_thresholds(y, s)
    assert chosen["rule_in"] == chosen["rule_out"]
    assert rates(y, s, chosen["rule_in"]) == (pytest.approx(0.95, abs=0.06), 1.0)


def test_a_target_met_exactly_asks_for_no_further_patient():
    # 63 of 70 are 0.9.
    y, s = np.r_[np.ones(70, bool), [False]], np.r_[np.arange(70.0), -1]
    assert choose_thresholds(y, s)["target_sensitivity"] == 7


def test_other_targets_move_their_own_thresholds_and_leave_youdens():
    rng = np.random.default_rng(0)
    y = np.arange(500) < 100
    s = rng.normal(size=500) + y
    usual, strict = choose_thresholds(y, s), choose_thresholds(y, s, Targets(sensitivity=0.97, specificity=0.6))
    assert rates(y, s, strict["target_sensitivity"])[0] == 0.97
    assert rates(y, s, strict["target_specificity"])[1] == pytest.approx(0.6, abs=0.003)
    assert strict["rule_out"] == strict["target_sensitivity"] < usual["rule_out"]
    assert strict["target_specificity"] < usual["target_specificity"]
    assert strict["youden"] == usual["youden"]
    told = Targets(sensitivity=0.97).provenance("scores of somebody, n=500, 100 positive")
    assert tuple(told) == RULES
    assert "≥ 0.97" in told["target_sensitivity"] and told["youden"].endswith("scores of somebody, n=500, 100 positive")
    inner = np.where(np.arange(500) % 5 == np.arange(5)[:, None], np.nan, s)[None]
    found = fold_thresholds(y, inner, np.arange(500) % 5, Targets(sensitivity=0.97))
    assert found["target_sensitivity"][0, 3] == choose_thresholds(y, inner[0, 3], Targets(sensitivity=0.97))["rule_out"]


def test_missing_scores_are_left_out_and_one_class_has_no_threshold():
    y, s = np.array([0, 1, 0, 1]), np.array([0.0, 1, np.nan, np.nan])
    assert choose_thresholds(y, s) == choose_thresholds(y[:2], s[:2])
    assert np.isnan(list(choose_thresholds([0, 0], [1.0, 2]).values())).all()


def test_the_threshold_of_a_patient_comes_from_the_training_part_of_its_fold():
    rng = np.random.default_rng(0)
    y, fold = rng.random(60) < 0.4, np.stack([np.arange(60) % 3, np.arange(60) // 20])
    inner = np.where(fold[:, None] == np.arange(3)[None, :, None], np.nan, rng.normal(size=(2, 3, 60)))
    found = fold_thresholds(y, inner, fold)
    for r, i in ((0, 4), (1, 58)):
        own = choose_thresholds(y, inner[r, fold[r, i]])
        assert {rule: found[rule][r, i] for rule in RULES} == own


def test_a_frozen_threshold_that_was_not_set_is_missing():
    found = constant_thresholds({"youden": 0.5, "rule_in": None}, 3)
    assert found["youden"].tolist() == [[0.5] * 3]
    assert np.isnan(found["rule_in"]).all()
    assert np.isnan(found["rule_out"]).all()


@pytest.mark.parametrize("share", [0.55, 0.07, 0.29, 0.9])
def test_a_target_that_can_be_met_exactly_is(share):
    scores = np.tile(np.arange(100.0), 2)
    chosen = choose_thresholds(np.repeat([1, 0], 100), scores, Targets(sensitivity=share, specificity=share))
    assert (scores[:100] >= chosen["target_sensitivity"]).mean() == pytest.approx(share)
    assert (scores[100:] < chosen["target_specificity"]).mean() == pytest.approx(share)
