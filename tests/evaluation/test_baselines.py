from __future__ import annotations

import csv

import numpy as np
import pytest
from scipy.special import expit

from kras_plugins.evaluation.auroc import auroc
from kras_plugins.evaluation.baselines import (
    Known,
    apply_baselines,
    baseline_scores,
    fit_rates,
    frozen_baselines,
)
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.histology import is_adenocarcinoma


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("LUAD", True), ("adenocarcinoma", True), ("Lung Adenocarcinoma, mucinous", True), ("ADC", True),
        ("TCGA-LUAD", True), ("luad_tcga", True), ("Bronchioloalveolar carcinoma", True), ("lepidic", True),
        ("adeno squamous", False), ("Adenoid cystic carcinoma", False), ("NSCLC NOS", False),
        ("LUSC", False), ("squamous", False), ("adenosquamous carcinoma", False), ("large cell", False),
        ("", None), (None, None), ("unknown", None),
    ],
)  # fmt: skip
def test_histology_words_are_understood(word, expected):
    assert is_adenocarcinoma(word) is expected


def mixed(seed=0):
    rng = np.random.default_rng(seed)
    histology = np.where(np.arange(300) < 180, "LUAD", "LUSC")
    y = (rng.random(300) < np.where(histology == "LUAD", 0.2, 0.0)).astype(np.int8)
    fold = np.stack([rng.permutation(300) % 5 for _ in range(2)])
    return y, histology.tolist(), fold


def test_the_rates_of_a_test_fold_are_those_of_its_training_part():
    y, histology, fold = mixed()
    found = baseline_scores(y, Known(histology=histology), fold)
    for r, i in ((0, 3), (1, 250)):
        train = fold[r] != fold[r, i]
        assert expit(found["prevalence"].logit[r, i]) == pytest.approx(y[train].mean())
        alike = train & (np.array(histology) == histology[i])
        assert expit(found["histology_only"].logit[r, i]) == pytest.approx((y[alike].sum() + 0.5) / (alike.sum() + 1))


def test_baselines_rank_by_constants():
    y, histology, fold = mixed()
    found = baseline_scores(y, Known(histology=histology), fold)
    assert auroc(y, found["prevalence"].ranking, Design(fold)).value == 0.5
    within = auroc(y, found["histology_only"].ranking, Design(fold)).value
    negatives = y == 0
    squamous = np.mean(np.array(histology)[negatives] == "LUSC")
    # Every positive is an adenocarcinoma: half of the rest, all of the squamous negatives.
    assert within == pytest.approx(0.5 + squamous / 2, abs=0.01)


def test_within_one_histology_the_baseline_knows_nothing():
    y, histology, fold = mixed()
    luad = np.array(histology) == "LUAD"
    scores = baseline_scores(y, Known(histology=histology), fold)["histology_only"].of(luad)
    assert auroc(y[luad], scores.ranking, Design(fold[:, luad])).value == 0.5


@pytest.mark.parametrize("histology", ["LUAD", ""])
def test_one_histology_or_none_gives_no_histology_baseline(histology):
    y, _, fold = mixed()
    assert set(baseline_scores(y, Known(histology=[histology] * 300), fold)) == {"prevalence"}


def test_none_of_many_is_not_a_probability_of_zero():
    rates = fit_rates([0] * 464, ["other"] * 464)
    assert rates["other"] == pytest.approx(0.5 / 465)


def test_frozen_rates_serve_an_external_cohort_with_unknown_histologies_in_the_middle():
    y, histology, _ = mixed()
    frozen = frozen_baselines(y, Known(histology=histology), ["prevalence", "histology_only"])
    found = apply_baselines(frozen, Known(histology=["LUAD", "LUSC", None]), {"histology_only": {"youden": -2.0}})
    p = expit(found["histology_only"].logit[0])
    assert p[0] > p[2] > p[1]
    assert p[2] == pytest.approx(y.mean())
    assert found["histology_only"].rank.tolist() == [[1.0, 0.0, 0.5]]
    assert found["histology_only"].thresholds["youden"].tolist() == [[-2.0] * 3]
    assert np.isnan(found["prevalence"].thresholds["youden"]).all()
    np.testing.assert_allclose(expit(found["prevalence"].logit), y.mean())


def test_histology_alone_reaches_its_published_area_on_the_labels_of_tcga(shared_data):
    """docs/reference/definitions.md, baselines: 0.757 on 966 patients."""
    with (shared_data / "tcga" / "kras_labels.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 966
    y, histology = np.array([int(r["kras_g12c"]) for r in rows]), [r["DISEASE"] for r in rows]
    fold = np.random.default_rng(0).permutation(len(y))[None] % 5
    found = baseline_scores(y, Known(histology=histology), fold)["histology_only"]
    assert round(auroc(y, found.ranking[0]).value, 3) == 0.757
    assert auroc(y, found.ranking, Design(fold)).value == pytest.approx(0.757, abs=0.01)
