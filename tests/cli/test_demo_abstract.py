"""`kras demo --abstract`: from two synthetic cohorts to the abstract's lines, each of them recomputed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cohorts import read_rows
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from kras_plugins.cli.app import app
from kras_plugins.study import read_training, read_validation

LINES = {"HE only": "he", "AI-MLP": "mlp", "AI-RF": "rf", "ensemble": "ensemble"}
GROUPS = {
    "ensemble, KRAS by TSO500": ("kras_test", "TSO500"),
    "ensemble, KRAS by another test": ("kras_test", "PCR"),
    "ensemble, resections": ("specimen", "resection"),
    "ensemble, biopsies": ("specimen", "biopsy"),
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    done = CliRunner().invoke(app, ["demo", "--abstract", "--patients", "60", "--out", str(folder)])
    assert done.exit_code == 0, done.output
    for study in ("results", "external"):
        assert str(folder / study / "abstract.csv") in "".join(done.stdout.split())
    return folder


def read(out: Path, study: str) -> tuple[dict[str, dict[str, str]], dict[str, Any]]:
    """abstract.csv by line, and metrics.json."""
    rows = read_rows(out / study / "abstract.csv")
    return {row["line"]: row for row in rows}, json.loads((out / study / "metrics.json").read_text())


def cells(estimate: dict[str, Any] | None, *names: str) -> dict[str, str]:
    """An estimate as cells of the columns `names`."""
    values = (None,) * 3 if estimate is None else (estimate[key] for key in ("value", "low", "high"))
    return {name: "" if value is None else repr(value) for name, value in zip(names, values, strict=True)}


def patients(entry: dict[str, Any], prefix: str = "") -> dict[str, str]:
    return {f"{prefix}n": str(entry["n"]), f"{prefix}n_positive": str(entry["n_positive"])}


@pytest.mark.parametrize("study", ["results", "external"])
def test_each_line_of_both_studies_has_the_numbers_of_its_metrics(out: Path, study: str) -> None:
    rows, metrics = read(out, study)
    pooled, histology = metrics["all_patients_pooled"], metrics["all_patients_pooled"]["histology_only"]["auroc"]
    for name, model in LINES.items():
        expected = {
            **patients(metrics["models"][model]),
            **cells(metrics["models"][model]["auroc"], "ours", "low", "high"),
            **patients(pooled[model], "pooled_"),
            **cells(pooled[model]["auroc"], "pooled", "pooled_low", "pooled_high"),
            "ours_fold_mean": repr(pooled[model]["auroc"]["fold_mean"]),
            "histology_only": repr(histology["value"]),
            "statistic": "AUROC",
        }
        assert {key: rows[name][key] for key in expected} == expected, name
    counts = [(rows[name]["pooled"], rows[name]["ours"]) for name in ("patients", "KRAS G12C")]
    assert counts == [(str(pooled["ensemble"][key]), str(metrics[key])) for key in ("n", "n_positive")]
    rest = set(rows) - {*LINES, "patients", "KRAS drivers", "KRAS G12C"}
    if study == "results":
        assert rest == set()
        return
    assert rest == {*GROUPS, "ensemble, sensitivity", "ensemble, specificity", "ensemble, non-squamous"}
    for statistic in ("sensitivity", "specificity"):
        at = metrics["models"]["ensemble"]["operating_points"]["youden"][statistic]
        expected = cells(at, "ours", "low", "high") | patients(metrics["models"]["ensemble"])
        assert {key: rows[f"ensemble, {statistic}"][key] for key in expected} == expected
    groups = {(row["column"], row["level"]): row for row in metrics["subgroups"]}
    found = {name: groups[key] for name, key in GROUPS.items()}
    for name, entry in (found | {"ensemble, non-squamous": metrics["non_squamous"]["ensemble"]}).items():
        expected = cells(entry["auroc"], "ours", "low", "high") | patients(entry)
        assert {key: rows[name][key] for key in expected} == expected, name


def test_the_areas_are_those_of_scikit_learn_on_the_written_scores(out: Path) -> None:
    rows, scores = read(out, "results")[0], read_training(out / "results").predictions.to_pandas()
    in_scope = scores[scores["histology"] == "LUAD"]
    for column, cohort in (("ours_fold_mean", scores), ("ours", in_scope)):
        folds = [roc_auc_score(fold["label"], fold["ensemble"]) for _, fold in cohort.groupby("fold")]
        assert float(rows["ensemble"][column]) == pytest.approx(np.mean(folds), abs=1e-9), column
    rows, scores = read(out, "external")[0], read_validation(out / "external").predictions.to_pandas()
    in_scope = scores[scores["histology"] == "LUAD"]
    for name, model in LINES.items():
        for column, cohort in (("pooled", scores), ("ours", in_scope)):
            area = roc_auc_score(cohort["label"], cohort[model])
            assert float(rows[name][column]) == pytest.approx(area, abs=1e-9), (name, column)
    alone = roc_auc_score(scores["label"], scores["histology"] == "LUAD")
    assert float(rows["ensemble"]["histology_only"]) == pytest.approx(alone, abs=1e-9)


def test_the_hospital_shares_no_patient_and_no_site_with_the_training(out: Path) -> None:
    here, there = (read_rows(out / name / "cohort.csv") for name in ("cohort", "hospital"))
    for column in ("patient_id", "slide_id", "site"):
        assert not {row[column] for row in here} & {row[column] for row in there}
    assert {row["kras_test"] for row in there} == {"TSO500", "PCR"}
    assert {row["histology"] for row in there} == {"LUAD", "LUSC"}
    shift = json.loads((out / "external" / "metrics.json").read_text())["external"]["shift"]
    assert [row["external"] for row in shift if row["what"] == "patients seen in training"] == [0]


def test_drivers_are_those_of_the_cohort_table(out: Path) -> None:
    for folder, study in (("cohort", "results"), ("hospital", "external")):
        states = {row["patient_id"]: int(row["kras_driver"]) for row in read_rows(out / folder / "cohort.csv")}
        assert read(out, study)[0]["KRAS drivers"]["pooled"] == str(sum(states.values()))


def test_the_table_is_an_output_of_the_manifest(out: Path) -> None:
    for study in ("results", "external"):
        assert "abstract.csv" in json.loads((out / study / "manifest.json").read_text())["outputs"]
