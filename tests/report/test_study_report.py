"""report.html: complete, self-contained, safe, honest about what it does not know."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from kras_plugins.report import figures
from kras_plugins.report.curves import read_scores
from kras_plugins.report.published import SMC, TCGA, hanley_mcneil
from kras_plugins.report.study import write_study_report

MEMBERS = ("he", "mlp", "rf", "lgbm")
MODELS = (*MEMBERS, "ensemble", "histology_only", "prevalence")


def fake_predictions(n: int = 930, repeats: int = 1) -> list[dict[str, str]]:
    """Rows of predictions.csv of a TCGA-like cohort: no positive among squamous tumors, a weak signal in LUAD."""
    rng = np.random.default_rng(7)
    luad = np.arange(n) < n * 0.52
    label = luad & (rng.random(n) < 0.13)
    rows = []
    for repeat in range(repeats):
        scores = {
            m: _probability(rng, label, luad, signal) for m, signal in zip(MEMBERS, (0.3, 0.2, 0.2, 0.1), strict=True)
        }
        scores["ensemble"] = np.mean(list(scores.values()), axis=0)
        scores["histology_only"] = np.where(luad, 0.128, 0.004)
        scores["prevalence"] = np.full(n, 0.067)
        for i in range(n):
            call = (
                "rule_in"
                if scores["ensemble"][i] > 0.12
                else "rule_out"
                if scores["ensemble"][i] < 0.03
                else "indeterminate"
            )
            rows.append(
                {"patient_id": f"P{i:04d}", "slides": f"S{i:04d}", "fold": str(i % 5), "repeat": str(repeat),
                 "label": str(int(label[i])), "site": f"{i % 30:02d}", "histology": "LUAD" if luad[i] else "LUSC",
                 **{m: f"{v[i]:.6f}" for m, v in scores.items()},
                 "members": " ".join(MEMBERS), "call": call, "qc": "pass"}
            )  # fmt: skip
    return rows


def _probability(rng: np.random.Generator, label: Any, luad: Any, signal: float) -> Any:
    return 1 / (1 + np.exp(-(-3.6 + 1.6 * luad + signal * label + rng.normal(0, 0.7, len(label)))))


def fake_metrics(predictions: list[dict[str, str]]) -> dict[str, Any]:
    """metrics.json for these predictions, with plausible intervals."""
    scores = read_scores(predictions, MODELS)
    luad = np.array([h == "LUAD" for h in scores.histology])
    everyone = np.ones(len(luad), dtype=bool)
    comparisons = [
        {
            "a": "ensemble",
            "b": b,
            "delta": 0.012,
            "low": -0.021,
            "high": 0.045,
            "p": 0.47,
            "p_holm": 1.0,
            "note": None,
        }
        for b in (*MEMBERS, "histology_only")
    ]
    return {
        "schema_version": 1,
        "target": "g12c",
        "unit": "patient",
        "n": len(predictions),
        "n_positive": int(scores.label.sum()),
        "cohort_flow": [
            {"step": "rows in the cohort table", "n": 966, "n_positive": 65},
            {"step": "not sequenced", "n": -33, "n_positive": None},
            {"step": "analyzed", "n": 930, "n_positive": 62},
        ],
        "models": {m: _model(scores, m, everyone) for m in MODELS},
        "luad_only": {m: _model(scores, m, luad) for m in MODELS},
        "comparisons": comparisons,
        "subgroups": [
            {"column": "specimen", "level": "biopsy", "n": 225, "n_positive": 14,
             "auroc": {"value": 0.763, "low": 0.61, "high": 0.91}, "p_interaction": 0.61},
            {"column": "specimen", "level": "resection", "n": 138, "n_positive": 3, "auroc": None,
             "note": "fewer than 5 positive"},
        ],
        "confounders": [{"column": "EGFR", "level": "wild type", "n": 812, "n_positive": 60,
                         "auroc": {"value": 0.7, "low": 0.64, "high": 0.76}}],
        "notes": ["slope of lgbm was constrained to 0 in fold 3"],
    }  # fmt: skip


def _model(scores: Any, name: str, rows: Any) -> dict[str, Any]:
    label, score = scores.label[rows], scores.by_model[name][rows]
    auroc = float(roc_auc_score(label, score))
    low, high = hanley_mcneil(auroc, int(label.sum()), int(len(label) - label.sum()))
    point = {
        "threshold": 0.0412, "sensitivity": {"value": 0.887, "low": 0.785, "high": 0.944},
        "specificity": {"value": 0.42, "low": 0.39, "high": 0.45}, "ppv": 0.1, "npv": 0.98, "lr_pos": 1.53,
        "lr_neg": 0.27, "flagged": 0.6,
    }  # fmt: skip
    return {
        "n": len(label), "n_positive": int(label.sum()),
        "auroc": {"value": auroc, "low": low, "high": high, "method": "delong", "fold_mean": auroc},
        "auprc": {"value": 0.14, "low": 0.1, "high": 0.2, "lift": 2.1}, "brier": 0.061,
        "calibration_slope": 0.93, "calibration_intercept": -0.05,
        "operating_points": {"target_sensitivity": point, "target_specificity": point, "youden": point,
                             "rule_in": point | {"threshold": 0.12}, "rule_out": point | {"threshold": 0.03}},
    }  # fmt: skip


def fake_manifest() -> dict[str, Any]:
    return {
        "command": ["kras", "run", "my cohort.csv", "--extractor", "vit"],
        "versions": {"kras": "0.1.0", "python": "3.11.2", "torch": "2.14.0"},
        "seeds": {"seed": 0},
        "config": {"folds": 5, "repeats": 1},
        "weights": [{"model": "vit", "source": "/weights/dino_vit_small.safetensors", "sha256": "ab" * 32}],
        "slides": {f"S{i}": {"quickhash": f"{i:064d}", "bytes": 1000} for i in range(930)},
        "failures": [{"slide_id": "S9001", "patient_id": "P9001", "reason": "no tissue found"}],
        "timings": {"total_s": 81.2},
    }


class _Page(HTMLParser):
    """Loads of a page, its tables as rows of cells, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self._cell = False
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "href", "xlink:href", "data", "action", "poster", "background"):
                self.loads.append(value or "")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._cell:
            self.rows[-1][-1] += " ".join(data.split())


