from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import auc, roc_auc_score

from kras_plugins import SlideRef
from kras_plugins.cohort.table import Patient
from kras_plugins.evaluation.baselines import Known, apply_baselines, baseline_scores, frozen_baselines
from kras_plugins.evaluation.evaluated import Evaluated
from kras_plugins.evaluation.rows import patient_scores
from kras_plugins.evaluation.scope import out_of_scope
from kras_plugins.evaluation.scores import Scores
from kras_plugins.evaluation.summary import summarize
from kras_plugins.evaluation.thresholds import RULES, choose_thresholds, constant_thresholds, fold_thresholds
from kras_plugins.report.curves import complete_rows, mean_roc, score_columns


def patients(n=240, seed=0):
    rng = np.random.default_rng(seed)
    histology = np.where(np.arange(n) % 3 == 0, "LUSC", "LUAD").tolist()
    labels = ((rng.random(n) < 0.35) & (np.array(histology) == "LUAD")).astype(np.int8)
    people = [
        Patient(
            patient_id=f"p{i}", slides=tuple(SlideRef(patient_id=f"p{i}", slide_id=f"s{i}{c}") for c in "ab"),
            label=int(labels[i]), site=f"T{i % 4}", histology=histology[i],
            specimen="biopsy" if i % 2 else "resection", kras_test="NGS", covariates={},
        )
        for i in range(n)
    ]  # fmt: skip
    return people, labels, rng


def evaluated(n=240, repeats=2, missing=()):
    """A cross-validation of two members whose inner scores are drawn like their outer ones."""
    people, y, rng = patients(n)
    fold = np.stack([rng.permutation(n) % 5 for _ in range(repeats)])
    logit, inner = {}, {}
    for name, signal in (("he", 1.0), ("rf", 0.7)):
        one = rng.normal(size=(repeats, 5, n)) * 0.8 + signal * y - 1
        own = fold[:, None] == np.arange(5)[None, :, None]
        logit[name] = np.where(own, one, 0).sum(axis=1)
        inner[name] = np.where(own, np.nan, one)
    logit["rf"][:, list(missing)] = np.nan
    inner["rf"][:, :, list(missing)] = np.nan
    mean = (logit["he"] + logit["rf"]) / 2
    outside = outside_of(people)
    scope = np.array([not reason for reason in outside])
    for one in inner.values():
        one[:, :, ~scope] = np.nan
    ensemble = Scores(logit=mean, thresholds=fold_thresholds(y, (inner["he"] + inner["rf"]) / 2, fold))
    return Evaluated(
        patients=people,
        labels=y,
        fold=fold,
        members={m: Scores(logit=logit[m], thresholds=fold_thresholds(y, inner[m], fold)) for m in logit},
        ensemble=ensemble,
        available=Scores(logit=np.where(np.isnan(mean), logit["he"], mean)),
        baselines={
            name: replace(s, thresholds=fold_thresholds(y, s.inner, fold))
            for name, s in baseline_scores(y, Known(histology=[p.histology for p in people]), fold, scope).items()
        },
        out_of_scope=outside,
        frozen={"ensemble": choose_thresholds(y[scope], mean[0, scope])},
        fitted=5,
    )


def outside_of(people):
    return [out_of_scope(p.histology, None) for p in people]


def summary(scored, **options):
    return summarize(scored, target="g12c", cohort_flow={"patients": len(scored.labels)}, **options)


MODELS = ["he", "rf", "ensemble", "prevalence"]
ENTRY = {
    "n", "n_positive", "auroc", "auprc", "brier", "calibration_slope", "calibration_intercept", "calibration",
    "operating_points",
}  # fmt: skip
CALIBRATION = {
    "brier", "scaled_brier", "slope", "intercept", "in_the_large", "ece", "ece_if_calibrated", "spiegelhalter_p",
    "reliability",
}  # fmt: skip
ESTIMATE = {"value", "low", "high"}


