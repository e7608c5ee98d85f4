"""A study as `kras run` leaves it, made up, and a reader of the page that is written from it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from kras_plugins.evaluation.auroc import CONSTANT
from kras_plugins.evaluation.rows import PatientScores
from kras_plugins.report.curves import score_columns
from kras_plugins.report.published import hanley_mcneil
from kras_plugins.semantics.features.table import GROUPS

_OF_ALL = ("n", "n_positive", "auroc", "auprc")
MEMBERS = ("he", "mlp", "rf", "lgbm")
MODELS = (*MEMBERS, "ensemble", "clinical", "prevalence")
POOLED = (*MEMBERS, "ensemble", "histology_only", "prevalence")


def fake_predictions(n: int = 930, repeats: int = 1) -> list[PatientScores]:
    """Scores of a TCGA-like cohort: no positive among squamous tumors, who are out of scope, a weak signal in LUAD.

    Of every 25 patients in scope one has no known histology, and one is large cell.
    """
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
        scores["clinical"] = np.where(luad, 0.128, 0.004) + 0.01 * (np.sin(np.arange(n)) + label)
        scores["prevalence"] = np.full(n, 0.067)
        for i in range(n):
            call = (
                "not_assessable"
                if not luad[i]
                else "rule_in"
                if scores["ensemble"][i] > 0.12
                else "rule_out"
                if scores["ensemble"][i] < 0.03
                else "indeterminate"
            )
            rows.append(
                PatientScores(
                    patient_id=f"P{i:04d}", slides=(f"S{i:04d}",), fold=i % 5 + 1, repeat=repeat + 1,
                    label=int(label[i]),
                    site=f"{i % 30:02d}", histology=_histology(i) if luad[i] else "LUSC",
                    in_scope=bool(luad[i]), reason="" if luad[i] else "out of scope: LUSC is squamous",
                    scores={m: float(v[i]) for m, v in scores.items() if m != "ensemble"},
                    ensemble=float(scores["ensemble"][i]), members=MEMBERS, call=call, qc="pass",
                )
            )  # fmt: skip
    return rows


def _histology(i: int) -> str:
    return {0: "", 12: "large cell"}.get(i % 25, "LUAD")


def _probability(rng: np.random.Generator, label: Any, luad: Any, signal: float) -> Any:
    return 1 / (1 + np.exp(-(-3.6 + 1.6 * luad + signal * label + rng.normal(0, 0.7, len(label)))))


def fake_metrics(predictions: list[PatientScores]) -> dict[str, Any]:
    """metrics.json for these predictions, with plausible intervals."""
    scores = score_columns(predictions, sorted({*MODELS, *POOLED}))
    everyone = np.ones(len(scores.label), dtype=bool)
    here = np.array([row.in_scope for row in predictions])
    luad = np.array([h == "LUAD" for h in scores.histology])
    models = {m: _model(scores, m, here) for m in MODELS}
    row = {"a": "ensemble", "delta": 0.012, "low": -0.021, "high": 0.045, "p": 0.47, "p_holm": 1.0, "note": ""}
    alone = {"p_holm": None, "note": "not one of the tests that Holm's correction covers"}
    return {
        "schema_version": 2,
        "target": "g12c",
        "unit": "patient",
        "scope": {"n": int(here.sum()), "n_positive": int(scores.label[here].sum()),
                  "out_of_scope": {"squamous": int((~here).sum())},
                  "unknown_histology": scores.histology.count(""), "gate": "histology only: no profiler"},
        "n": int(here.sum()),
        "n_positive": int(scores.label[here].sum()),
        "cohort_flow": {"rows": len(predictions) + 3, "patients": len(predictions) + 3, "label_unknown": 3,
                        "labelled": len(predictions), "positive": int(scores.label.sum()),
                        "negative": int(len(predictions) - scores.label.sum()),
                        "patients out of scope": int((~here).sum())},
        "models": models,
        "luad_only": {m: _model(scores, m, luad) for m in MODELS},
        "non_squamous": {m: _model(scores, m, here & np.array([h != "" for h in scores.histology])) for m in MODELS},
        "all_patients_pooled": {m: {k: v for k, v in _model(scores, m, everyone).items() if k in _OF_ALL}
                                for m in POOLED},
        "any_member": {},
        "comparisons": [
            *(row | {"b": b, "population": "in_scope"} for b in MEMBERS),
            row | {"b": "clinical", "population": "in_scope"} | alone,
            row | {"b": "histology_only", "population": "all_patients"},
        ],
        "bundle_thresholds": models["ensemble"]["operating_points"]
        | {"rule_in": _point(0.11, 0.36), "rule_out": _point(0.04, 0.938)},
        "triage": {
            "threshold": "rule_out", "ruled_out": estimate(0.138, 0.11, 0.172), "npv": estimate(0.879, 0.79, 0.95),
            "one_minus_prevalence": 0.864, "worth_more": False, "worth_from": None,
            "net_benefit": [{"t": t / 100, "difference": estimate(t / 1000 - 0.02, -0.03, 0.01)} for t in range(1, 11)],
            "verdict": "not shown to be worth more than sequencing everybody: the NPV is not shown to exceed the share "
            "of patients without the mutation",
        },
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


def _point(threshold: float, sensitivity: float = 0.887) -> dict[str, Any]:
    return {
        "threshold": threshold, "sensitivity": estimate(sensitivity, sensitivity - 0.102, sensitivity + 0.057),
        "specificity": estimate(0.42, 0.39, 0.45), "ppv": 0.1, "npv": 0.98, "lr_pos": 1.53, "lr_neg": 0.27,
        "flagged": 0.6,
    }  # fmt: skip


def _model(scores: Any, name: str, rows: Any) -> dict[str, Any]:
    label, score = scores.label[rows], scores.by_model[name][rows]
    auroc = float(roc_auc_score(label, score))
    low, high = hanley_mcneil(auroc, int(label.sum()), int(len(label) - label.sum()))
    same = np.ptp(score) == 0
    bounds = estimate(0.5, 0.5, 0.5) | {"note": CONSTANT} if same else estimate(auroc, low, high) | {"note": ""}
    site = {"sites": 30, "sites_with_positives": 21, "se": 0.041, "se_by_patient": 0.031, "enough": True}
    point = _point(0.0412)
    return {
        "n": len(label), "n_positive": int(label.sum()),
        "auroc": bounds | {"method": "delong", "fold_mean": auroc, "se": None if same else 0.0615, "inflation": 1.5,
                           "by_site": site},
        "auprc": {"value": 0.14, "low": 0.1, "high": 0.2, "lift": 2.1}, "brier": 0.061,
        "calibration_slope": 0.93, "calibration_intercept": -0.05,
        "operating_points": {"target_sensitivity": point, "target_specificity": point, "youden": point,
                             "rule_in": _point(0.12, 0.31), "rule_out": _point(0.03, 0.875)},
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


class Page(HTMLParser):
    """Loads of a page, its tables as rows of cells, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self._cell = False
        self.feed(path.read_text(encoding="utf-8"))
        self.rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
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
            self.rows[-1][-1] += data


