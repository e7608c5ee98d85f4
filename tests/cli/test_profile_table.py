"""`--profile-table`: finished features from the command line to the report, and what must not reveal the label."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from cohorts import draw_tables, kras, read_rows, write_rows

from kras_plugins.evaluation import importance

QUICK = ("-o", "classifier.mlp.seeds=1", "-o", "classifier.rf.trees=100")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    draw_tables(folder, patients=60)  # 30 have adenocarcinoma, 12 of them positive
    return folder


@pytest.fixture(scope="module")
def done(home: Path) -> Path:
    ran = kras(
        "run", "--classifiers", "mlp,rf", "--profile-table", "LUAD.csv", "--profile-table", "LUSC.csv", "--folds", "3",
        "--sensitivity", "0.95", "--prevalence", "0.13", "--prevalence", "0.05", "--risk-control",
        *QUICK, cwd=home, store=home / "store",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "columns are ignored" in ran.stderr and "num_mutations" in ran.stderr
    return home / "kras-out" / "cohort"


def test_a_planted_signal_is_found_without_the_outcome(home: Path, done: Path) -> None:
    metrics = json.loads((done / "metrics.json").read_text())
    assert metrics["models"]["ensemble"]["n"] == 30 and metrics["all_patients_pooled"]["ensemble"]["n"] == 60
    assert metrics["scope"]["out_of_scope"] == {"squamous": 30} and "histology only" in metrics["scope"]["gate"]
    assert 0.8 < metrics["models"]["ensemble"]["auroc"]["value"] < 1.0
    assert any("9 feature columns" in note for note in metrics["notes"])
    assert any("columns are ignored" in note and "os" in note for note in metrics["notes"])
    bundle = json.loads((done / "bundle" / "bundle.json").read_text())
    assert "num_mutations" not in json.dumps(bundle)


def test_targets_and_other_prevalences_reach_metrics_and_bundle(done: Path) -> None:
    points = json.loads((done / "metrics.json").read_text())["models"]["ensemble"]["operating_points"]
    assert [row["prevalence"] for row in points["rule_out"]["at_prevalence"]] == [0.05, 0.13]
    assert "≥ 0.95" in points["target_sensitivity"]["provenance"]
    assert "inner out-of-fold" in points["target_sensitivity"]["provenance"]
    assert points["risk_control"]["threshold"] is None and points["risk_control"]["note"]  # 12 positives are too few
    bundle = json.loads((done / "bundle" / "bundle.json").read_text())
    assert bundle["provenance"]["targets"] == {"sensitivity": 0.95, "specificity": 0.9, "risk_control": True}
    told = bundle["provenance"]["thresholds"]["ensemble"]["rule_out"]
    assert "0.95" in told and "cohort.csv, n=30" in told
    assert bundle["thresholds"]["ensemble"]["risk_control"] is None


def test_the_bundle_scores_another_table(home: Path, done: Path, tmp_path: Path) -> None:
    draw_tables(tmp_path, patients=20, seed=1)
    rows = [r for r in read_rows(tmp_path / "cohort.csv") if r["histology"] == "LUAD"]
    write_rows(tmp_path / "cohort.csv", rows)
    ran = kras(
        "predict", done / "bundle", "cohort.csv", "--out", "out", "-o", "profiler.import.table=LUAD.csv",
        "-o", "profiler.import.suffixes=_HE,_FFPE",
        cwd=tmp_path, store=home / "store",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert all(0 < float(r["ensemble"]) < 1 for r in read_rows(tmp_path / "out" / "predictions.csv"))
    short = kras(
        "predict", done / "bundle", "cohort.csv", "--out", "short", "--profile-table", "LUAD.csv",
        "-o", "profiler.import.suffixes=_HE,_FFPE",
        cwd=tmp_path, store=home / "store",
    )  # fmt: skip
    assert short.returncode == 0, short.stderr
    assert (tmp_path / "short" / "predictions.csv").read_bytes() == (tmp_path / "out" / "predictions.csv").read_bytes()


def refused(folder: Path, store: Path, *words: str) -> str:
    ran = kras("run", "--classifiers", "rf", *words, "--folds", "2", *QUICK[2:], cwd=folder, store=store)
    assert ran.returncode == 1, ran.stdout
    return " ".join(ran.stderr.split())


def merged(folder: Path, change) -> Path:  # type: ignore[no-untyped-def]
    """One table of all slides with names of one kind, changed row by row."""
    rows = []
    for histology in ("LUAD", "LUSC"):
        for row in read_rows(folder / f"{histology}.csv"):
            plain = {name.replace("_HE", "").replace("_FFPE", ""): value for name, value in row.items()}
            rows.append(change(plain, histology))
    write_rows(folder / "all.csv", rows)
    return folder / "all.csv"


def test_a_feature_missing_in_one_histology_is_refused(tmp_path: Path) -> None:
    draw_tables(tmp_path, patients=20)
    merged(tmp_path, lambda row, h: {**row, "DENSITY 3": row["DENSITY 3"] if h == "LUAD" else ""})
    told = refused(tmp_path, tmp_path / "store", "--profile-table", "all.csv")
    assert "wholly missing in histology LUSC (10 patients) but not elsewhere: DENSITY 3" in told


def test_endings_that_encode_the_histology_are_refused(tmp_path: Path) -> None:
    """The trap of the real tables: merged without stripping, what is missing tells the histology."""
    draw_tables(tmp_path, patients=20)
    names = [f"{name}_{h}" for name in ("DENSITY 0", "DENSITY 1") for h in ("LUAD", "LUSC")]
    merged(
        tmp_path,
        lambda row, h: {
            "case": row["case"], **{n: row[n[:9]] if n.endswith(h) else "" for n in names}, "DENSITY 2": "1",
        },
    )  # fmt: skip
    told = refused(tmp_path, tmp_path / "store", "--profile-table", "all.csv")
    assert "4 features wholly missing" in told or "2 features wholly missing in histology LUAD" in told
    assert "profiler.import.suffixes" in told


def test_a_feature_missing_at_one_site_is_refused(tmp_path: Path) -> None:
    draw_tables(tmp_path, patients=36)
    merged(tmp_path, lambda row, _h: {**row, "DENSITY 3": "" if row["case"][5:7] == "04" else row["DENSITY 3"]})
    told = refused(tmp_path, tmp_path / "store", "--profile-table", "all.csv")
    assert "missing in site 04 (6 patients)" in told


def test_the_label_as_a_feature_is_refused(tmp_path: Path) -> None:
    draw_tables(tmp_path, patients=20)
    merged(tmp_path, lambda row, _h: {**row, "G12C": row["os"]})
    told = refused(
        tmp_path, tmp_path / "store", "--profile-table", "all.csv", "-o", 'profiler.import.features=["DENS*", "G12C"]'
    )
    assert "have names of columns of the cohort: G12C" in told


def test_a_table_has_no_squares_to_fit_the_immune_phenotype_on(tmp_path: Path) -> None:
    draw_tables(tmp_path, patients=20)
    merged(tmp_path, lambda row, _h: row)
    told = refused(tmp_path, tmp_path / "store", "--profile-table", "all.csv", "-o", "classifier.rf.ip_preset=quantile")
    assert "features made elsewhere have no squares" in told and "ip_preset = lunit_jco2022" in told


def test_it_goes_with_no_other_profiler_and_needs_a_file(tmp_path: Path) -> None:
    draw_tables(tmp_path, patients=20)
    assert "exclude each other" in refused(tmp_path, tmp_path, "--profile-table", "a.csv", "--profiler", "cells")
    assert "a.csv: no such table" in refused(tmp_path, tmp_path, "--profile-table", "a.csv")


@pytest.mark.long
def test_the_real_luad_table_runs_and_finds_what_others_found(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference (data/README.md): AUROC 0.49 to 0.60 within LUAD, with plain scikit-learn."""
    monkeypatch.setattr(importance, "PERMUTATIONS", importance.FEWEST)  # of each of 650 features
    with (shared_data / "tcga" / "kras_labels.csv").open(newline="") as f:
        rows = [r for r in csv.DictReader(f) if r["DISEASE"] == "LUAD"]
    cohort = [
        {
            "patient_id": r["PATIENT_BARCODE"],
            "slide_id": r["PATIENT_BARCODE"],
            "histology": r["DISEASE"],
            "site": r["PATIENT_BARCODE"].split("-")[1],
            # two calls at codon 12 are not a clean label
            "g12c": "" if r["kras_g12c"] == "1" and r["kras_hgvsp"] != "p.Gly12Cys" else r["kras_g12c"],
        }
        for r in rows
    ]
    write_rows(tmp_path / "cohort.csv", cohort)
    ran = kras(
        "run", "--classifiers", "rf", "--profile-table", shared_data / "tcga" / "hif_luad.csv.gz", "--folds", "3",
        "--json", *QUICK, cwd=tmp_path, store=tmp_path / "store",
    )  # fmt: skip
    assert ran.returncode == 3, ran.stderr  # patients without a slide in the table are set aside
    metrics = json.loads(ran.stdout)
    assert metrics["models"]["rf"]["n"] == 424 and metrics["models"]["rf"]["n_positive"] == 55
    assert 0.42 < metrics["models"]["rf"]["auroc"]["value"] < 0.65