def test_metrics_have_the_whole_schema_of_the_design():
    metrics = summary(evaluated(), notes=["from the experiment"], gate="histology only")
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert (metrics["schema_version"], metrics["target"], metrics["unit"]) == (2, "g12c", "patient")
    assert metrics["cohort_flow"] == {"patients": 240}
    assert metrics["scope"] == {
        "n": 160, "n_positive": metrics["n_positive"], "out_of_scope": {"squamous": 80}, "unknown_histology": 0,
        "histologies": {"LUAD": "adenocarcinoma", "LUSC": "squamous"}, "gate": "histology only",
    }  # fmt: skip
    assert list(metrics["all_patients_pooled"]) == [*MODELS, "histology_only"]
    for entry in metrics["all_patients_pooled"].values():
        assert set(entry) == {"n", "n_positive", "auroc", "auprc"}
        assert entry["n"] == 240
    for table in ("models", "luad_only", "non_squamous"):
        assert list(metrics[table]) == MODELS
        for entry in metrics[table].values():
            assert set(entry) >= ENTRY
            assert set(entry["auroc"]) >= {*ESTIMATE, "method", "fold_mean", "se", "inflation", "by_site"}
            assert set(entry["auprc"]) == {*ESTIMATE, "lift"}
            assert set(entry["calibration"]) == CALIBRATION
            assert entry["brier"] == entry["calibration"]["brier"]["value"]
            assert entry["calibration_slope"] == entry["calibration"]["slope"]["value"]
            assert sum(point["n"] for point in entry["calibration"]["reliability"]) == pytest.approx(entry["n"], abs=5)
            assert tuple(entry["operating_points"]) == RULES
            for point in entry["operating_points"].values():
                assert set(point) == {
                    "threshold", "sensitivity", "specificity", "ppv", "npv", "lr_pos", "lr_neg", "flagged",
                    "number_needed_to_test", "at_prevalence", "provenance",
                }  # fmt: skip
                assert all(set(point[k]) == ESTIMATE for k in ("sensitivity", "specificity", "ppv", "npv"))
    for row in metrics["confounders"]:
        assert set(row) >= {"factor", "level", "n", "n_positive", "auroc", "note", "p_association"}
    for row in metrics["subgroups"]:
        compared = {"auroc_rest", "delta", "p_interaction", "p_holm"}
        assert set(row) == {"column", "level", "n", "n_positive", "auroc", "note", *compared}
    for row in metrics["probes"]:
        assert set(row) == {"what", "n", "statistic", "value", "low", "high", "p", "note"}
    for row in metrics["incremental"]:
        assert {"model", "over", "n", "n_positive", "auroc_base", "auroc_with", "delta_auroc", "p", "note"} <= set(row)
    assert metrics["notes"][0] == "from the experiment"
    assert any("Research use only" in note for note in metrics["notes"])


def test_numbers_stand_within_folds_and_first_in_scope():
    scored = evaluated()
    metrics = summary(scored)
    luad = np.array([p.histology == "LUAD" for p in scored.patients])
    for table, here in (("models", luad), ("luad_only", luad), ("all_patients_pooled", luad | True)):
        folds = [
            roc_auc_score(scored.labels[(f == k) & here], s[(f == k) & here])
            for f, s in zip(scored.fold, scored.ensemble.logit, strict=True)
            for k in range(5)
        ]
        entry = metrics[table]["ensemble"]
        assert entry["auroc"]["value"] == pytest.approx(np.mean(folds))
        assert entry["auroc"]["fold_mean"] == entry["auroc"]["value"]
        assert "Nadeau & Bengio" in entry["auroc"]["method"]
        assert entry["auroc"]["inflation"] == pytest.approx(1.5)
        assert entry["n"] == here.sum()
    # Among all patients histology alone is informative; in scope it is not, and is absent.
    assert metrics["all_patients_pooled"]["histology_only"]["auroc"]["value"] > 0.6
    assert metrics["all_patients_pooled"]["histology_only"]["auroc"]["inflation"] == 1
    assert "histology_only" not in metrics["models"]


