"""What ruling out is worth, compared with sequencing everybody."""

from __future__ import annotations

import numpy as np
import pytest

from kras_plugins.evaluation.intervals import resamples
from kras_plugins.evaluation.triage import NOT_SHOWN, RANGE, triage


def ruled(positives, negatives, missed, spared):
    """Patients of whom `missed` positives and `spared` negatives lie below the threshold."""
    y = np.arange(positives + negatives) < positives
    logit = np.ones(len(y))
    logit[:missed] = logit[positives : positives + spared] = -1.0
    npv = {"value": spared / (spared + missed), "low": 0.0, "high": 1.0}
    return y, logit[None], np.zeros((1, len(y))), npv, resamples(len(y), 0)


def test_the_difference_is_what_is_spared_less_what_is_missed():
    given = ruled(20, 80, 2, 50)
    found = triage(*given)
    assert found["ruled_out"]["value"] == pytest.approx(0.52)
    assert found["one_minus_prevalence"] == pytest.approx(0.8)
    for row in found["net_benefit"]:
        # Net benefit of testing the others minus that of testing all (Vickers & Elkin 2006).
        t = row["t"]
        others, everyone = 18 / 100 - 30 / 100 * t / (1 - t), 20 / 100 - 80 / 100 * t / (1 - t)
        assert row["difference"]["value"] == pytest.approx(others - everyone)
        assert row["difference"]["low"] <= row["difference"]["value"] <= row["difference"]["high"]
    assert [row["t"] for row in found["net_benefit"]] == list(RANGE)


def test_a_threshold_that_misses_nobody_is_worth_more_once_the_npv_is_shown():
    *given, npv, counts = ruled(20, 180, 0, 120)
    surely, unsurely = npv | {"low": 0.97}, npv | {"low": 0.89}
    found = triage(*given, surely, counts)
    assert (found["worth_more"], found["worth_from"]) == (True, RANGE[0])
    assert "at least 1%" in found["verdict"]
    # Its lower bound must exceed 1 - prevalence, which sequencing nobody reaches.
    found = triage(*given, unsurely, counts)
    assert not found["worth_more"]
    assert found["verdict"].startswith(NOT_SHOWN)


def test_ruling_out_at_random_is_worth_nothing():
    rng = np.random.default_rng(0)
    shown = 0
    for i in range(100):
        y = rng.random(300) < 0.15
        out = rng.random(300) < 0.4
        hits = int((out & ~y).sum())
        from kras_plugins.evaluation.intervals import wilson

        value, low, high = wilson(hits, int(out.sum()))
        found = triage(
            y, np.where(out, -1.0, 1.0)[None], np.zeros((1, 300)), {"value": value, "low": low, "high": high},
            resamples(300, i, 200),
        )  # fmt: skip
        shown += found["worth_more"]
    assert shown <= 8


def test_without_a_threshold_nothing_is_claimed():
    y = np.arange(10) < 3
    nothing = {"value": np.nan, "low": np.nan, "high": np.nan}
    found = triage(y, np.zeros((1, 10)), np.full((1, 10), np.nan), nothing, resamples(10, 0, 10))
    assert not found["worth_more"]
    assert found["net_benefit"] == []
    assert found["verdict"] == "no threshold could be set"
