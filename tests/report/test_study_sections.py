"""The parts of report.html that newer runs fill: curves, thresholds, groups, external validation, flow, patients."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from study_pages import Page, estimate, fake_manifest, fake_metrics, fake_predictions, with_evidence

from kras_plugins.evaluation.auroc import CONSTANT, EXACT
from kras_plugins.evaluation.metrics import COLLAPSED
from kras_plugins.evaluation.rows import PatientScores
from kras_plugins.evaluation.typical import Kind
from kras_plugins.report.curves import complete_rows, score_columns
from kras_plugins.report.examples import NO_SLIDES, Example, Examples, ExampleTile
from kras_plugins.report.flow import flow_boxes
from kras_plugins.report.html import estimate as shown
from kras_plugins.report.patients import MOST, patient_table
from kras_plugins.report.reported import read_reported
from kras_plugins.report.score_plots import score_plot
from kras_plugins.report.study import write_study_documents, write_study_report
from kras_plugins.report.terms import against_chance


@pytest.fixture(scope="module")
def predictions() -> list[PatientScores]:
    return fake_predictions()


@pytest.fixture(scope="module")
def metrics(predictions: list[PatientScores]) -> dict[str, Any]:
    return with_evidence(fake_metrics(predictions))


@pytest.fixture(scope="module")
def page(metrics: dict[str, Any], predictions: list[PatientScores], tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(write_study_report(tmp_path_factory.mktemp("page"), metrics, predictions, fake_manifest()))


def table_below(page: Page, first: str) -> list[list[str]]:
    """The rows of the table whose header starts with the cells `first`, separated by |."""
    cells = first.split("|")
    at = next(i for i, row in enumerate(page.rows) if row[: len(cells)] == cells)
    end = next((i for i in range(at + 1, len(page.rows)) if len(page.rows[i]) != len(page.rows[at])), len(page.rows))
    return page.rows[at:end]


def test_one_sentence_gives_the_verdict_before_any_number(page: Page) -> None:
    said = "In scope, the ensemble is better than chance, but not shown to be better than clinical covariates, the "
    assert said + "strongest baseline." in page.text
    body = page.text[page.text.index("what this study found") :]
    assert body.index(said) < body.index("0.")


PROVES_NOTHING = "the baseline learned nothing, so being better than it proves nothing"


@pytest.mark.parametrize(
    ("interval", "row", "sentence"),
    [
        ((0.501, 0.7), (0.05, 0.01, 0.09, 0.02), "is better than chance, and better than clinical covariates"),
        ((0.501, 0.7), (0.05, -0.01, 0.09, 0.2), "is better than chance, but not shown to be better than clinical"),
        ((0.501, 0.7), (-0.05, -0.09, -0.01, 0.02), "is better than chance, but worse than clinical covariates"),
        ((0.501, 0.7), PROVES_NOTHING, "the ensemble is better than chance."),
        ((0.501, 0.7), None, "the ensemble is better than chance."),
        ((0.499, 0.7), (0.05, 0.01, 0.09, 0.02), "the ensemble is not shown to be better than chance."),
        ((0.3, 0.499), (-0.05, -0.09, -0.01, 0.02), "the ensemble is worse than chance."),
        ((None, None), None, "the ensemble has no interval, so it is not compared with chance."),
        (CONSTANT, None, "the ensemble gives every patient the same score, so it predicts nothing."),
    ],
)  # fmt: skip
def test_the_verdict_follows_from_the_interval_in_scope(
    metrics: Any, interval: Any, row: Any, sentence: str, tmp_path: Path, undrawn: None
) -> None:
    changed = copy.deepcopy(metrics)
    low, high = (0.5, 0.5) if interval == CONSTANT else interval
    found = {"low": low, "high": high, "note": interval if interval == CONSTANT else ""}
    changed["models"]["ensemble"]["auroc"] |= found
    changed["comparisons"] = []
    if row:
        note, own = (row, (0.05, 0.01, 0.09, None)) if row == PROVES_NOTHING else ("", row)
        numbers = dict(zip(("delta", "low", "high", "p"), own, strict=True))
        changed["comparisons"] = [{"a": "ensemble", "b": "clinical", "population": "in_scope", "note": note, **numbers}]
    text = Page(write_study_report(tmp_path, changed, [], {})).text
    assert f"In scope, {sentence}" in text or f"In scope, the ensemble {sentence}" in text
    assert "nothing is known" not in text.split("Contents")[0]
    assert (f"Clinical covariates: {PROVES_NOTHING}." in text) == (row == PROVES_NOTHING)


def test_better_than_chance_is_one_phrase_and_means_the_interval_alone() -> None:
    def model(low: float | None, high: float | None, note: str = "") -> dict[str, Any]:
        return {"auroc": {"value": 0.6, "low": low, "high": high, "note": note}}

    assert against_chance(model(0.5001, 0.8)) == "better"
    assert against_chance(model(0.5, 0.8)) == against_chance(model(0.2, 0.5)) == "unshown"
    assert against_chance(model(0.9, 1.0, EXACT)) == "better", "an exact bound is an interval"
    assert against_chance(model(0.5, 0.5, f"learned nothing in 5 of 5 folds; {CONSTANT}")) == "nothing"
    assert against_chance(None) == against_chance(model(None, None)) == "unknown"


@pytest.mark.parametrize(
    ("auroc", "text"),
    [
        ({"value": 0.5, "low": 0.5, "high": 0.5, "note": CONSTANT}, "0.500 (constant score)"),
        ({"value": 1.0, "low": 0.93, "high": 1.0, "note": EXACT}, "1.000 (0.930–1.000, exact)"),
        ({"value": 0.6, "low": 0.5, "high": 0.7, "note": COLLAPSED.format(2, 5)}, "0.600 (0.500–0.700)"),
        ({"value": None, "low": None, "high": None, "note": "no pair of both classes"}, "no pair of both classes"),
    ],
)
def test_an_area_without_variance_is_shown_as_what_it_is(auroc: Any, text: str) -> None:
    assert shown(auroc) == text


def test_what_calibration_did_not_find_stands_below_the_table(metrics: Any, tmp_path: Path, undrawn: None) -> None:
    changed = copy.deepcopy(metrics)
    for name in ("mlp", "rf"):
        changed["models"][name]["auroc"]["note"] = COLLAPSED.format(2, 5)
    text = Page(write_study_report(tmp_path, changed, [], {})).text
    assert "AI-MLP, AI-RF: calibration found nothing in 2 of 5 folds, where patients are ranked by uncalibrated" in text


def test_patients_seen_in_training_take_the_place_of_a_verdict(metrics: Any, tmp_path: Path, undrawn: None) -> None:
    warning = "12 of 300 patients were in training: results here are too good"
    row = {"what": "patients seen in training", "internal": 0, "external": 12, "difference": 12, "warning": warning}
    changed = metrics | {"external": metrics["external"] | {"shift": [row]}}
    page = Page(write_study_report(tmp_path, changed, [], {}))
    assert f"No external validation: {warning}." in page.text
    assert "In scope, the ensemble" not in page.text


def test_what_could_have_been_found_and_what_use_would_mean_stand_on_top(page: Page) -> None:
    top = page.text[: page.text.index("All models beside their baselines")]
    assert "a true difference of 0.061 would have been found with 80 % power" in top
    assert "only if it is 0.612 or more" in top
    assert "60 of 100 patients in scope would be flagged, and 88.7 % (78.5–94.4) of the positive ones" in top
    assert "Of those not flagged 2.0 % are positive." in top
    assert "Shift. The resolution differs by a factor of two" in top


def test_a_difference_that_no_auroc_can_have_is_not_said_to_be_found(
    metrics: dict[str, Any], predictions: list[PatientScores], tmp_path: Path
) -> None:
    few = metrics | {"comparisons": [row | {"minimum_detectable": 1.137} for row in metrics["comparisons"]]}
    text = write_study_report(tmp_path, few, predictions, fake_manifest()).read_text()
    assert "too few patients to find any true difference with 80 % power" in text
    assert "would have been found" not in text


def test_the_share_of_missed_positives_has_the_interval_of_the_predictive_value(
    metrics: Any, tmp_path: Path, undrawn: None
) -> None:
    model = metrics["models"]["ensemble"]
    point = model["operating_points"]["target_sensitivity"] | {"npv": estimate(0.98, 0.95, 0.99)}
    points = model["operating_points"] | {"target_sensitivity": point}
    changed = metrics | {"models": metrics["models"] | {"ensemble": model | {"operating_points": points}}}
    text = Page(write_study_report(tmp_path, changed, [], {})).text
    assert "Of those not flagged 2.0 % (1.0–5.0) are positive." in text


def test_a_baseline_that_ranks_as_well_is_named_on_top(metrics: Any, tmp_path: Path, undrawn: None) -> None:
    site = {"n": 930, "n_positive": 62, "auroc": estimate(0.99, 0.98, 1.0)}
    changed = metrics | {"models": metrics["models"] | {"site_only": site}}
    text = Page(write_study_report(tmp_path, changed, [], {})).text
    assert (
        "The strongest baseline in scope is site alone with 0.990 (0.980–1.000), which ranks patients as well" in text
    )


def test_every_figure_is_drawn_and_described(page: Page) -> None:
    described = [a for tag, a in page.attributes if tag == "div" and a.get("role") == "img"]
    assert page.tags.count("svg") - 3 == len(described) == 11, "forest plots are there for wide and narrow screens"
    assert all(len(a["aria-label"] or "") > 20 for a in described)
    assert len({a["aria-label"] for a in described}) == 11


def test_every_table_has_a_caption_and_headers_with_a_scope(page: Page) -> None:
    assert page.tags.count("caption") == page.tags.count("table") > 15
    assert all(a.get("scope") in ("col", "row") for tag, a in page.attributes if tag == "th")


def test_links_lead_to_headings_of_the_page(page: Page) -> None:
    ids = {a["id"] for _, a in page.attributes if a.get("id")}
    links = [a["href"] or "" for tag, a in page.attributes if tag == "a"]
    assert len(links) == 17
    assert {link.removeprefix("#") for link in links} <= ids


def test_thresholds_have_provenance_and_values_at_other_prevalences(page: Page) -> None:
    assert "out-of-fold scores of training patients" in page.text
    rows = table_below(page, "Rule|Prevalence|PPV")
    named = "target sensitivity, target specificity, Youden"
    assert [named, "13.0 %", "21.0 % (15.0–25.0)", "95.0 % (90.0–97.0)", "4.8"] in rows
    assert ["risk control", "no threshold keeps the promised sensitivity"] in page.rows


def test_rules_that_differ_keep_their_own_row(page: Page) -> None:
    names = [row[0] for row in table_below(page, "Rule|Threshold|Sensitivity")]
    assert names[1:] == ["target sensitivity, target specificity, Youden", "rule in", "rule out"]


def test_calibration_is_given_in_numbers_with_intervals(page: Page) -> None:
    ensemble = next(row for row in table_below(page, "Model|Brier (95 % interval)") if row[0] == "Ensemble")
    assert ensemble[1:5] == ["0.062 (0.051–0.072)", "0.021", "1.02 (0.50–1.50)", "0.10 (−0.90 to 1.20)"]


def test_confounders_incremental_value_and_probes_are_shown(page: Page) -> None:
    assert ["STK11", "mutated", "70", "15", "0.580 (0.440–0.720)", "<\N{NO-BREAK SPACE}0.001".replace("\xa0", " ")] in (
        [[cell.replace("\xa0", " ") for cell in row] for row in page.rows]
    )
    assert any(row[:3] == ["EGFR", "mutated", "60"] and "fewer than 5 patients of a class" in row for row in page.rows)
    assert any(row[:2] == ["Ensemble", "histology; sex"] and "0.007 (−0.020 to 0.030)" in row for row in page.rows)
    assert any(row[0] == "site from score" and "0.090 (0.050–0.130)" in row for row in page.rows)


def test_confounders_of_adenocarcinoma_are_drawn_where_a_run_has_them(metrics: Any, tmp_path: Path) -> None:
    rows = [row | {"luad_n": 64, "luad_n_positive": 15, "luad_auroc": estimate(0.497, 0.31, 0.69)}
            for row in metrics["confounders"] if row["auroc"]]  # fmt: skip
    path = write_study_report(tmp_path, metrics | {"confounders": rows}, [], {})
    drawn = path.read_text().split('aria-label="Confounders: forest')[1].split("</svg>")[0]
    assert ">Adenocarcinoma<" in drawn
    assert "0.497 (0.310–0.690), n 64, 15 positive" in drawn
    alike = metrics | {"confounders": rows, "luad_only": metrics["models"]}
    page = Page(write_study_report(tmp_path, alike, [], {}))
    assert not any("Adenocarcinoma: patients" in row for row in page.rows), "all in scope have it: no second column"


def test_what_a_score_adds_is_said_once_for_the_same_patients(metrics: Any, tmp_path: Path, undrawn: None) -> None:
    (row,) = metrics["incremental"]
    both = metrics | {"incremental": [row, row | {"population": "adenocarcinoma"}]}
    for key, populations in (("luad_only", ["in scope", "adenocarcinoma"]), ("models", ["in scope"])):
        page = Page(write_study_report(tmp_path, both | {"luad_only": metrics[key]}, [], {}))
        assert [row[2] for row in page.rows if row[:2] == ["Ensemble", "histology; sex"]] == populations


def test_external_results_stand_beside_internal_ones(page: Page) -> None:
    row = next(row for row in table_below(page, "Model|In training (cross-validated)") if row[0] == "Ensemble")
    assert row[1] == "0.741 (0.690–0.790), 809 patients, 55 positive"
    assert row[2].startswith("0.690 (0.570–0.810), 484 patients")
    assert row[3].startswith("0.660 (no interval), 484 patients")
    assert ["prevalence", "0.068", "0.061", "−0.007", "–"] in page.rows


def test_older_metrics_have_no_empty_section_on_external_validation(
    predictions: Any, tmp_path: Path, undrawn: None
) -> None:
    text = Page(write_study_report(tmp_path, fake_metrics(predictions), predictions, {})).text
    assert "External validation" not in text
    assert "This run has no decision curves." in text


def test_strata_have_their_tables_and_all_patients_pooled_have_no_threshold(page: Page, metrics: Any) -> None:
    heads = [row for row in page.rows if row[:3] == ["Model", "Patients", "Positive"]]
    assert [("Sensitivity" in row) for row in heads] == [True, True, True, False]
    at = page.rows.index(heads[-1])
    names = [row[0] for row in page.rows[at + 1 : at + 8]]
    assert names == ["Ensemble", "HE (attention MIL)", "AI-MLP", "AI-RF", "LightGBM", "Histology alone",
                     "Prevalence alone"]  # fmt: skip
    in_scope = page.rows[page.rows.index(heads[0]) : page.rows.index(heads[1])]
    assert not any(row[0] == "Histology alone" for row in in_scope)


def test_patients_with_a_member_missing_have_their_own_table(metrics: Any, tmp_path: Path, undrawn: None) -> None:
    some = metrics | {"any_member": {"ensemble": metrics["models"]["ensemble"] | {"n": 500}}}
    page = Page(write_study_report(tmp_path, some, [], {}))
    assert "In scope, with at least one member" in page.text
    assert any(row[:2] == ["Ensemble", "500"] for row in page.rows)
    assert "In scope, with at least one member" not in Page(write_study_report(tmp_path, metrics, [], {})).text


def test_each_interval_says_whether_sites_were_used(metrics: Any, tmp_path: Path, undrawn: None) -> None:
    changed = copy.deepcopy(metrics)
    models = changed["models"]
    models["he"]["auroc"]["by_site"] |= {"enough": False, "sites_with_positives": 3}
    models["mlp"]["auroc"]["by_site"] |= {"se": 0.02}
    models["rf"]["auroc"]["by_site"] = None
    rows = {row[0]: row for row in table_below(Page(write_study_report(tmp_path, changed, [], {})), "Model|By patient")}
    assert rows["Ensemble"][1:] == ["0.031", "0.041", "30", "21", "error by site", "1.500", "0.061"]
    assert rows["HE (attention MIL)"][4:6] == ["3", "error by patient: too few sites"]
    assert rows["AI-MLP"][5] == "error by patient: the larger"
    assert rows["AI-RF"][1:6] == ["0.041", "–", "–", "–", "error by patient: no site is known"]
    assert "Prevalence alone" not in rows, "it has no error"


def test_what_ruling_out_is_worth_is_said_with_its_numbers(page: Page, metrics: Any, tmp_path: Path) -> None:
    section = page.text[page.text.rindex("Worth more than sequencing everybody") :]
    assert "Not shown to be worth more than sequencing everybody: the NPV is not shown to exceed" in section
    assert ["Ruled out at the rule-out threshold, of all in scope", "13.8 % (11.0–17.2)"] in page.rows
    assert ["Negative among those ruled out (NPV)", "87.9 % (79.0–95.0)"] in page.rows
    assert ["Negative among all in scope (1 − prevalence)", "86.4 %"] in page.rows
    assert ["5 %", "−0.0150 (−0.0300 to 0.0100)"] in page.rows
    assert "Rapid tests avoided" not in page.text, "this run has none"
    tests = [{"npv": 0.98, "avoided": estimate(0.43, 0.4, 0.46), "npv_reached": estimate(0.981, 0.96, 0.99)}]
    changed = metrics | {"triage": metrics["triage"] | {"rapid_tests_avoided": tests}}
    rows = Page(write_study_report(tmp_path, changed, [], {})).rows
    assert ["98 %", "43.0 % (40.0–46.0)", "98.1 % (96.0–99.0)"] in rows


def test_the_thresholds_of_the_bundle_stand_before_those_of_the_folds(
    metrics: Any, tmp_path: Path, undrawn: None
) -> None:
    own = {key: value for key, value in metrics.items() if key != "external"}
    page = Page(write_study_report(tmp_path, own, [], {}))
    bundle, folds = [row for row in page.rows if row[:1] == ["Rule"] and "LR+" in row]
    assert (bundle[1], folds[1]) == ("Threshold", "Mean threshold")
    below = page.rows[page.rows.index(bundle) : page.rows.index(folds)]
    assert any(row[:3] == ["rule out", "0.040", "93.8 % (83.6–99.5)"] for row in below)
    assert any(row[:3] == ["rule out", "0.030", "87.5 % (77.3–93.2)"] for row in page.rows[page.rows.index(folds) :])
    assert "Each fold has its own" in page.text


def test_lines_in_the_plot_of_scores_are_those_that_were_chosen_on_them(metrics: Any, predictions: Any) -> None:
    scores = score_columns(complete_rows(predictions), ["ensemble"])
    for own, lines in ((metrics, ("0.040", "0.110")), (metrics | {"bundle_thresholds": {}}, ())):
        of = read_reported({key: value for key, value in own.items() if key != "external"}, {})
        drawn = score_plot(scores, "ensemble", of.bundle_thresholds)
        assert [f"threshold {line}" in drawn for line in lines] == [True] * len(lines)
        assert "threshold 0.120" not in drawn and "threshold 0.030" not in drawn, "the folds' mean is nobody's"
        assert "LUSC" not in drawn, "out of scope"


def test_with_too_few_positives_it_is_said_that_there_are_no_thresholds(
    metrics: Any, tmp_path: Path, undrawn: None
) -> None:
    changed = copy.deepcopy({key: value for key, value in metrics.items() if key != "external"})
    changed["scope"]["n_positive"] = 7
    for points in (changed["models"]["ensemble"]["operating_points"], changed["bundle_thresholds"]):
        for rule in points:
            points[rule] = dict.fromkeys(points[rule])
    said = "No thresholds: 7 positive patients are in scope, at least 10 are needed to set one. No patient gets a call."
    path = write_study_report(tmp_path, changed, [], {})
    text = Page(path).text
    assert text.count(said) >= 3, "on top, where it is asked what ruling out is worth, and at the thresholds"
    assert said in write_study_documents(tmp_path, changed, {})[0].read_text()


@pytest.mark.parametrize(
    ("target", "title"),
    [("g12c", "KRAS G12C"), ("g12d", "KRAS G12D"), ("other_kras", "KRAS other driver mutation"), ("egfr", "egfr")],
)
def test_titles_follow_the_target_and_published_values_stand_beside_their_own_alone(
    tmp_path: Path, predictions: Any, undrawn: None, target: str, title: str
) -> None:
    metrics = {**with_evidence(fake_metrics(predictions)), "target": target}
    page = Page(write_study_report(tmp_path, metrics, predictions, {}))
    assert f"{title} from H&E slides: what this study found" in page.text
    published = ("AACR Annual Meeting", "0.787", "Published work", "G12C")
    assert [word in page.text for word in published] == [target == "g12c"] * len(published)


def test_the_flow_adds_up_from_the_cohort_to_the_analysis() -> None:
    flow = {
        "rows": 970, "slides": 970, "patients": 966, "label_unknown": 3, "labelled": 963, "positive": 62,
        "negative": 901, "patients without a usable slide": 150,
    }  # fmt: skip
    boxes = flow_boxes(flow, {"n": 809, "n_positive": 55})
    assert [(b.title, b.count) for b in boxes if b.left] == [
        ("Target unknown, therefore not counted as negative", "3"),
        ("Patients without a usable slide", "150"),
        ("Lack the input of a member", "4"),
    ]
    kept = [(b.title, b.count, b.detail) for b in boxes if not b.left]
    assert kept[3] == ("Patients with a known target", "963", "62 positive, 901 negative")
    assert kept[-1] == ("Analyzed: in scope, every member gave a score", "809", "55 positive, 754 negative")
    assert not any(b.left for b in flow_boxes({"patients": 5, "label_unknown": 0}, {}))


def test_the_flow_names_why_patients_are_out_of_scope_and_counts_unknown_histology_apart() -> None:
    flow = {"patients": 812, "labelled": 812, "patients without a usable slide": 3, "patients out of scope": 385}
    scope = {"n": 424, "n_positive": 55, "out_of_scope": {"squamous": 383, "not NSCLC": 2}, "unknown_histology": 5}
    boxes = flow_boxes(flow, {"n": 420, "n_positive": 54, "scope": scope})
    assert [(b.title, b.count) for b in boxes if b.left] == [
        ("Patients without a usable slide", "3"),
        ("Out of scope: squamous", "383"),
        ("Out of scope: not NSCLC", "2"),
        ("Lack the input of a member", "4"),
    ]
    kept = [(b.title, b.count, b.detail) for b in boxes if not b.left]
    assert kept[-2] == ("In scope", "424", "55 positive, 369 negative; histology unknown in 5, who are in scope")
    assert kept[-1][1] == "420"
    unexplained = flow_boxes(flow, {"scope": scope | {"out_of_scope": {}}})
    assert [b.count for b in unexplained if b.title == "Out of scope"] == ["385"]


def test_a_listed_flow_draws_negative_counts_as_exclusions() -> None:
    flow = [{"step": "rows", "n": 966, "n_positive": 65}, {"step": "duplicates", "reason": "same slide", "n": -3}, None]
    boxes = flow_boxes(flow, {})
    assert [(b.title, b.count, b.detail, b.left) for b in boxes] == [
        ("rows", "966", "65 positive", False),
        ("duplicates", "3", "same slide", True),
    ]


def test_each_patient_has_one_row_with_its_call() -> None:
    rows = fake_predictions(40, repeats=3)
    rows[40] = replace(rows[40], call="rule_out" if rows[0].call != "rule_out" else "rule_in")
    found = patient_table(rows, ["he", "mlp", "rf", "lgbm", "ensemble", "histology_only", "prevalence"])
    assert found.total == len(found.rows) == 40
    assert found.headers[:5] == ("Patient", "Histology", "Site", "Label", "Ensemble")
    assert "Prevalence alone" not in found.headers and "Histology alone" in found.headers
    first = dict(zip(found.headers, found.rows[0], strict=True))
    assert first["Patient"] == "P0000"
    assert first["Ensemble"] == f"{rows[0].ensemble:.3f}"
    assert first["Call"] == rows[0].call.replace("_", "-")
    same = sum(r.call == rows[0].call for r in rows if r.patient_id == "P0000")
    assert first["Same call in repeats"] == f"{same} of 3"
    assert same < 3


def test_a_large_cohort_gives_a_page_that_still_opens(tmp_path: Path, undrawn: None) -> None:
    rows = fake_predictions(MOST + 20)
    path = write_study_report(tmp_path, {}, rows, {})
    assert path.stat().st_size < 3_000_000
    page = Page(path)
    assert f"Only the first {MOST} of {MOST + 20} patients are listed here." in page.text
    assert sum(bool(row and re.fullmatch(r"P\d{4}", row[0])) for row in page.rows) == MOST


def test_unknown_labels_are_shown_as_unknown() -> None:
    table = patient_table([PatientScores(patient_id="a", scores={}, ensemble=0.2, call="rule_in")], ["ensemble"])
    assert table.headers == ("Patient", "Label", "Ensemble", "Call")
    assert table.rows == (("a", "unknown", "0.200", "rule-in"),)


def test_feature_groups_stand_in_the_order_of_what_any_classifier_loses(page: Page, metrics: dict[str, Any]) -> None:
    rows = table_below(page, "Group (features)|AI-MLP|AI-RF|LightGBM")
    assert [row[0].split(" · ")[0] for row in rows[1:15]] == list("BEAJDKLMCFGHIN")
    assert rows[1] == ["B · densities (10)", "0.036 ± 0.006", "0.040 ± 0.006", "0.033 ± 0.006"]
    assert ["AI-RF", "itil", "B", "0.021 ± 0.004"] in page.rows
    assert "HE (attention MIL): looks at tiles." in page.text
    assert "AI-RF: AUROC 0.610, 483 patients, 62 positive, 10 permutations" in page.text


def test_typical_patients_are_shown_as_anecdotes_with_their_rule_and_no_name_runs_a_script(
    metrics: dict[str, Any], predictions: list[PatientScores], tmp_path: Path, undrawn: None
) -> None:
    evil, pixel = "<script>alert(1)</script>", "data:image/png;base64,AA=="
    row = replace(predictions[0], patient_id=evil, histology=evil)
    tile = ExampleTile(picture=pixel, xy=(512, 1024), value=0.25)
    drawn = {"picture": pixel, "drawn": pixel, "layer": "contribution", "member": "he"}
    shown = Example(row=row, slide_id=evil, name="safe-1234", slides=2, raising=(tile,), **drawn)
    kinds = [Kind(positive=p, high=h, count=3 * p, typical=(row,) * p) for p, h in ((1, 1), (0, 1), (1, 0), (0, 0))]
    given = Examples(kinds=tuple((kind, (shown,) * kind.positive) for kind in kinds))
    page = Page(write_study_report(tmp_path, metrics, predictions, {}, given))
    assert page.tags.count("script") == 1 and evil in page.text
    for said in (
        "These are anecdotes",
        "nearest to the median of their kind",
        "True rule-ins: positive patients who are ruled in",
        "False rule-outs: positive patients who are ruled out",
        "0 of 0: no such patient",
        "kras view .",
        "+0.25",
    ):
        assert said in page.text
    assert [a["data-slide"] for tag, a in page.attributes if tag == "a" and "data-slide" in a] == ["safe-1234"] * 2
    assert all(load.startswith(("#", "data:")) for load in page.loads), "nothing comes from elsewhere"
    (tmp_path / "none").mkdir()
    bare = Page(write_study_report(tmp_path / "none", metrics, predictions, {}, Examples(note=NO_SLIDES)))
    assert NO_SLIDES in bare.text and "img" not in bare.tags