def test_the_ensemble_is_compared_with_each_member_and_histology_with_holms_correction():
    metrics = summary(evaluated())
    rows = metrics["comparisons"]
    assert [(r["a"], r["b"]) for r in rows] == [("ensemble", b) for b in ("he", "rf", "histology_only")]
    assert [r["population"] for r in rows] == ["in_scope", "in_scope", "all_patients"]
    for r in rows:
        table = metrics["models" if r["population"] == "in_scope" else "all_patients_pooled"]
        a, b = (table[r[k]]["auroc"]["value"] for k in "ab")
        assert r["delta"] == pytest.approx(a - b)
        assert r["low"] < r["delta"] < r["high"]
        assert (r["p"] < 0.05) == (r["low"] > 0 or r["high"] < 0)
        assert r["p"] <= r["p_holm"] <= min(1, 3 * r["p"] + 1e-12) or r["p_holm"] == max(x["p_holm"] for x in rows)


def test_other_baselines_are_compared_beside_holms_correction():
    scored = evaluated()
    til = Scores(logit=scored.members["rf"].logit - scored.members["he"].logit)
    metrics = summary(replace(scored, baselines={**scored.baselines, "til_only": til}))
    rows = {r["b"]: r for r in metrics["comparisons"]}
    assert list(rows) == ["he", "rf", "til_only", "histology_only"]
    assert rows["til_only"]["p"] is not None
    assert rows["til_only"]["p_holm"] is None
    assert "Holm" in rows["til_only"]["note"]
    before = {r["b"]: r["p_holm"] for r in summary(scored)["comparisons"]}
    assert {b: rows[b]["p_holm"] for b in before} == before


def test_comparisons_say_what_they_could_have_found_and_the_difference_in_precision():
    scored = evaluated()
    metrics = summary(scored)
    for r in metrics["comparisons"]:
        # 95 % half-width is about 1.98 standard errors; 80 % power needs 2.80.
        assert r["minimum_detectable"] == pytest.approx((r["high"] - r["low"]) / 2 * 2.8016 / 1.98, rel=0.02)
        table = metrics["models" if r["population"] == "in_scope" else "all_patients_pooled"]
        a, b = (table[r[k]]["auprc"]["value"] for k in "ab")
        assert r["delta_auprc"]["value"] == pytest.approx(a - b)
        assert r["delta_auprc"]["low"] < r["delta_auprc"]["value"] < r["delta_auprc"]["high"]
    assert metrics["power"]["n_positive"] == metrics["n_positive"]
    assert 0.5 < metrics["power"]["auroc_detectable"] < 0.75


def test_other_prevalences_reach_every_table_and_the_decision_curves():
    metrics = summary(evaluated(), prevalences=(0.05, 0.13))
    for table in ("models", "luad_only"):
        for entry in metrics[table].values():
            for point in entry["operating_points"].values():
                assert [row["prevalence"] for row in point["at_prevalence"]] == [0.05, 0.13]
    curves = metrics["decision_curves"]
    assert list(curves["models"]) == MODELS
    assert len(curves["thresholds"]) == len(curves["test_all"]) == len(curves["models"]["he"]) == 30
    assert [c["prevalence"] for c in curves["at_prevalence"]] == [0.05, 0.13]
    assert summary(evaluated())["decision_curves"]["at_prevalence"] == []


def test_where_a_threshold_comes_from_is_told_with_it():
    scored = evaluated()
    told = replace(scored.ensemble, provenance={"youden": "chosen on training patients"})
    points = summary(replace(scored, ensemble=told))["models"]["ensemble"]["operating_points"]
    assert points["youden"]["provenance"] == "chosen on training patients"


def test_small_subgroups_are_listed_without_an_area():
    scored = evaluated()
    scored.patients[:9] = [replace(p, specimen="cytology") for p in scored.patients[:9]]
    rows = {(r["column"], r["level"]): r for r in summary(scored)["subgroups"]}
    assert ("histology", "LUSC") not in rows  # out of scope
    assert rows["specimen", "cytology"]["n"] == 6
    assert rows["specimen", "cytology"]["auroc"] is None
    assert "fewer than 5" in rows["specimen", "cytology"]["note"]
    biopsy = rows["specimen", "biopsy"]
    assert biopsy["auroc"]["low"] < biopsy["auroc"]["value"] < biopsy["auroc"]["high"]
    assert not any(column == "kras_test" for column, _ in rows)  # one level is not a subgroup
    assert sum(r["n"] for (column, _), r in rows.items() if column == "site") == 160


