"""Clinical, til_only and site_only: what they find, and that a test fold's labels reach none of its scores."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from scipy.special import logit as logit_of
from sklearn.linear_model import LogisticRegression

from kras_plugins import SlideRef
from kras_plugins.cohort.table import Patient
from kras_plugins.errors import ConfigError
from kras_plugins.evaluation.auroc import auroc
from kras_plugins.evaluation.baselines import (
    CLINICAL,
    SITE_ONLY,
    TIL_ONLY,
    Known,
    apply_baselines,
    baseline_scores,
    frozen_baselines,
    why_absent,
)
from kras_plugins.evaluation.columns import clinical_columns, levels, numbers, texts
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.logistic import apply_logistic, fit_logistic
from kras_plugins.evaluation.lymphocytes import til_feature
from kras_plugins.evaluation.thresholds import choose_thresholds


def cohort(n=400, seed=0, effect=1.5):
    """Sex, age, lymphocytes and site are all associated with the label; one value in ten is unknown."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.3

    def hidden(values):
        return np.where(rng.random(n) < 0.1, "", values).tolist()

    known = Known(
        histology=np.where(rng.random(n) < 0.6, "LUAD", "LUSC").tolist(),
        site=[f"T{int(i)}" for i in rng.integers(0, 4, n) + 4 * (y & (rng.random(n) < effect / 3))],
        clinical={
            "sex": hidden(np.where(rng.random(n) < 0.35 + 0.3 * y, "female", "male")),
            "age": hidden((60 + 8 * rng.normal(size=n) + 6 * effect * y).round(1).astype(str)),
        },
        til=np.where(rng.random(n) < 0.1, np.nan, np.exp(rng.normal(size=n) - effect * y)),
        til_name="til_ta",
    )
    fold = np.stack([rng.permutation(n) % 5 for _ in range(2)])
    return y.astype(np.int8), known, fold


@cache
def scored(y: bytes, seed=0):
    """Every baseline's scores for these labels (int8) on the cohort of this seed, computed once for all tests."""
    _, known, fold = cohort(seed=seed)
    return baseline_scores(np.frombuffer(y, np.int8), known, fold)


@pytest.mark.parametrize("name", [CLINICAL, TIL_ONLY, SITE_ONLY])
def test_each_finds_what_was_planted_whatever_its_direction(name):
    y, _, fold = cohort()
    assert auroc(y, scored(y.tobytes())[name].ranking, Design(fold)).value > 0.65


@pytest.mark.parametrize("name", ["prevalence", "histology_only", CLINICAL, TIL_ONLY, SITE_ONLY])
def test_labels_of_a_test_fold_change_neither_its_scores_nor_its_thresholds(name):
    y, _, fold = cohort()
    rng = np.random.default_rng(1)
    before = scored(y.tobytes())[name]
    for k in (0, 3):
        test = fold[0] == k
        other = y.copy()
        other[test] = rng.permutation(1 - y[test])
        after = scored(other.tobytes())[name]
        np.testing.assert_array_equal(after.logit[0, test], before.logit[0, test])
        np.testing.assert_array_equal(after.inner[0, k], before.inner[0, k])
        for rule, threshold in before.thresholds.items():
            np.testing.assert_array_equal(after.thresholds[rule][0, test], threshold[0, test])
        assert not np.array_equal(after.logit[0, ~test], before.logit[0, ~test])


@pytest.mark.parametrize("name", [CLINICAL, TIL_ONLY, SITE_ONLY])
def test_a_leak_planted_in_the_fit_is_seen_by_that_test(name, monkeypatch):
    """A baseline fitted on everyone must fail it, or it proves nothing."""
    from kras_plugins.evaluation import baselines

    y, known, fold = cohort()
    kept = baselines._BASELINES[name]
    leaky = baselines._Baseline(fit=lambda _y, _known: kept.fit(everyone > 0, known), logit=kept.logit)
    monkeypatch.setitem(baselines._BASELINES, name, leaky)
    everyone = y
    before = baseline_scores(y, known, fold)[name]
    test = fold[0] == 0
    everyone = np.where(test, 1 - y, y)
    after = baseline_scores(everyone, known, fold)[name]
    assert not np.array_equal(after.logit[0, test], before.logit[0, test])


