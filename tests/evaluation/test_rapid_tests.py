"""Rapid tests avoided: analytic cohorts, an exhaustive search, and what a threshold may not have seen."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kras_plugins.evaluation.intervals import resamples
from kras_plugins.evaluation.rapid_tests import APPARENT, TRIVIAL, npv_threshold, rapid_tests_avoided


def cross_validated(y, score, folds=5, seed=0):
    """Scores that need no training: the inner ones are the scores themselves, without those of the fold."""
    fold = np.random.default_rng(seed).permutation(len(y)) % folds
    inner = np.where(fold == np.arange(folds)[:, None], np.nan, score)
    return {"labels": y, "logit": score[None], "inner": inner[None], "fold": fold[None]}


def test_a_score_that_tells_all_spares_the_negatives_and_as_many_positives_as_the_level_lets_through():
    # 90 negatives below 10 positives; 90 of 94 are 95.7 % negative, 90 of 95 only 94.7 %.
    y = np.arange(100) >= 90
    found = rapid_tests_avoided(
        y, np.arange(100.0)[None], None, np.zeros((1, 100), int), resamples(100, seed=0), levels=(0.95, 1.0)
    )
    assert [row["avoided"]["value"] for row in found] == [0.94, 0.90, 0.94]  # the last: 1 - 0.1 / 2 = 0.95, too
    assert found[0]["npv_reached"]["value"] == pytest.approx(90 / 94)
    assert found[1]["npv_reached"] == {"value": 1.0, "low": pytest.approx(0.959, abs=1e-3), "high": 1.0}
    assert all(row["apparent"] and row["note"] == APPARENT for row in found)


def test_where_risk_rises_in_a_line_half_of_all_tests_are_spared_at_half_the_prevalence():
    # Score uniform, P(positive) = 2 p score: below t the share of positives is p t; an NPV of 1 - c allows t = c / p.
    rng, n, p = np.random.default_rng(0), 40_000, 0.2
    score = rng.random(n)
    y = rng.random(n) < 2 * p * score
    found = rapid_tests_avoided(
        **cross_validated(y, score), counts=resamples(n, seed=0, count=100), levels=(0.85, 0.95)
    )
    for row, share, npv in zip(found, (0.75, 0.25, 0.5), (0.85, 0.95, 0.9), strict=True):
        assert row["avoided"]["value"] == pytest.approx(share, abs=0.03)
        assert row["npv_reached"]["value"] == pytest.approx(npv, abs=0.01)
        assert row["avoided"]["low"] < row["avoided"]["value"] < row["avoided"]["high"]
        assert not row["apparent"]
    # The bootstrap of a proportion of fixed thresholds is the binomial one.
    half = 1.96 * np.sqrt(0.25 / n)
    assert found[2]["avoided"]["high"] - found[2]["avoided"]["low"] == pytest.approx(2 * half, rel=0.3)


def test_the_threshold_is_the_best_of_all_cuts():
    rng = np.random.default_rng(1)
    for _ in range(300):
        n = int(rng.integers(1, 25))
        y, score = rng.random(n) < 0.3, rng.integers(0, 8, n).astype(float)
        score[rng.random(n) < 0.1] = np.nan
        level = rng.choice([0.5, 0.7, 0.9, 1.0])
        ruled_out = [score < cut for cut in (*np.unique(score[np.isfinite(score)]), np.inf)]
        best = max(out.sum() for out in ruled_out if not out.any() or 1 - y[out].mean() >= level)
        assert (score < npv_threshold(y, score, level)).sum() == best


def test_a_threshold_has_not_seen_the_patients_that_it_is_applied_to():
    rng = np.random.default_rng(2)
    y = rng.random(200) < 0.2
    given = cross_validated(y, rng.normal(size=200) + y, folds=2)
    here = given["fold"][0] == 0
    given["logit"] = np.where(here, given["logit"], np.inf)  # none of the others is spared, whatever their threshold
    flipped = y.copy()
    flipped[here] = rng.permutation(y[here])
    counts = resamples(200, seed=0, count=20)
    one, other = (
        rapid_tests_avoided(**given | {"labels": labels}, counts=counts, levels=(0.9,)) for labels in (y, flipped)
    )
    assert [row["avoided"] for row in one] == [row["avoided"] for row in other]
    assert one[0]["npv_reached"] != other[0]["npv_reached"]
    apparent = rapid_tests_avoided(flipped, given["logit"], None, given["fold"], counts, levels=(0.9,))
    assert apparent[0]["avoided"] != other[0]["avoided"]


def test_noise_spares_few_and_reaches_no_more_than_everybody_has():
    rng = np.random.default_rng(3)
    reached, avoided = [], []
    for seed in range(40):
        y = rng.random(300) < 0.15
        row = rapid_tests_avoided(
            **cross_validated(y, rng.normal(size=300), seed=seed), counts=resamples(300, seed=0, count=20)
        )[-1]
        avoided.append(row["avoided"]["value"])
        if row["avoided"]["value"]:
            reached.append(row["npv_reached"]["value"] - row["one_minus_prevalence"])
    assert np.mean(avoided) < 0.15
    assert np.mean(reached) == pytest.approx(0, abs=0.05)


def test_a_level_that_everybody_reaches_is_said_to_mean_nothing_and_all_rows_are_json():
    y = np.arange(200) < 6
    found = rapid_tests_avoided(**cross_validated(y, np.arange(200.0)), counts=resamples(200, seed=0, count=20))
    assert [row["note"] for row in found] == [TRIVIAL, "", ""]
    assert np.isnan(found[0]["avoided"]["value"]) and found[2]["npv"] == pytest.approx(0.985)
    assert json.loads(json.dumps(found))[1]["npv"] == 0.98
    assert (
        rapid_tests_avoided(np.zeros(9, bool), np.zeros((1, 9)), None, np.zeros((1, 9), int), resamples(9, seed=0))
        == []
    )