@pytest.fixture(scope="module")
def predictions() -> list[dict[str, str]]:
    return fake_predictions()


@pytest.fixture(scope="module")
def metrics(predictions: list[dict[str, str]]) -> dict[str, Any]:
    return fake_metrics(predictions)


def test_the_report_loads_nothing_and_runs_no_script(tmp_path: Path, metrics: Any, predictions: Any) -> None:
    path = write_study_report(tmp_path, metrics, predictions, fake_manifest())
    page = _Page(path)
    assert path == tmp_path / "report.html"
    assert page.tags.count("svg") == 4
    assert page.loads, "the figures refer to their own parts"
    assert all(load.startswith(("#", "data:")) for load in page.loads)
    assert not {"script", "link", "iframe", "object", "img"} & set(page.tags)
    style = "".join(re.findall(r"<style.*?</style>", path.read_text(), flags=re.S))
    assert "@import" not in style
    assert not re.search(r"url\((?!#)", path.read_text())


def test_every_auroc_in_a_table_has_patients_positives_and_an_interval(
    tmp_path: Path, metrics: Any, predictions: Any
) -> None:
    page = _Page(write_study_report(tmp_path, metrics, predictions, fake_manifest()))
    found = 0
    for table in (metrics["models"], metrics["luad_only"]):
        for model in table.values():
            auroc = model["auroc"]
            text = f"{auroc['value']:.3f} ({auroc['low']:.3f}–{auroc['high']:.3f})"
            rows = [row for row in page.rows if text in row]
            assert any(str(model["n"]) in row and str(model["n_positive"]) in row for row in rows), text
            found += len(rows)
    assert found >= len(MODELS) * 2
    assert any("0.763 (0.610–0.910)" in row and {"225", "14"} <= set(row) for row in page.rows)