def test_given_folds_are_kept_and_a_fusion_is_frozen(home: Path, tmp_path: Path) -> None:
    split = kras("cohort", "split", "cohort.csv", "--scheme", "site", "--folds", "3", "--out", "folds.csv",
                 cwd=home, store=home / "store")  # fmt: skip
    assert split.returncode == 0, split.stderr
    words = (
        "run", "cohort.csv", "--classifiers", "mlp,rf", "--profile-table", "LUAD.csv,LUSC.csv", *QUICK,
        "--folds-file", "folds.csv", "--fusion", "stacked",
    )  # fmt: skip
    ran = kras(*words, "--out", tmp_path, cwd=home, store=home / "store")
    assert ran.returncode == 0, ran.stderr
    given = {row["patient_id"]: int(row["fold"]) for row in read_rows(home / "folds.csv")}
    assert {row["patient_id"]: int(row["fold"]) for row in read_rows(tmp_path / "predictions.csv")} == given
    bundle = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert bundle["fusion"]["kind"] == "stacked" and set(bundle["fusion"]["folds"][0]["weights"]) == {"mlp", "rf"}
    assert bundle["provenance"]["splits"] == "site"  # inner splits keep sites as the given folds do
    both = kras(*words, "--folds", "3", cwd=home, store=home / "store")
    assert both.returncode == 1 and "--folds-file and folds exclude each other" in " ".join(both.stderr.split())
