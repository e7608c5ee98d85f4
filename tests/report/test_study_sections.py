"""The parts of report.html that newer runs fill: curves, thresholds, groups, external validation, flow, patients."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from study_pages import Page, estimate, fake_manifest, fake_metrics, fake_predictions, with_evidence

from kras_plugins.evaluation.rows import PatientScores
from kras_plugins.report.flow import flow_boxes
from kras_plugins.report.patients import MOST, patient_table
from kras_plugins.report.study import write_study_report


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
    said = "The ensemble is not shown to rank patients better than their histology alone does, but within "
    assert said + "adenocarcinoma it ranks better than chance." in page.text
    body = page.text[page.text.index("what this study found") :]
    assert body.index(said) < body.index("0.")


@pytest.mark.parametrize(
    ("row", "within", "sentence"),
    [
        ((0.05, 0.01, 0.09, 0.02), (0.52, 0.7),
         "ranks patients better than their histology alone does, and within adenocarcinoma it ranks better than"),
        ((0.05, 0.01, 0.09, 0.02), (0.45, 0.7), "does, but within adenocarcinoma it is not shown to do better"),
        ((0.05, 0.01, 0.09, 0.06), (0.52, 0.7), "is not shown to rank patients better than their histology alone does"),
        ((-0.05, -0.09, -0.01, 0.02), (0.3, 0.49), "ranks patients worse than their histology alone does, and within "
         "adenocarcinoma it ranks worse than chance."),
        (None, (None, None), "was not tested against histology alone, and within adenocarcinoma it could not be"),
    ],
)  # fmt: skip
def test_the_verdict_follows_from_both_intervals(
    metrics: Any, row: Any, within: Any, sentence: str, tmp_path: Path, undrawn: None
) -> None:
    changed = copy.deepcopy(metrics)
    changed["luad_only"]["ensemble"]["auroc"] |= {"low": within[0], "high": within[1]}
    changed["comparisons"] = []
    if row:
        numbers = dict(zip(("delta", "low", "high", "p_holm"), row, strict=True))
        changed["comparisons"] = [{"a": "ensemble", "b": "histology_only", **numbers}]
    assert sentence in Page(write_study_report(tmp_path, changed, [], {})).text


def test_patients_seen_in_training_take_the_place_of_a_verdict(metrics: Any, tmp_path: Path, undrawn: None) -> None:
    warning = "12 of 300 patients were in training: what is found here is too good"
    row = {"what": "patients seen in training", "internal": 0, "external": 12, "difference": 12, "warning": warning}
    changed = metrics | {"external": metrics["external"] | {"shift": [row]}}
    page = Page(write_study_report(tmp_path, changed, [], {}))
    assert f"No external validation: {warning}." in page.text
    assert "histology alone does, " not in page.text


def test_what_could_have_been_found_and_what_use_would_mean_stand_on_top(page: Page) -> None:
    top = page.text[: page.text.index("All models beside their baselines")]
    assert "a true difference of 0.061 would have been found with 80 % power" in top
    assert "only if it is 0.612 or more" in top
    assert "60 of 100 patients would be flagged, and 88.7 % (78.5–94.4) of the positive ones" in top
    assert "Of those not flagged 2.0 % are positive." in top
    assert "Shift. The resolution differs by a factor of two" in top


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
    assert "as well or better: site alone with 0.990 (0.980–1.000), 930 patients, 62 positive." in text


def test_every_figure_is_drawn_and_described(page: Page) -> None:
    described = [a for tag, a in page.attributes if tag == "div" and a.get("role") == "img"]
    assert page.tags.count("svg") == len(described) == 9
    assert all(len(a["aria-label"] or "") > 20 for a in described)
    assert len({a["aria-label"] for a in described}) == 9


def test_every_table_has_a_caption_and_headers_with_a_scope(page: Page) -> None:
    assert page.tags.count("caption") == page.tags.count("table") > 15
    assert all(a.get("scope") in ("col", "row") for tag, a in page.attributes if tag == "th")


def test_links_lead_to_headings_of_the_page(page: Page) -> None:
    ids = {a["id"] for _, a in page.attributes if a.get("id")}
    links = [a["href"] or "" for tag, a in page.attributes if tag == "a"]
    assert len(links) == 14
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
    assert "All adenocarcinomas" in drawn
    assert "0.497 (0.310–0.690), n 64, 15 positive" in drawn


def test_external_results_stand_beside_internal_ones(page: Page) -> None:
    row = next(row for row in table_below(page, "Model|In training (cross-validated)") if row[0] == "Ensemble")
    assert row[1] == "0.741 (0.690–0.790), 809 patients, 55 positive"
    assert row[2].startswith("0.690 (0.570–0.810), 930 patients")
    assert row[3].startswith("0.660 (no interval), 930 patients")
    assert ["prevalence", "0.068", "0.061", "−0.007", "–"] in page.rows


def test_older_metrics_have_no_empty_section_on_external_validation(
    predictions: Any, tmp_path: Path, undrawn: None
) -> None:
    text = Page(write_study_report(tmp_path, fake_metrics(predictions), predictions, {})).text
    assert "External validation" not in text
    assert "This run has no decision curves." in text


def test_reference_bands_carry_our_number_where_it_belongs(page: Page) -> None:
    rows = table_below(page, "Setting|AUROC|Remark")
    rows = rows[:5]  # those of the table below have as many columns
    assert [row[1] for row in rows[1:]] == ["0.75–0.79", "0.55–0.68", "0.60–0.72", "0.45–0.65"]
    assert all("930 patients" in rows[1][3] and "positive" in row[3] for row in rows[1:3])
    assert [row[3] for row in rows[3:]] == ["–", "–"]


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
    published = ("AACR Annual Meeting", "0.787", "The abstract and later work", "G12C")
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
    assert kept[-1] == ("Analyzed: every member gave a score", "809", "55 positive, 754 negative")
    assert not any(b.left for b in flow_boxes({"patients": 5, "label_unknown": 0}, {}))


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
