"""What else the score reveals, and what it adds to a clinical model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from described import people

from kras_plugins.evaluation.auroc import auroc
from kras_plugins.evaluation.design import Design, one_cohort
from kras_plugins.evaluation.incremental import incremental, likelihood_ratio
from kras_plugins.evaluation.probes import probes
from kras_plugins.evaluation.scores import Scores


def one(rows, word):
    return next(r for r in rows if r["what"].startswith(word))


def planted(seed, effect, n=400):
    rng = np.random.default_rng(seed)
    y, site = (rng.random(n) < 0.3).astype(np.int8), rng.integers(0, 6, n)
    patients = people(
        n, site=[f"T{s}" for s in site], specimen=np.where(site > 2, "biopsy", "resection"),
        mpp=(0.25 + 0.01 * site + 0.001 * rng.random(n)).round(4),
    )  # fmt: skip
    return patients, y, (rng.normal(size=n) + 2 * y + effect * site)[None]


def test_a_score_that_follows_the_site_is_told_by_every_probe():
    rows = probes(*planted(0, 1.0), one_cohort(400))
    site = one(rows, "site")
    assert site["p"] == pytest.approx(1 / 2000)
    assert site["value"] > 0.4
    biopsy = one(rows, "specimen")
    assert biopsy["statistic"] == "AUROC of resection against biopsy"
    assert biopsy["high"] < 0.2
    assert one(rows, "mpp")["low"] > 0.5


def test_a_score_that_only_knows_the_label_passes_every_probe():
    """Though sites differ in their share of positives, the score does not reveal them once the label is known."""
    p = {"site": [], "specimen": [], "mpp": []}
    value = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        site = rng.integers(0, 6, 200)
        y = (rng.random(200) < 0.1 + 0.12 * site).astype(np.int8)
        patients = people(
            200, site=[f"T{s}" for s in site], specimen=np.where(site > 2, "b", "r"), mpp=0.25 + 0.01 * site
            + 1e-4 * rng.random(200),
        )  # fmt: skip
        rows = probes(patients, y, (rng.normal(size=200) + 2 * y)[None], one_cohort(200))
        for name, found in p.items():
            found.append(one(rows, name)["p"])
        value.append(one(rows, "site")["value"])
    for found in p.values():
        assert np.mean(np.array(found) < 0.05) < 0.15
    assert np.mean(value) == pytest.approx(0, abs=0.01)


def test_within_histology_a_score_that_only_knows_histology_does_not_tell_the_site():
    rng = np.random.default_rng(1)
    n = 400
    luad = rng.random(n) < 0.5
    site = np.where(luad, rng.integers(0, 3, n), rng.integers(3, 6, n))
    y = (luad & (rng.random(n) < 0.3)).astype(np.int8)
    patients = people(n, site=[f"T{s}" for s in site], histology=np.where(luad, "LUAD", "LUSC"))
    rows = probes(patients, y, (rng.normal(size=n) + 3 * luad)[None], one_cohort(n))
    assert one(rows, "site from score, within label")["p"] < 0.01
    assert next(r for r in rows if "label and histology" in r["what"])["p"] > 0.05
    assert len([r for r in rows if r["what"].startswith("histology")]) == 1


def nested(seed, effect, n=300, repeats=2):
    """A baseline and a score in cross-validation, both calibrated; the score knows `effect` beyond the baseline."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.3
    fold = np.stack([rng.permutation(n) % 5 for _ in range(repeats)])
    own = fold[:, None] == np.arange(5)[None, :, None]

    def scores(values):
        inner = np.where(own, np.nan, np.broadcast_to(values, (repeats, 5, n)))
        return Scores(logit=np.broadcast_to(values, (repeats, n)).copy(), inner=inner)

    base = rng.normal(size=n) + 1.0 * y - 1.3
    return y, fold, scores(rng.normal(size=n) + effect * y), scores(base)


