"""Baselines, covariates, shift and scope from the command line: one run, one external evaluation of its bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cohorts import kras, read_rows, write_rows

QUICK = ("--classifiers", "rf", "-o", "classifier.rf.trees=50", "--folds", "3")


def write_study(folder: Path, name: str, *, patients: int, seed: int, shift: float = 0.0) -> None:
    """Patients of four sites with a lymphocyte density, a clinical table beside them, and half of them squamous."""
    rng = np.random.default_rng(seed)
    cohort, features, more = [], [], []
    for i in range(patients):
        label, who = int(i % 3 == 0), f"{name}{i}"
        cohort.append(
            {
                "patient_id": who,
                "slide_id": who,
                "histology": ("LUAD", "LUSC")[i % 2],
                "site": f"S{i % 4}",
                "g12c": str(label),
                "sex": ("f", "m")[int(rng.random() < 0.5)],
                "age": f"{60 + 8 * rng.normal():.1f}",
            }
        )
        density = np.exp(rng.normal() + 1.5 * label + shift)
        features.append(
            {"case": who, "lymphocyte density in tumor": f"{density:.4f}", "area_ce": "0.01" if i == 2 else "3"}
            | {f"x{k}": f"{rng.normal() + shift:.3f}" for k in range(5)}
        )
        more.append({"patient_id": who, "EGFR": ("WT", "L858R", "NS")[i % 3 if i % 7 else 0], "purity": f"{i / 100}"})
    write_rows(folder / f"{name}.csv", cohort)
    write_rows(folder / f"{name}_features.csv", features)
    write_rows(folder / f"{name}_genes.csv", more)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    write_study(folder, "own", patients=90, seed=0)
    write_study(folder, "other", patients=60, seed=1, shift=2.0)
    ran = kras(
        "run", "own.csv", "--profile-table", "own_features.csv", "--covariates", "own_genes.csv", *QUICK,
        "--out", "run", cwd=folder, store=folder / "store",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    ran = kras(
        "evaluate", "run/bundle", "other.csv", "--covariates", "other_genes.csv", "--out", "external",
        "--profile-table", "other_features.csv", cwd=folder, store=folder / "store",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return folder


def metrics(home: Path, what: str) -> dict:  # type: ignore[type-arg]
    found: dict = json.loads((home / what / "metrics.json").read_text())  # type: ignore[type-arg]
    return found


EVERY = {"rf", "ensemble", "prevalence", "clinical", "til_only", "site_only"}


def test_every_baseline_stands_in_scope_and_histology_beside_all_patients(home: Path) -> None:
    # Sex, age and site are drawn at random: a baseline that learned nothing in most folds is not frozen.
    for what, here in (("run", EVERY), ("external", EVERY - {"clinical", "site_only"})):
        found = metrics(home, what)
        assert set(found["models"]) == set(found["luad_only"]) == here
        assert set(found["all_patients_pooled"]) == {"rf", "ensemble", "prevalence", "histology_only"}
        compared = {(row["b"], row["population"]) for row in found["comparisons"]}
        in_scope = {(name, "in_scope") for name in here - {"ensemble", "prevalence"}}
        assert compared == in_scope | {("histology_only", "all_patients")}
        assert found["models"]["til_only"]["auroc"]["value"] > 0.7
    for name in ("clinical", "site_only"):
        assert "learned nothing in" in metrics(home, "run")["models"][name]["auroc"]["note"]
        said = f"The baseline {name} learned nothing in training, so the bundle has none."
        assert said in metrics(home, "external")["notes"]
    notes = metrics(home, "run")["notes"]
    assert "til_only ranks by the feature lymphocyte density in tumor." in notes
    assert "The clinical baseline uses histology, sex, age." in notes


def test_covariates_are_looked_at_and_are_in_no_model(home: Path) -> None:
    found = metrics(home, "run")
    levels = {(row["factor"], row["level"]) for row in found["confounders"]}
    assert {("EGFR", "WT"), ("EGFR", "mutated"), ("EGFR", "unknown"), ("sex", "f")} <= levels
    assert any(factor == "purity" for factor, _ in levels)
    assert {row["model"] for row in found["incremental"]} == {"rf", "ensemble"}
    assert any(row["what"].startswith("site from score") for row in found["probes"])
    bundle = (home / "run" / "bundle" / "bundle.json").read_text()
    assert "EGFR" not in json.dumps(json.loads(bundle)["facts"]["baselines"]) and "purity" not in bundle


def test_an_external_cohort_stands_beside_training_with_warnings_of_shift(home: Path) -> None:
    run, found = metrics(home, "run"), metrics(home, "external")
    block = found["external"]
    assert set(block["internal"]) == EVERY
    assert block["internal"]["ensemble"]["value"] == run["models"]["ensemble"]["auroc"]["value"]
    assert block["fold_ensembled"]["ensemble"]["value"] == found["models"]["ensemble"]["auroc"]["value"]
    assert block["fold_mean"]["rf"]["value"] == found["models"]["rf"]["auroc"]["fold_mean"]
    assert {row["what"]: row["external"] for row in block["shift"]}["patients seen in training"] == 0
    warned = {row["what"] for row in block["shift"] if row["warning"]}
    assert warned == {"features (share that moved)"}
    assert any(note.startswith("Shift: ") for note in found["notes"])


def test_an_evaluation_tells_how_its_table_was_read_as_a_run_does(home: Path) -> None:
    for what, table in (("run", "own_features.csv"), ("external", "other_features.csv")):
        assert any(note.startswith(f"{table}: ") and "feature columns" in note for note in metrics(home, what)["notes"])


def test_patients_out_of_scope_get_no_call_and_are_in_the_pooled_table_alone(home: Path) -> None:
    for what, name, n in (("run", "own", 90), ("external", "other", 60)):
        rows = {row["patient_id"]: row for row in read_rows(home / what / "predictions.csv")}
        assert rows[f"{name}1"]["call"] == "not_assessable"
        assert rows[f"{name}1"]["reason"] == "out of scope: LUSC is squamous" and rows[f"{name}1"]["ensemble"]
        assert "cancer epithelium" in rows[f"{name}2"]["reason"]
        assert rows[f"{name}4"]["call"] != "not_assessable"
        found = metrics(home, what)
        assert found["scope"]["out_of_scope"] == {"squamous": n // 2, "too little cancer epithelium": 1}
        assert found["n"] == found["models"]["ensemble"]["n"] == found["scope"]["n"] == n // 2 - 1
        assert found["all_patients_pooled"]["ensemble"]["n"] == n
        page = (home / what / "report.html").read_text()
        assert "Out of scope: squamous" in page and "Out of scope: too little cancer epithelium" in page


def test_patients_of_training_are_noticed_under_other_names(home: Path) -> None:
    for name in ("own", "own_features"):
        (home / f"{name}_renamed.csv").write_text((home / f"{name}.csv").read_text().replace("own", "renamed"))
    ran = kras(
        "evaluate", "run/bundle", "own_renamed.csv", "--out", "renamed", "--json",
        "-o", "profiler.import.table=own_features_renamed.csv", cwd=home, store=home / "store",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    rows = {row["what"]: row["external"] for row in json.loads(ran.stdout)["external"]["shift"]}
    assert rows["patients seen in training"] == 90
    assert "note: 90 of 90 patients were in training: results here are too good" in ran.stderr


def test_what_a_bundles_baselines_know_is_not_asked_of_another_cohort(home: Path) -> None:
    (home / "own.toml").write_text('[run]\nclinical = ["ecog"]\ntil_feature = "none such"\n', encoding="utf-8")
    ran = kras(
        "evaluate", "run/bundle", "other.csv", "--out", "again", "--config", "own.toml",
        "-o", "profiler.import.table=other_features.csv", cwd=home, store=home / "store", COLUMNS="200",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    block = metrics(home, "again")["external"]
    (line,) = [line for line in ran.stdout.splitlines() if line.split()[:1] == ["AI-RF"] and "(" in line]
    trained = metrics(home, "run")
    assert "in training" in ran.stdout and f"n={trained['n']}, {trained['n_positive']} positive" in ran.stdout
    for entry in (block["fold_ensembled"]["rf"], block["fold_mean"]["rf"], block["internal"]["rf"]):
        assert f"{entry['value']:.3f}" in line


def test_a_column_that_nobody_has_is_refused_before_any_work(home: Path) -> None:
    (home / "bad.toml").write_text('[run]\nsubgroups = ["stage"]\n', encoding="utf-8")
    ran = kras("run", "own.csv", "--profile-table", "own_features.csv", *QUICK, "--config", "bad.toml", "--out", "bad",
               cwd=home, store=home / "store")  # fmt: skip
    assert ran.returncode == 1
    assert "run.subgroups: the cohort has no column stage" in ran.stderr