@pytest.mark.parametrize("name", [CLINICAL, TIL_ONLY, SITE_ONLY])
def test_a_patients_own_label_is_not_in_the_scores_that_set_thresholds(name):
    y, _, fold = cohort()
    before = scored(y.tobytes())[name].inner
    i = int(np.flatnonzero(fold[0] == 2)[0])
    other = y.copy()
    other[i] = 1 - other[i]
    after = scored(other.tobytes())[name].inner
    np.testing.assert_array_equal(after[0, 0][fold[0] == 2], before[0, 0][fold[0] == 2])


@pytest.mark.parametrize("name", [CLINICAL, TIL_ONLY])
def test_without_a_signal_they_know_nothing(name):
    areas = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        _, _, fold = cohort(seed=seed)
        y = rng.permutation(np.arange(400) % 4 == 0).astype(np.int8)
        areas.append(auroc(y, scored(y.tobytes(), seed)[name].ranking, Design(fold)).value)
    assert np.mean(areas) == pytest.approx(0.5, abs=0.04)


def test_site_only_is_absent_where_no_site_is_on_both_sides_and_says_so():
    y, known, _ = cohort()
    whole = np.array([int(s[1:]) % 5 for s in known.site])[None]
    assert SITE_ONLY not in baseline_scores(y, known, whole)
    assert any(
        "No site_only" in note and "training part" in note for note in why_absent(known, whole, np.ones(len(y), bool))
    )
    nowhere = Known(histology=known.histology)
    assert set(baseline_scores(y, nowhere, whole)) == {"prevalence", "histology_only"}
    assert any("fewer than two sites" in note for note in why_absent(nowhere, whole, np.ones(len(y), bool)))


def test_a_site_of_one_negative_does_not_rank_above_one_of_many():
    rates = frozen_baselines([0] * 50 + [1] * 5 + [0], Known(histology=[""] * 56, site=["A"] * 55 + ["B"]), [SITE_ONLY])
    assert rates[SITE_ONLY]["B"] < rates[SITE_ONLY]["A"]


def test_frozen_baselines_are_json_and_score_like_the_fitted_ones():
    y, known, fold = cohort()
    names = list(baseline_scores(y, known, fold))
    frozen = json.loads(json.dumps(frozen_baselines(y, known, names), allow_nan=False))
    thresholds = {name: choose_thresholds(y, np.linspace(-2, 2, len(y))) for name in names}
    found = apply_baselines(frozen, known, thresholds)
    assert set(found) == set(names)
    told = {"til": ["" if np.isnan(t) else repr(t) for t in known.til.tolist()]}
    direct = apply_logistic(fit_logistic(y > 0, told), told, len(y))
    np.testing.assert_allclose(found[TIL_ONLY].logit[0], direct)
    assert found[CLINICAL].thresholds["youden"].shape == (1, len(y))


def test_elsewhere_a_baseline_without_its_inputs_is_left_out():
    y, known, fold = cohort()
    frozen = frozen_baselines(y, known, list(baseline_scores(y, known, fold)))
    other = Known(histology=known.histology, site=["X"] * len(y), clinical={"sex": [""] * len(y)})
    assert set(apply_baselines(frozen, other, {})) == {"prevalence", "histology_only"}


def test_the_logistic_regression_is_scikit_learns_on_the_columns_it_says():
    rng = np.random.default_rng(3)
    x = rng.normal(size=200)
    y = rng.random(200) < 1 / (1 + np.exp(-x))
    frozen = fit_logistic(y, {"x": [repr(float(v)) for v in x]})
    z = ((x - x.mean()) / x.std())[:, None]
    model = LogisticRegression(C=1.0).fit(z, y)
    np.testing.assert_allclose(
        apply_logistic(frozen, {"x": [repr(float(v)) for v in x]}, 200), model.decision_function(z), atol=1e-4
    )


