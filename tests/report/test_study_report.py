"""report.html: complete, self-contained, safe, honest about what it does not know."""

from __future__ import annotations

import base64
import copy
import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from study_pages import MODELS, Page, estimate, fake_manifest, fake_metrics, fake_predictions, with_evidence

from kras_plugins.evaluation.rows import PatientScores
from kras_plugins.report.curve_plots import benefit_plot, calibration_plot, decision_plot
from kras_plugins.report.curves import score_columns
from kras_plugins.report.forest import forest_plot, group_plot
from kras_plugins.report.published import PUBLISHED, SMC, TCGA, hanley_mcneil
from kras_plugins.report.reported import read_reported
from kras_plugins.report.study import DOCUMENTS, write_study_documents, write_study_report


@pytest.fixture(scope="module")
def predictions() -> list[PatientScores]:
    return fake_predictions()


@pytest.fixture(scope="module")
def metrics(predictions: list[PatientScores]) -> dict[str, Any]:
    return fake_metrics(predictions)


def test_the_report_loads_nothing_and_runs_its_own_script_alone(tmp_path: Path, metrics: Any, predictions: Any) -> None:
    path = write_study_report(tmp_path, metrics, predictions, fake_manifest())
    page = Page(path)
    assert path == tmp_path / "report.html"
    assert page.tags.count("svg") == 8 + 3, "the forest plots of models and groups also for narrow screens"
    assert page.loads, "the figures refer to their own parts"
    assert all(load.startswith(("#", "data:")) for load in page.loads)
    assert not {"iframe", "object", "img"} & set(page.tags)
    assert [(a["rel"], a["href"]) for tag, a in page.attributes if tag == "link"] == [("icon", "data:,")]
    assert page.tags.count("script") == 1
    (script,) = re.findall(r"<script>(.*?)</script>", path.read_text(), flags=re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(a["content"] for tag, a in page.attributes if tag == "meta" and a.get("http-equiv"))
    assert policy == (f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"), (
        "a browser runs this script and no other"
    )
    assert not re.search(r"fetch|XMLHttp|import|eval|innerHTML|https?:", script)
    style = "".join(re.findall(r"<style.*?</style>", path.read_text(), flags=re.S))
    assert "@import" not in style
    assert not re.search(r"url\((?!#)", path.read_text())


def test_every_auroc_in_a_table_has_patients_positives_and_an_interval(
    tmp_path: Path, metrics: Any, predictions: Any, undrawn: None
) -> None:
    page = Page(write_study_report(tmp_path, metrics, predictions, fake_manifest()))
    found = 0
    for table in ("models", "luad_only", "non_squamous", "all_patients_pooled"):
        for name, model in metrics[table].items():
            auroc = model["auroc"]
            text = f"{auroc['value']:.3f} ({auroc['low']:.3f}–{auroc['high']:.3f})"
            text = "0.500 (constant score)" if name == "prevalence" else text
            rows = [row for row in page.rows if text in row]
            assert any(str(model["n"]) in row and str(model["n_positive"]) in row for row in rows), text
            found += len(rows)
    assert found >= len(MODELS) * 4
    assert any("0.763 (0.610–0.910)" in row and {"225", "14"} <= set(row) for row in page.rows)


def shown(model: dict[str, Any]) -> str:
    auroc = model["auroc"]
    return f"{auroc['value']:.3f} ({auroc['low']:.3f}–{auroc['high']:.3f})"


def test_the_first_thing_said_is_of_patients_in_scope_with_their_baselines(
    tmp_path: Path, metrics: Any, predictions: Any, undrawn: None
) -> None:
    text = Page(write_study_report(tmp_path, metrics, predictions, fake_manifest())).text
    top = text[: text.index("All models beside their baselines")]
    cards = [f"{name}, in scope" for name in ("Ensemble", "Clinical covariates", "Prevalence alone")]
    assert [top.index(card) for card in cards] == sorted(top.index(card) for card in cards), "by strength"
    for name in ("ensemble", "clinical"):
        model = metrics["models"][name]
        assert f"AUROC {shown(model)} {model['n']} patients, {model['n_positive']} positive" in top
    pooled = metrics["all_patients_pooled"]
    line = f"All patients pooled: the ensemble {shown(pooled['ensemble'])}, histology alone "
    assert line + shown(pooled["histology_only"]) + "; 930 patients" in top
    assert top.index(cards[0]) < top.index(line), "what the histology explains comes second"
    assert "The ensemble is not shown to be better than histology alone" in top
    assert "out of scope: 446 squamous" in top and "Research use only" in top


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"a": "ensemble", "delta": 0.05, "low": 0.01, "high": 0.09, "p_holm": 0.02}, "ensemble is better than"),
        ({"a": "histology_only", "delta": 0.05, "low": 0.01, "high": 0.09, "p": 0.02}, "ensemble is worse than"),
        ({"a": "ensemble", "delta": 0.05, "low": 0.01, "high": 0.09, "p_holm": 0.08}, "is not shown to be better than"),
        ({"a": "ensemble", "delta": None, "low": None, "high": None, "note": "one class is absent"},
         "is not compared with"),
    ],
)  # fmt: skip
def test_what_is_said_beside_histology_follows_from_the_paired_test_on_all_patients(
    tmp_path: Path, metrics: Any, predictions: Any, row: dict[str, Any], sentence: str, undrawn: None
) -> None:
    other = {"ensemble": "histology_only", "histology_only": "ensemble"}[row["a"]]
    changed = metrics | {"comparisons": [row | {"b": other, "population": "all_patients"}]}
    text = Page(write_study_report(tmp_path, changed, predictions, {})).text
    assert f"{sentence} histology alone ({row.get('note') or 'difference '}" in text


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        ({"p": 0.05, "permutations": 19}, "0 of 19 refits reach the observed AUROC of 0.700 (their mean is 0.520), p = "
         "0.050: the ensemble ranks patients better than histology alone would allow."),
        ({"p": 0.06, "permutations": 99}, "5 of 99 refits"),
        ({"p": 0.06, "permutations": 99}, "the ensemble is not shown to rank patients better than histology alone"),
        ({"p": 0.01, "permutations": 99, "note": "1 failed"}, "would allow. Note: 1 failed."),
        ({"p": None, "permutations": 0, "note": "all are equal"}, "No permutation test: all are equal."),
    ],
)  # fmt: skip
def test_the_answer_says_what_permuted_labels_show(
    tmp_path: Path, metrics: Any, predictions: Any, verdict: dict[str, Any], sentence: str, undrawn: None
) -> None:
    test = {"kind": "permutation", "observed": 0.7, "null_mean": 0.52, "within": ["histology"], **verdict}
    text = Page(write_study_report(tmp_path, metrics | {"verdict": test}, predictions, {})).text
    assert sentence in " ".join(text.split())