def test_patients_without_a_member_leave_the_main_table_and_enter_the_second():
    metrics = summary(evaluated(missing=(1, 2, 5)))
    assert metrics["n"] == 160 - 3
    assert {m["n"] for m in metrics["models"].values()} == {157}
    assert {m["n"] for m in metrics["all_patients_pooled"].values()} == {237}
    everyone = metrics["any_member"]
    assert {name: m["n"] for name, m in everyone.items()} == {"he": 160, "rf": 157, "ensemble": 160}
    assert everyone["ensemble"]["operating_points"] == {}  # no frozen threshold applies
    assert any("3 patients in scope lack" in note for note in metrics["notes"])
    assert summary(evaluated())["any_member"] == {}


def external(n=200, histology=True, labels=None):
    people, y, rng = patients(n, seed=1)
    y = y if labels is None else labels
    people = people if histology else [replace(p, histology="") for p in people]
    by_fold = rng.normal(size=(5, n)) + y
    frozen = choose_thresholds(patients(n, seed=2)[1], rng.normal(size=n))
    trained_on = patients(n, seed=3)
    names = [p.histology for p in people]
    rates = frozen_baselines(
        trained_on[1], Known(histology=[p.histology for p in trained_on[0]]), ["prevalence", "histology_only"]
    )
    scores = Scores(logit=by_fold.mean(axis=0)[None], thresholds=constant_thresholds(frozen, n), by_fold=by_fold)
    return Evaluated(
        patients=people, labels=y, fold=np.zeros((1, n), int), members={"he": scores}, ensemble=scores,
        available=scores, baselines=apply_baselines(rates, Known(histology=names), {}),
        out_of_scope=outside_of(people), frozen={},
    ), frozen  # fmt: skip


def test_an_external_cohort_gets_an_interval_that_is_not_widened_and_frozen_thresholds():
    scored, frozen = external()
    here, entry = scored.in_scope, summary(scored)["models"]["he"]
    assert entry["auroc"]["inflation"] == 1
    assert entry["auroc"]["value"] == pytest.approx(
        roc_auc_score(scored.labels[here], scored.members["he"].logit[0, here])
    )
    assert entry["auroc"]["fold_mean"] < entry["auroc"]["value"]
    point = entry["operating_points"]["youden"]
    assert point["threshold"] == pytest.approx(expit(frozen["youden"]))
    flagged = scored.members["he"].logit[0, here] >= frozen["youden"]
    assert point["flagged"] == pytest.approx(flagged.mean())


def test_a_member_alone_cannot_be_told_from_the_ensemble_and_says_why():
    row = summary(external()[0])["comparisons"][0]
    assert (row["delta"], row["p"], row["p_holm"], row["note"]) == (0, None, None, "both rank patients the same way")


@pytest.mark.parametrize("labels", [np.zeros(200), np.ones(200), np.arange(200) == 1])
def test_one_class_or_one_positive_gives_nulls_and_no_exception(labels):
    metrics = summary(external(labels=labels.astype(np.int8))[0])
    json.dumps(metrics, allow_nan=False)
    area = metrics["models"]["he"]["auroc"]
    assert area["note"]
    # With one positive there is an exact bound, with none there is nothing.
    assert (area["low"] is None) == (metrics["n_positive"] in (0, metrics["n"]))


def test_without_histologies_there_is_no_luad_table_and_a_note():
    scored, _ = external(histology=False)
    metrics = summary(replace(scored, baselines={"prevalence": scored.baselines["prevalence"]}))
    assert metrics["luad_only"] == {}
    assert any("No histology_only baseline" in note for note in metrics["notes"])


def test_a_cohort_in_which_nobody_has_every_member_is_still_summarized():
    scored, _ = external()
    nobody = replace(scored.ensemble, logit=np.full((1, 200), np.nan))
    metrics = summary(replace(scored, ensemble=nobody))
    assert metrics["n"] == 0
    assert metrics["models"]["he"]["auroc"]["value"] is None
    assert metrics["any_member"]["he"]["n"] == scored.in_scope.sum()