def test_the_first_thing_said_is_the_answer_with_its_baselines(tmp_path: Path, metrics: Any, predictions: Any) -> None:
    text = _Page(write_study_report(tmp_path, metrics, predictions, fake_manifest())).text
    top = text[: text.index("All models beside their baselines")]
    for model in (
        metrics["models"]["ensemble"],
        metrics["models"]["histology_only"],
        metrics["luad_only"]["ensemble"],
    ):
        auroc = model["auroc"]
        assert f"{auroc['value']:.3f} ({auroc['low']:.3f}–{auroc['high']:.3f})" in top
    assert "not shown to rank patients better than their histology alone" in top
    assert "Research use only" in top


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"a": "ensemble", "delta": 0.05, "low": 0.01, "high": 0.09, "p_holm": 0.02}, "ranks patients better than"),
        ({"a": "histology_only", "delta": 0.05, "low": 0.01, "high": 0.09, "p": 0.02}, "ranks patients worse than"),
        ({"a": "ensemble", "delta": 0.05, "low": 0.01, "high": 0.09, "p_holm": 0.08}, "is not shown to rank"),
        ({"a": "ensemble", "delta": None, "low": None, "high": None, "note": "zero variance"},
         "could not be tested (zero variance)"),
    ],
)  # fmt: skip
def test_the_answer_follows_from_the_paired_test(
    tmp_path: Path, metrics: Any, predictions: Any, row: dict[str, Any], sentence: str
) -> None:
    other = {"ensemble": "histology_only", "histology_only": "ensemble"}[row["a"]]
    changed = metrics | {"comparisons": [row | {"b": other}]}
    assert sentence in _Page(write_study_report(tmp_path, changed, predictions, {})).text


def test_without_a_histology_baseline_the_report_says_what_that_means(
    tmp_path: Path, metrics: Any, predictions: Any
) -> None:
    changed = copy.deepcopy(metrics)
    del changed["models"]["histology_only"]
    changed["luad_only"] = {}
    text = _Page(write_study_report(tmp_path, changed, predictions, {})).text
    assert "no histology baseline" in text
    assert "not available in this run" in text


def test_in_a_cohort_of_adenocarcinoma_alone_no_histology_baseline_is_missed(
    tmp_path: Path, metrics: Any, predictions: Any
) -> None:
    changed = metrics | {"models": {"ensemble": metrics["luad_only"]["ensemble"]}}
    text = _Page(write_study_report(tmp_path, changed, predictions, {})).text
    assert "All patients have adenocarcinoma" in text
    assert "no histology baseline" not in text


def test_malicious_identifiers_and_reasons_stay_text(tmp_path: Path, metrics: Any, predictions: Any) -> None:
    evil = '"><script>alert(1)</script><img src=http://evil/x onerror=alert(2)>'
    manifest = fake_manifest() | {
        "failures": [{"slide_id": evil, "reason": evil}],
        "demonstration": evil,
        evil: evil,
    }
    rows = [dict(row) for row in predictions]
    for row in rows[:40]:
        row["histology"] = evil + " $\\frac{"
    changed = metrics | {"notes": [evil], "subgroups": [{"column": evil, evil: evil}], "target": evil}
    page = _Page(write_study_report(tmp_path, changed, rows, manifest))
    assert not {"script", "img"} & set(page.tags)
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