def with_evidence(metrics: dict[str, Any]) -> dict[str, Any]:
    """The same metrics.json with what newer runs add: calibration, prevalences, decision curves, confounders, shift."""
    thresholds = [t / 100 for t in range(1, 31)]
    share = metrics["n_positive"] / metrics["n"]
    everyone = [share - (1 - share) * t / (1 - t) for t in thresholds]
    result = metrics | {
        "models": {name: _with_calibration(model) for name, model in metrics["models"].items()},
        "decision_curves": {
            "prevalence": share, "thresholds": thresholds, "test_all": everyone,
            "models": {name: [max(b, 0.01) for b in everyone] for name in ("ensemble", "rf", "clinical")},
            "at_prevalence": [{"prevalence": 0.13, "thresholds": thresholds, "test_all": everyone,
                               "models": {"ensemble": everyone}}],
        },
        "comparisons": [row | {"minimum_detectable": 0.061} for row in metrics["comparisons"]],
        "confounders": [
            {"factor": "STK11", "level": "mutated", "n": 70, "n_positive": 15, "auroc": estimate(0.58, 0.44, 0.72),
             "note": None, "p_association": 0.0004},
            {"factor": "EGFR", "level": "mutated", "n": 60, "n_positive": 0, "auroc": None,
             "note": "fewer than 5 patients of a class", "p_association": 0.001},
        ],
        "incremental": [{"model": "ensemble", "over": ["histology", "sex"], "population": "in_scope", "n": 760,
                         "n_positive": 53,
                         "auroc_base": estimate(0.751, 0.72, 0.78), "auroc_with": estimate(0.758, 0.72, 0.8),
                         "delta_auroc": estimate(0.007, -0.02, 0.03), "p": 0.61, "note": ""}],
        "probes": [{"what": "site from score", "n": 809, "statistic": "eta squared", "value": 0.09, "low": 0.05,
                    "high": 0.13, "p": 0.21, "note": ""}],
        "importance": {
            "he": {"groups": [], "features": [], "note": "looks at tiles"},
            **{name: _importance(shift) for name, shift in (("mlp", 0.0), ("rf", 0.004), ("lgbm", -0.003))},
        },
        "external": {
            "internal": {"ensemble": estimate(0.741, 0.69, 0.79) | {"n": 809, "n_positive": 55}},
            "fold_mean": {"ensemble": 0.66}, "fold_ensembled": {"ensemble": estimate(0.69, 0.57, 0.81)},
            "shift": [{"what": "mpp", "internal": 0.25, "external": 0.5, "difference": 0.25,
                       "warning": "the resolution differs by a factor of two"},
                      {"what": "prevalence", "internal": 0.068, "external": 0.061, "difference": -0.007,
                       "warning": None}],
        },
        "power": {"n": 809, "n_positive": 55, "auroc_detectable": 0.612, "note": ""},
    }  # fmt: skip
    return result