def test_a_score_that_adds_is_found_to_add():
    y, fold, score, base = nested(0, 1.5)
    (row,) = incremental(y, Design(fold), {"he": score}, {"clinical": base}, ["histology", "sex"], "all")
    assert row["delta_auroc"]["low"] > 0
    assert row["p"] < 1e-6
    assert row["over"] == ["histology", "sex"]
    assert row["auroc_with"]["value"] - row["auroc_base"]["value"] == pytest.approx(row["delta_auroc"]["value"])


def test_a_baseline_that_nothing_was_fitted_for_has_one_interval_wherever_it_stands():
    y, fold, score, base = nested(0, 1.5)
    base = replace(base, fitted=False)
    design = Design(fold, fitted=5)
    (row,) = incremental(y, design, {"he": score}, {"histology_only": base}, ["histology"], "all")
    alone = auroc(y, base.within_folds, design.unfitted())
    assert row["auroc_base"] == {"value": alone.value, "low": alone.low, "high": alone.high}


def test_noise_adds_nothing_and_takes_nothing():
    rows = [
        incremental(y, Design(fold), {"he": score}, {"clinical": base}, ["histology"], "all")[0]
        for y, fold, score, base in (nested(seed, 0.0, n=200, repeats=1) for seed in range(150))
    ]
    assert 0.015 <= np.mean([r["p"] < 0.05 for r in rows]) <= 0.10
    assert np.mean([r["delta_auroc"]["value"] for r in rows]) == pytest.approx(0, abs=0.006)
    assert np.mean([(r["p_delta"] or 1) < 0.05 for r in rows]) <= 0.08


def test_a_score_that_runs_against_the_label_has_a_small_p_that_is_told_to_be_no_gain():
    y, fold, score, base = nested(0, 1.5)
    turned = replace(score, logit=-score.logit, inner=-score.inner)
    for one, says in ((score, False), (turned, True)):
        (row,) = incremental(y, Design(fold), {"he": one}, {"clinical": base}, ["histology"], "all")
        assert row["p"] < 1e-6
        assert ("does not show a gain" in row["note"]) is says is (row["coefficient"] < 0)
    assert row["delta_auroc"]["value"] == 0


def test_labels_of_a_fold_do_not_weigh_the_score_that_is_applied_to_it():
    from kras_plugins.evaluation.incremental import _cross_fitted

    y, fold, score, base = nested(3, 1.0)
    other = y.copy()
    test = fold[0] == 1
    other[test] = ~other[test]
    before, after = (_cross_fitted(labels, fold, base, score, True) for labels in (y, other))
    np.testing.assert_array_equal(after[0, test], before[0, test])
    assert not np.array_equal(after[0, ~test], before[0, ~test])


def test_the_likelihood_ratio_is_statsmodels():
    import statsmodels.api as sm

    y, _, score, base = nested(2, 0.4)
    a, b = base.logit[0], score.logit[0]
    small = sm.Logit(y, sm.add_constant(a)).fit(disp=0)
    large = sm.Logit(y, sm.add_constant(np.stack([a, b], 1))).fit(disp=0)
    from scipy.stats import chi2

    p, slope = likelihood_ratio(y, a, b)
    assert p == pytest.approx(chi2.sf(2 * (large.llf - small.llf), 1), rel=1e-3)
    assert slope == pytest.approx(large.params[2] * b.std(), rel=1e-3)


def test_an_external_cohort_fits_the_weight_in_its_own_folds():
    y, _, score, base = nested(4, 1.5)
    frozen = [Scores(logit=s.logit[:1]) for s in (score, base)]
    (row,) = incremental(y, one_cohort(len(y)), {"he": frozen[0]}, {"histology_only": frozen[1]}, ["histology"], "all")
    assert row["over"] == ["histology"]
    assert "of this cohort" in row["note"]
    assert row["delta_auroc"]["low"] > 0