def test_any_null_in_the_metrics_still_gives_a_page(tmp_path: Path, metrics: Any, monkeypatch: Any) -> None:
    def paint_only(name: str, _size: Any, paint: Any) -> str:
        if name == "forest":  # the others hardly read the metrics, and have a test of their own
            paint(Figure())
        return "<svg></svg>"

    monkeypatch.setattr(figures, "draw_svg", paint_only)
    small = metrics | {"models": {m: metrics["models"][m] for m in ("ensemble", "histology_only")}}
    small["luad_only"] = {"ensemble": metrics["luad_only"]["ensemble"] | {"operating_points": {}}}
    copies = _nulled(small)
    assert len(copies) > 100
    for changed in copies:
        text = write_study_report(tmp_path, changed, [], {}).read_text()
        assert "None" not in re.sub(r"<style.*?</style>", "", text, flags=re.S)
        assert "nan" not in _Page(tmp_path / "report.html").text.split()


def test_figures_survive_null_estimates_and_absent_scores(tmp_path: Path, metrics: Any, predictions: Any) -> None:
    changed = copy.deepcopy(metrics)
    for model in (*changed["models"].values(), *changed["luad_only"].values()):
        model["auroc"] = {"value": None, "low": None, "high": None, "note": "one class only"}
        model["operating_points"] = {"rule_in": None, "rule_out": {"threshold": None}}
    rows = [{k: v for k, v in row.items() if k != "ensemble"} | {"he": ""} for row in predictions[:50]]
    text = _Page(write_study_report(tmp_path, changed, rows, fake_manifest())).text
    assert "one class only" in text


def test_empty_metrics_give_a_page_too(tmp_path: Path) -> None:
    text = _Page(write_study_report(tmp_path, {}, [], {})).text
    assert "Research use only" in text


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, metrics: Any, predictions: Any) -> None:
    first = write_study_report(tmp_path, metrics, predictions, fake_manifest()).read_bytes()
    later = fake_manifest() | {"timings": {"total_s": 99.9}}
    assert write_study_report(tmp_path, metrics, predictions, later).read_bytes() == first
    assert re.search(rb"\b20\d\d-\d\d-\d\d", first) is None


def test_a_demonstration_is_called_one(tmp_path: Path, metrics: Any, predictions: Any) -> None:
    manifest = fake_manifest()
    assert "Demonstration" not in _Page(write_study_report(tmp_path, metrics, predictions, manifest)).text
    manifest["config"]["extractor"] = {"vit": {"weights": "random:0"}}
    assert "seeded random weights (random:0)" in _Page(write_study_report(tmp_path, metrics, [], manifest)).text
    manifest = fake_manifest() | {"demonstration": ["the cohort is synthetic"]}
    text = _Page(write_study_report(tmp_path, metrics, [], manifest)).text
    assert "Demonstration: these numbers say nothing about patients. the cohort is synthetic" in text


def test_the_abstract_stands_beside_our_numbers_with_the_note_on_its_counts(
    tmp_path: Path, metrics: Any, predictions: Any
) -> None:
    page = _Page(write_study_report(tmp_path, metrics, predictions, fake_manifest()))
    rows = [row for row in page.rows if len(row) == 4 and row[1].startswith("0.")]
    printed = [(row[1][:5], row[2][:5]) for row in rows]
    assert printed == [("0.787", "0.745"), ("0.768", "0.599"), ("0.714", "0.644"), ("0.697", "0.678")]
    assert all(re.search(r"0\.\d{3} \(0\.\d{3}–0\.\d{3}\), \d+ patients,\s*\d+ positive", row[3]) for row in rows)
    assert "16/22 = 72.7 %" in page.text
    assert "no correction" in page.text


def test_hanley_mcneil_gives_the_intervals_of_the_science_notes() -> None:
    expected = {"ensemble": (0.62, 0.87), "rf": (0.55, 0.81), "he": (0.47, 0.73)}
    for name, interval in expected.items():
        found = hanley_mcneil(SMC.auroc[name], 22, 341)
        assert found == pytest.approx(interval, abs=0.006)
    assert hanley_mcneil(TCGA.auroc["ensemble"], 62, 868) == pytest.approx((0.72, 0.86), abs=0.006)
