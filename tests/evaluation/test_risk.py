from __future__ import annotations

import sys

import numpy as np
import pytest

from kras_plugins.errors import ConfigError
from kras_plugins.evaluation.design import one_cohort
from kras_plugins.evaluation.intervals import resamples
from kras_plugins.evaluation.metrics import model_metrics
from kras_plugins.evaluation.risk import controlled_threshold, require_mapie
from kras_plugins.evaluation.scores import Scores
from kras_plugins.evaluation.thresholds import RISK_CONTROL, RULES, Targets, choose_thresholds, constant_thresholds


def cohort(n_positive=62, n_negative=868, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n_positive + n_negative) < n_positive
    return y, rng.normal(size=len(y)) + y - 2.5


def test_a_controlled_threshold_lies_below_the_plain_one_and_rarely_misses_its_sensitivity():
    rng, missed = np.random.default_rng(9), 0
    population = rng.normal(size=100_000) + 1 - 2.5
    for seed in range(100):
        y, s = cohort(seed=seed)
        controlled = controlled_threshold(y, s, 0.9)
        assert controlled < choose_thresholds(y, s)["target_sensitivity"]
        missed += (population >= controlled).mean() < 0.9
    assert missed / 100 < 0.16  # 10 % promised; 16 is two standard errors more


def test_with_few_positives_no_threshold_is_guaranteed():
    assert np.isnan(controlled_threshold(*cohort(15, 100), 0.9))
    assert np.isnan(controlled_threshold([0, 0, 1], [0.1, 0.2, 0.3], 0.9))
    assert np.isnan(controlled_threshold([0, 0], [0.1, 0.2], 0.9))


def test_the_rule_is_there_only_when_asked_for():
    y, s = cohort()
    assert RISK_CONTROL not in choose_thresholds(y, s)
    chosen = choose_thresholds(y, s, Targets(risk_control=True))
    assert tuple(chosen) == (*RULES, RISK_CONTROL)
    assert chosen[RISK_CONTROL] == controlled_threshold(y, s, 0.9)


def test_where_none_is_found_the_operating_point_says_so():
    y, s = cohort(15, 100)
    frozen = choose_thresholds(y, s, Targets(risk_control=True))
    thresholds = constant_thresholds(frozen, len(y))
    told = Targets(risk_control=True).provenance("these, n=115")
    entry, _ = model_metrics(
        y, Scores(logit=s[None], thresholds=thresholds, provenance=told), one_cohort(115), resamples(115, 0, 50)
    )
    point = entry["operating_points"][RISK_CONTROL]
    assert np.isnan(point["threshold"])
    assert "none is set" in point["note"]
    assert "MAPIE" in point["provenance"] and point["provenance"].endswith("these, n=115")
    assert "note" not in entry["operating_points"]["target_sensitivity"]


def test_without_mapie_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mapie.risk_control", None)
    with pytest.raises(ConfigError, match=r"MAPIE") as e:
        require_mapie()
    assert "kras[risk]" in e.value.hint