def test_the_same_scores_give_the_same_numbers():
    assert summary(evaluated()) == summary(evaluated())


def test_predictions_have_one_row_a_patient_and_repeat_in_the_designs_columns():
    scored = evaluated(missing=(5,))
    rows = [row.cells() for row in patient_scores(scored, ["pass"] * 238 + ["fail: pen", "pass"])]
    assert len(rows) == 480
    assert list(rows[0]) == [
        "patient_id", "slides", "fold", "repeat", "label", "site", "histology", "he", "rf", "prevalence",
        "histology_only", "members", "ensemble", "call", "reason", "qc",
    ]  # fmt: skip
    first = rows[0]
    assert first["slides"] == "s0a s0b"
    assert (first["fold"], first["repeat"]) == (scored.fold[0, 0] + 1, 1)
    assert first["ensemble"] == pytest.approx(expit(scored.ensemble.logit[0, 0]))
    assert (rows[5]["rf"], rows[5]["members"], rows[5]["call"]) == (None, "he", "not_assessable")
    assert rows[5]["reason"] == "no score from rf"
    assert rows[238]["reason"] == "quality control: fail: pen"
    assert (rows[0]["call"], rows[0]["reason"]) == ("not_assessable", "out of scope: LUSC is squamous")


def test_calls_in_the_rows_agree_with_the_operating_points_in_the_metrics():
    scored = evaluated()
    rows, metrics = patient_scores(scored, ["pass"] * 240), summary(scored)
    points = metrics["models"]["ensemble"]["operating_points"]
    share = {call: np.mean([r.call == call for r in rows if r.in_scope]) for call in ("rule_in", "rule_out")}
    assert share["rule_in"] == pytest.approx(points["rule_in"]["flagged"])
    assert share["rule_out"] == pytest.approx(1 - points["rule_out"]["flagged"])


def test_patients_of_a_fold_are_ranked_by_what_the_auroc_ranks_them_by():
    """Where a fold's calibration found nothing, its scores are one constant; the drawn curve must rank as well."""
    scored = evaluated()
    he = scored.members["he"]
    flat = replace(he, logit=np.where(scored.fold == 0, -1.0, he.logit), in_fold=he.logit)
    scored = replace(scored, members={**scored.members, "he": flat})
    columns = score_columns(complete_rows(patient_scores(scored, ["pass"] * 240)), ["he", "rf"])
    metrics = summary(scored)
    for name in ("he", "rf"):
        curve = mean_roc(columns.label, columns.ranks[name], columns.fold)
        assert auc(*curve) == pytest.approx(metrics["models"][name]["auroc"]["value"], abs=1e-9)
    assert np.unique(columns.by_model["he"][[fold == 1 for _, fold in columns.fold]]).size == 1


def test_an_external_cohort_has_neither_fold_nor_repeat():
    scored, _ = external()
    row = patient_scores(scored, ["pass"] * 200)[0]
    assert (row.fold, row.repeat) == (None, None)


def keys_of(value):
    """All keys of mappings at any depth."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (set(value) if isinstance(value, dict) else set()).union(*map(keys_of, inside))


def test_the_page_of_outputs_names_every_key_and_column():
    page = (Path(__file__).resolve().parents[2] / "docs/reference/outputs.md").read_text(encoding="utf-8")
    scored = evaluated(missing=[3])
    scored = replace(scored, members={m: replace(s, raw=s.logit, slopes=((1.0,),)) for m, s in scored.members.items()})
    content = summary(scored, prevalences=[0.13], external={"internal": {}, "internal_luad_only": {}, "shift": []})
    names = {*scored.members, *scored.baselines, "ensemble", *RULES, *(p.histology for p in scored.patients)}
    keys = keys_of({**content, "cohort_flow": {}}) | set(patient_scores(scored, ["pass"] * 240)[0].cells())
    told = {key for key in keys - names if f"`{key.removeprefix('luad_')}`" in page or f"`{key}`" in page}
    assert keys - names - told == set()