def test_without_a_histology_baseline_the_report_says_so(
    tmp_path: Path, metrics: Any, predictions: Any, undrawn: None
) -> None:
    changed = copy.deepcopy(metrics)
    del changed["all_patients_pooled"]["histology_only"]
    changed["luad_only"] = {}
    assert "no baseline of histology alone" in Page(write_study_report(tmp_path, changed, predictions, {})).text


def test_where_all_in_scope_have_adenocarcinoma_nothing_is_repeated(
    tmp_path: Path, metrics: Any, predictions: Any, undrawn: None
) -> None:
    changed = metrics | dict.fromkeys(("models", "luad_only", "non_squamous"), metrics["luad_only"])
    changed |= {"all_patients_pooled": {"ensemble": metrics["luad_only"]["ensemble"]}}
    page = Page(write_study_report(tmp_path, changed, predictions, {}))
    assert "All patients in scope have adenocarcinoma." in page.text
    assert "no baseline of histology alone" not in page.text, "it could not be one"
    heads = [row for row in page.rows if row[:2] == ["Model", "Patients"] and "Brier" in row]
    assert len(heads) == 1, "one table, in scope"


def test_malicious_identifiers_and_reasons_stay_text(tmp_path: Path, metrics: Any, predictions: Any) -> None:
    evil = '"><script>alert(1)</script><img src=http://evil/x onerror=alert(2)>'
    manifest = fake_manifest() | {
        "failures": [{"slide_id": evil, "reason": evil}],
        "demonstration": evil,
        evil: evil,
    }
    rows = [replace(row, histology=evil + " $\\frac{") for row in predictions[:40]] + predictions[40:]
    changed = metrics | {"notes": [evil], "subgroups": [{"column": evil, evil: evil}], "target": evil}
    page = Page(write_study_report(tmp_path, changed, rows, manifest))
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert evil in page.text