def test_unknown_numbers_take_the_median_and_unknown_words_are_a_level():
    y = np.arange(60) % 3 == 0
    columns = {"age": [str(50 + i) for i in range(60)], "stage": ["I"] * 30 + [""] * 30}
    frozen = fit_logistic(y, columns)
    at = apply_logistic(frozen, {"age": ["", "79.5"], "stage": ["I", "I"]}, 2)
    assert at[0] == pytest.approx(at[1])
    assert frozen["encoders"][1]["levels"] == ["", "I"]
    new = apply_logistic(frozen, {"age": ["60", "60"], "stage": ["never seen", "also"]}, 2)
    assert new[0] == new[1]


def test_one_class_in_training_leaves_a_smoothed_rate():
    frozen = fit_logistic(np.zeros(9, bool), {"sex": ["m", "f", "m"] * 3})
    np.testing.assert_allclose(apply_logistic(frozen, {"sex": ["m", "f"]}, 2), logit_of(0.5 / 10))


def person(i=0, **covariates):
    slides = (SlideRef(patient_id=f"p{i}", slide_id=f"s{i}"),)
    return Patient(patient_id=f"p{i}", slides=slides, label=i % 2, covariates=covariates)


TOLD = {
    "sex": "m", "age": "60", "Stage": "IIA", "smoking_status": "never", "EGFR": "WT", "kras_hgvsp": "p.G12C",
    "kras_driver": "1", "os_time": "300", "vital_status": "alive", "case_id": "x", "pack_years": "10", "cohort": "a",
}  # fmt: skip


def test_clinical_columns_are_known_by_name_and_never_mutations_outcomes_or_labels():
    other = {k: v + "1" for k, v in TOLD.items()} | {"Stage": "Stage III"}
    assert clinical_columns([person(0, **TOLD), person(1, **other)], None) == [
        "sex", "age", "Stage", "smoking_status", "pack_years",
    ]  # fmt: skip
    assert clinical_columns([person(0, **TOLD), person(1, **TOLD)], None) == []  # one value carries no information


@pytest.mark.parametrize("name", ["EGFR", "kras_hgvsp", "kras_driver", "os_time", "vital_status", "case_id", "absent"])
def test_what_is_no_clinical_covariate_cannot_be_declared_one(name):
    with pytest.raises(ConfigError, match=name):
        clinical_columns([person(0, **TOLD)], [name])


def test_levels_are_words_or_thirds_of_numbers():
    gene = ["WT", "p.L858R", "NS", "WT", "G12D", "WT", ""]
    stage = ["Stage IIA", "IIB", "III", "[Not Available]", "iv", "I", "X"]
    people = [person(i, purity=str(i / 10), gene=gene[i], ajcc_stage=stage[i]) for i in range(7)]
    assert texts(people, "gene") == ["WT", "mutated", "", "WT", "mutated", "WT", ""]
    assert texts(people, "ajcc_stage") == ["II", "II", "III", "", "IV", "I", "X"]
    names, own = levels(texts(people, "purity"))
    assert names == ["≤ 0.2", "> 0.2 to 0.4", "> 0.4"]
    assert own.tolist() == [names[0]] * 3 + [names[1]] * 2 + [names[2]] * 2
    assert numbers(["1", "", "2"]) is None  # codes of levels
    assert np.isnan(numbers(["1", "", "2", "3", "4", "5"])[1])


def test_the_lymphocyte_density_is_found_in_ours_and_in_the_shared_table(shared_data):
    import gzip

    with gzip.open(shared_data / "tcga" / "hif_luad.csv.gz", "rt", encoding="utf-8-sig") as f:
        header = [name.removesuffix("_HE") for name in f.readline().strip().split(",")]
    assert til_feature(header) == "DENSITY [LYMPHOCYTE CELLS] IN [TUMOR]"
    assert til_feature(["area_ce", "til_ta", "DENSITY [LYMPHOCYTE CELLS] IN [TUMOR]"]) == "til_ta"
    assert til_feature(["utility density", "til_density", "tils_per_mm2_stroma"]) == "til_density"
    assert til_feature(["COUNT PROP [LYMPHOCYTE CELLS]", "DENSITY RATIO [LYMPHOCYTE CELLS] IN X"]) is None
    with pytest.raises(ConfigError, match="til_feature"):
        til_feature(header, "nothing")