def _importance(shift: float) -> dict[str, Any]:
    groups = [
        {"group": group, "name": GROUPS[group], "features": 10 + i, "drop": 0.04 / (i + 1) - 0.004 + shift, "sd": 0.006}
        for i, group in enumerate("BEAJDKLMCFGHIN")
    ]
    features = [{"feature": "itil", "group": "B", "drop": 0.021, "sd": 0.004}]
    return {"n": 483, "n_positive": 62, "auroc": 0.61, "permutations": 10, "groups": groups, "features": features,
            "note": ""}  # fmt: skip


def estimate(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def _with_calibration(model: dict[str, Any]) -> dict[str, Any]:
    elsewhere = {
        "number_needed_to_test": 10.8,
        "provenance": "out-of-fold scores of training patients",
        "at_prevalence": [{"prevalence": 0.13, "ppv": estimate(0.21, 0.15, 0.25), "npv": estimate(0.95, 0.9, 0.97),
                           "number_needed_to_test": 4.8}],
    }  # fmt: skip
    points = {name: point | elsewhere for name, point in model["operating_points"].items()}
    points["risk_control"] = {"threshold": None, "note": "no threshold keeps the promised sensitivity"}
    reliability = [{"predicted": p, "observed": estimate(1.5 * p, p, 2 * p), "n": 90} for p in (0.02, 0.08, 0.16)]
    calibration = {
        "brier": estimate(0.0618, 0.051, 0.072), "scaled_brier": 0.021, "slope": estimate(1.02, 0.5, 1.5),
        "intercept": estimate(0.1, -0.9, 1.2), "ece": estimate(0.011, 0.006, 0.03), "spiegelhalter_p": 0.43,
        "reliability": reliability,
    }  # fmt: skip
    return model | {"operating_points": points, "calibration": calibration}