def _nulled(value: Any) -> list[Any]:
    """Copies of a JSON object with one estimate after the other set to null."""
    paths: list[tuple[Any, ...]] = []

    def walk(node: Any, at: tuple[Any, ...]) -> None:
        children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in children:
            paths.append((*at, key))
            walk(child, (*at, key))

    walk(value, ())
    copies = []
    for *parents, last in paths:
        copied = node = copy.deepcopy(value)
        for key in parents:
            node = node[key]
        node[last] = None
        copies.append(copied)
    return copies


def test_any_null_in_the_metrics_still_gives_a_page(tmp_path: Path, metrics: Any, undrawn: None) -> None:
    small = with_evidence(metrics | {"models": {m: metrics["models"][m] for m in ("ensemble", "clinical")}})
    small["luad_only"] = {"ensemble": metrics["luad_only"]["ensemble"] | {"operating_points": {}}}
    small["non_squamous"] = {}
    small["all_patients_pooled"] = {m: metrics["all_patients_pooled"][m] for m in ("ensemble", "histology_only")}
    small["triage"] = small["triage"] | {"net_benefit": small["triage"]["net_benefit"][:2]}
    small["triage"]["rapid_tests_avoided"] = [{"npv": 0.98, "avoided": estimate(0.2, 0.1, 0.3), "npv_reached": None}]
    small["bundle_thresholds"] = {rule: small["bundle_thresholds"][rule] for rule in ("rule_in", "rule_out")}
    for model in small["models"].values():
        points = model["operating_points"]
        model["operating_points"] = {rule: points[rule] for rule in ("target_sensitivity", "risk_control")}
    of_rf = small["importance"]["rf"]
    small["importance"] = {"he": small["importance"]["he"], "rf": of_rf | {"groups": of_rf["groups"][:1]}}
    del small["decision_curves"]
    copies = _nulled(small)
    assert len(copies) > 200
    for changed in copies:
        text = write_study_report(tmp_path, changed, [], {}).read_text()
        assert "None" not in re.sub(r"<(style|script).*?</\1>", "", text, flags=re.S)
        assert not re.search(r"\bnan\b", text)
        write_study_documents(tmp_path, changed, {})
        assert "None" not in "".join((tmp_path / name).read_text() for name in DOCUMENTS)


def test_any_null_still_gives_a_figure(metrics: Any, predictions: Any) -> None:
    full = with_evidence(metrics)
    auroc = {"n": 9, "n_positive": 5, "auroc": {"value": 0.7, "low": 0.6, "high": 0.8}}
    for changed in _nulled({"models": {"ensemble": auroc}, "luad_only": {"ensemble": auroc | {"n": 7}},
                            "all_patients_pooled": {"ensemble": auroc}}):  # fmt: skip
        assert "<svg" in forest_plot(read_reported(changed, {}))
    for changed in _nulled({"value": 0.01, "low": 0.0, "high": 0.02}):
        assert "nan" not in benefit_plot([(0.05, changed)])
    for changed in _nulled([{"column": "a", "level": "b", **auroc}, {"column": "a", "level": "c", **auroc}]):
        assert "None" not in group_plot("x", [row for row in changed if row], "column", auroc)
    two = {"thresholds": [0.01, 0.02, 0.03], "test_all": [0.05, 0.04, 0.03], "models": {"ensemble": [0.05, 0.04, 0.04]}}
    for changed in _nulled(two):
        assert "nan" not in decision_plot(changed, "x")
    scores = score_columns(predictions, ["ensemble"])
    for changed in _nulled({"reliability": full["models"]["ensemble"]["calibration"]["reliability"][:2]}):
        assert "<svg" in calibration_plot(scores, "ensemble", changed)


