"""Subgroups, strata and confounders: analytic cases, and simulations of what is and is not there."""

from __future__ import annotations

import numpy as np
import pytest
from described import people

from kras_plugins.evaluation.auroc import auroc, stratified_auroc
from kras_plugins.evaluation.columns import texts
from kras_plugins.evaluation.confounders import WITHIN, association_p, confounders
from kras_plugins.evaluation.design import Design, one_cohort
from kras_plugins.evaluation.subgroups import interaction_p, subgroups


def test_a_planted_interaction_is_found_and_survives_correction():
    rng = np.random.default_rng(0)
    n = 600
    y, biopsy = rng.random(n) < 0.3, rng.random(n) < 0.5
    score = rng.normal(size=n) + np.where(biopsy, 2.0, 0.0) * y
    rows = subgroups(
        people(n, specimen=np.where(biopsy, "biopsy", "resection"), kras_test=rng.choice(["NGS", "PCR"], n)),
        y.astype(np.int8), score[None], one_cohort(n),
    )  # fmt: skip
    found = {(r["column"], r["level"]): r for r in rows}
    assert found["specimen", "biopsy"]["auroc"]["value"] > 0.85
    assert found["specimen", "biopsy"]["p_holm"] < 0.001
    assert found["kras_test", "NGS"]["p_holm"] > 0.05
    # Two levels of one column are one test: it is counted once, so that two columns make Holm's factor two.
    smallest = found["specimen", "biopsy"]
    assert smallest["p_interaction"] == found["specimen", "resection"]["p_interaction"]
    assert smallest["p_holm"] == pytest.approx(2 * smallest["p_interaction"])


@pytest.mark.parametrize(("area", "positives"), [(0.5, 12), (0.75, 12), (0.75, 40)])
def test_the_interaction_test_has_its_size(area, positives):
    from scipy.stats import norm

    rng = np.random.default_rng(5)
    shift = np.sqrt(2) * norm.ppf(area)
    rejected = []
    for _ in range(1000):
        two = []
        for negatives in (150, 90):
            y = np.arange(positives + negatives) < positives
            two.append(auroc(y, rng.normal(size=len(y)) + shift * y))
        rejected.append(interaction_p(*two) < 0.05)
    assert 0.03 <= np.mean(rejected) <= 0.075


def test_every_level_of_an_assay_stands_against_the_rest_with_areas_of_both_and_their_difference():
    rng = np.random.default_rng(10)
    n = 600
    words = {"TSO 500": "TSO500", "TruSight Oncology 500": "TSO500", "PCR": "PCR", "Oncomine": "Oncomine", "": ""}
    assay, y = rng.choice(list(words), n), rng.random(n) < 0.3
    score = (rng.normal(size=n) + y)[None]
    rows = subgroups(people(n, sequencing_assay=assay), y.astype(np.int8), score, one_cohort(n))
    assert [(r["column"], r["level"]) for r in rows] == [("sequencing_assay", a) for a in ("Oncomine", "PCR", "TSO500")]
    meant = np.array([words[a] for a in assay])
    for row in rows:
        here, rest = meant == row["level"], (meant != row["level"]) & (meant != "")
        one, other = (auroc(y[group], score[0, group]) for group in (here, rest))
        assert (row["n"], row["n_positive"]) == (here.sum(), y[here].sum())
        assert row["auroc"]["value"] == one.value and row["auroc_rest"]["value"] == other.value
        assert row["delta"]["value"] == one.value - other.value
        assert row["delta"]["low"] < row["delta"]["value"] < row["delta"]["high"]
        assert row["p_interaction"] == interaction_p(one, other)


def test_the_interval_of_the_difference_covers():
    from scipy.stats import norm

    rng, covered = np.random.default_rng(11), []
    areas = (0.85, 0.65)
    for _ in range(600):
        level = np.repeat(["biopsy", "resection"], [110, 160])
        y = np.concatenate([np.arange(110) < 14, np.arange(160) < 20])
        shift = np.where(level == "biopsy", *(np.sqrt(2) * norm.ppf(a) for a in areas))
        score = rng.normal(size=270) + shift * y
        rows = subgroups(people(270, specimen=level), y.astype(np.int8), score[None], one_cohort(270), ["specimen"])
        covered.append(rows[0]["delta"]["low"] <= areas[0] - areas[1] <= rows[0]["delta"]["high"])
    assert 0.93 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize(
    ("column", "said", "meant"),
    [
        ("specimen", "Lobectomy", "resection"), ("specimen", "wedge resection", "resection"),
        ("specimen", "surgical biopsy", "biopsy"), ("specimen", "CT-guided core needle", "biopsy"),
        ("specimen", "fine needle aspirate", "cytology"), ("specimen", "EBUS-TBNA", "cytology"),
        ("specimen", "pleural effusion, cell block", "cytology"), ("specimen", "frozen", "frozen"),
        ("specimen", "resection+core biopsy", "resection+biopsy"), ("specimen", "biopsy+core biopsy", "biopsy"),
        ("specimen_type", "Resektat", "resection"), ("method_of_sample_procurement", "Bronchoscopic biopsy", "biopsy"),
        ("kras_test", "TSO-500", "TSO500"), ("kras_test", "Illumina TruSight Oncology 500", "TSO500"),
        ("ngs_panel", "tso500", "TSO500"), ("kras_test", "PCR", "PCR"), ("scanner", "core", "core"),
    ],
)  # fmt: skip
def test_specimens_and_assays_are_read_however_they_are_written(column, said, meant):
    assert texts(people(1, **{column: [said]}), column) == [meant]


def test_a_column_that_groups_patients_as_an_earlier_one_is_not_shown_twice():
    rng = np.random.default_rng(12)
    n = 400
    said = rng.choice(["biopsy", "resection"], n)
    y, score = (rng.random(n) < 0.4).astype(np.int8), rng.normal(size=(1, n))
    twice = people(n, specimen=said, sample_type=[f"surgical {s}" if s == "resection" else s for s in said])
    assert {r["column"] for r in subgroups(twice, y, score, one_cohort(n))} == {"specimen"}
    given = subgroups(twice, y, score, one_cohort(n), ["specimen", "sample_type"])
    assert {r["column"] for r in given} == {"specimen", "sample_type"}


def test_numbers_are_cut_in_thirds_and_unknown_is_no_level():
    rng = np.random.default_rng(2)
    n = 300
    age = np.where(rng.random(n) < 0.1, "", rng.normal(60, 10, n).round(1).astype(str))
    rows = subgroups(
        people(n, age=age), (rng.random(n) < 0.4).astype(np.int8), rng.normal(size=(1, n)), one_cohort(n), ["age"]
    )
    assert len(rows) == 3
    assert sum(r["n"] for r in rows) == np.sum(age != "")
    assert max(r["n"] for r in rows) - min(r["n"] for r in rows) < 8


def test_a_score_that_only_tells_the_site_is_half_within_it():
    rng = np.random.default_rng(3)
    n = 500
    site = rng.integers(0, 5, n)
    y = rng.random(n) < 0.1 + 0.15 * site
    score = site[None].astype(float)
    assert auroc(y, score).value > 0.7
    assert stratified_auroc(y, score, one_cohort(n), site.astype(str)).value == 0.5


def test_the_area_within_strata_is_the_pair_weighted_mean_of_their_areas():
    rng = np.random.default_rng(4)
    n = 200
    level, y = rng.choice(["a", "b", ""], n), rng.random(n) < 0.4
    score, fold = rng.normal(size=(2, n)) + y, np.stack([rng.permutation(n) % 3 for _ in range(2)])
    ordered = pairs = 0.0
    for s, f in zip(score, fold, strict=True):
        for i in np.flatnonzero(y):
            other = ~y & (level == level[i]) & (f == f[i]) & (level != "")
            if level[i]:
                ordered, pairs = ordered + (s[i] > s[other]).sum(), pairs + other.sum()
    assert stratified_auroc(y, score, Design(fold), level).value == pytest.approx(ordered / pairs)


def test_one_stratum_is_the_plain_area_with_its_interval():
    rng = np.random.default_rng(6)
    y = rng.random(150) < 0.3
    score = rng.normal(size=(1, 150)) + y
    plain, within = auroc(y, score), stratified_auroc(y, score, one_cohort(150), np.full(150, "all"))
    assert (within.value, within.low, within.high) == pytest.approx((plain.value, plain.low, plain.high))


def test_the_interval_within_strata_covers():
    rng = np.random.default_rng(7)
    level = np.repeat(["a", "b", "c"], [60, 90, 30])
    rate, offset = np.repeat([0.15, 0.3, 0.5], [60, 90, 30]), np.repeat([0, 1.0, 3.0], [60, 90, 30])
    covered = []
    for _ in range(400):
        y = rng.random(180) < rate
        found = stratified_auroc(y, (rng.normal(size=180) + offset + 0.9539 * y)[None], one_cohort(180), level)
        covered.append(found.low <= 0.75 <= found.high)
    assert 0.92 <= np.mean(covered) <= 0.985


def test_association_is_fishers_chi_squared_or_mann_whitneys():
    from scipy import stats

    y = np.arange(40) < 15
    two = ["m" if i % 3 else "f" for i in range(40)]
    table = [[sum((t == g) & v for t, v in zip(two, c, strict=True)) for c in (y, ~y)] for g in ("f", "m")]
    assert association_p(y, two) == pytest.approx(stats.fisher_exact(table).pvalue)
    age = [str(50 + (7 * i) % 31) for i in range(40)]
    x = np.array(age, float)
    assert association_p(y, [*age[:-1], ""]) == pytest.approx(
        stats.mannwhitneyu(x[:-1][y[:-1]], x[:-1][~y[:-1]]).pvalue
    )
    assert np.isnan(association_p(y, ["m"] * 40))


def test_a_confounder_is_unmasked_and_labels_in_disguise_are_not_listed():
    rng = np.random.default_rng(9)
    n = 600
    wild = rng.random(n) < 0.7
    y = (rng.random(n) < np.where(wild, 0.35, 0.02)).astype(np.int8)
    score = (wild * 2 + rng.normal(size=n) * 0.5)[None]  # only tells EGFR
    gene = np.where(rng.random(n) < 0.1, "NS", np.where(wild, "WT", "p.L858R"))
    patients = people(
        n, EGFR=gene, kras_hgvsp=np.where(y > 0, "p.G12C", ""), os_time=np.arange(n), histology=["LUAD"] * n
    )
    rows = confounders(patients, y, score, one_cohort(n), np.ones(n, bool))
    assert {r["factor"] for r in rows} == {"EGFR"}
    found = {r["level"]: r for r in rows}
    assert set(found) == {"WT", "mutated", "unknown", WITHIN}
    assert found["WT"]["p_association"] < 1e-6
    within = found[WITHIN]
    assert within["auroc"]["low"] < 0.5 < within["auroc"]["high"]
    assert auroc(y, score).value > 0.65
    assert within["luad_auroc"]["value"] == within["auroc"]["value"]
    assert found["unknown"]["n"] == np.sum(gene == "NS")