def test_figures_survive_null_estimates_and_absent_scores(tmp_path: Path, metrics: Any, predictions: Any) -> None:
    changed = copy.deepcopy(metrics)
    for model in (*changed["models"].values(), *changed["luad_only"].values()):
        model["auroc"] = {"value": None, "low": None, "high": None, "note": "one class only"}
        model["operating_points"] = {"rule_in": None, "rule_out": {"threshold": None}}
    rows = [replace(row, ensemble=None, scores={**row.scores, "he": None}) for row in predictions[:50]]
    text = Page(write_study_report(tmp_path, changed, rows, fake_manifest())).text
    assert "one class only" in text


def test_empty_metrics_give_a_page_too(tmp_path: Path) -> None:
    text = Page(write_study_report(tmp_path, {}, [], {})).text
    assert "Research use only" in text


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, metrics: Any, predictions: Any) -> None:
    first = write_study_report(tmp_path, metrics, predictions, fake_manifest()).read_bytes()
    later = fake_manifest() | {"timings": {"total_s": 99.9}}
    assert write_study_report(tmp_path, metrics, predictions, later).read_bytes() == first
    assert re.search(rb"\b20\d\d-\d\d-\d\d", first) is None


def test_a_demonstration_is_called_one(tmp_path: Path, metrics: Any, predictions: Any, undrawn: None) -> None:
    manifest = fake_manifest()
    assert "Demonstration" not in Page(write_study_report(tmp_path, metrics, predictions, manifest)).text
    manifest["config"]["extractor"] = {"vit": {"weights": "random:0"}}
    assert "seeded random weights (random:0)" in Page(write_study_report(tmp_path, metrics, [], manifest)).text
    manifest = fake_manifest() | {"demonstration": ["the cohort is synthetic"]}
    text = Page(write_study_report(tmp_path, metrics, [], manifest)).text
    assert "Demonstration: these numbers say nothing about patients. the cohort is synthetic" in text


def test_the_abstract_stands_beside_our_numbers_with_the_note_on_its_counts(
    tmp_path: Path, metrics: Any, predictions: Any, undrawn: None
) -> None:
    page = Page(write_study_report(tmp_path, metrics, predictions, fake_manifest()))
    rows = [row for row in page.rows if len(row) == 9 and re.fullmatch(r"0\.\d{3} \(0\.\d\d–0\.\d\d\)", row[1])]
    assert [row[1] for row in rows][-1] == "0.787 (0.72–0.86)"
    assert [row[1][:5] for row in rows] == ["0.768", "0.714", "0.697", "0.787"]
    for row, name in zip(rows, ("he", "mlp", "rf", "ensemble"), strict=True):
        pooled, ours = metrics["all_patients_pooled"][name], metrics["models"][name]
        assert row[4:] == [
            shown(pooled), f"{metrics['all_patients_pooled']['histology_only']['auroc']['value']:.3f}",
            f"{pooled['n']} ({pooled['n_positive']})", shown(ours), f"{ours['n']} ({ours['n_positive']})",
        ]  # fmt: skip
    assert "16/22 = 72.7 %" in page.text
    assert "no correction" in page.text


@pytest.mark.parametrize("target", ["g12c", "kras_driver", "tp53"])
def test_published_values_stand_beside_their_own_target_with_a_source(
    tmp_path: Path, metrics: Any, target: str, undrawn: None
) -> None:
    page = Page(write_study_report(tmp_path, metrics | {"target": target}, [], fake_manifest()))
    said = {name: name in page.text for name in ("AACR Annual Meeting", "PMC9334329", "Published work")}
    assert said == {"AACR Annual Meeting": target == "g12c", "PMC9334329": target != "tp53",
                    "Published work": target != "tp53"}  # fmt: skip
    assert "not in our notes" not in page.text and "expected by" not in page.text
    for published in PUBLISHED.values():
        assert published.studies and all(study.source and study.auroc for study in published.studies)


def test_hanley_mcneil_gives_the_intervals_of_the_science_notes() -> None:
    expected = {"ensemble": (0.62, 0.87), "rf": (0.55, 0.81), "he": (0.47, 0.73)}
    for name, interval in expected.items():
        found = hanley_mcneil(SMC.auroc[name], 22, 341)
        assert found == pytest.approx(interval, abs=0.006)
    assert hanley_mcneil(TCGA.auroc["ensemble"], 62, 868) == pytest.approx((0.72, 0.86), abs=0.006)
