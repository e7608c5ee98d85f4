"""The tables of the experiment's document, from invented metrics; the cohort, from the real tables where they are."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from experiments.tcga_cohort import read_table, write_cohort, write_labels
from experiments.tcga_document import _interval, _number, areas
from experiments.tcga_hif import CONFIGURATIONS, DOCUMENT

DATA = Path(os.environ.get("KRAS_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data") / "tcga"


def test_all_eight_configurations_have_names_of_their_own():
    assert len({one.name for one in CONFIGURATIONS}) == 8


def test_a_cell_shows_value_interval_and_what_is_not_known():
    assert _interval({"value": 0.7254, "low": 0.6629, "high": 0.7804}) == "0.725 (0.663 to 0.780)"
    assert _interval({"value": 0.5, "low": None, "high": None}) == "0.500"
    assert _interval(None) == _number(None) == "–"
    assert _number(0.00004) == "4e-05"


def test_the_head_of_a_table_holds_patients_and_positives():
    model = {"n": 9, "n_positive": 2, "auroc": {"value": 0.6, "low": 0.4, "high": 0.8}}
    head, _, row = areas({"g12c-site-luad": {"models": {"ensemble": model}}}, "models")
    assert "G12C, site-preserved, LUAD<br>n=9, 2 pos." in head
    assert row == "| **ensemble** | 0.600 (0.400 to 0.800) |"


def test_the_document_has_every_marker_once():
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in (
        "runs",
        "scope",
        "pooled",
        "luad",
        "comparisons",
        "triage",
        "calibration",
        "confounders",
        "incremental",
        "probes",
    ):
        assert text.count(f"<!-- {name} -->") == text.count(f"<!-- /{name} -->") == 1


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data")
def test_the_cohort_has_the_patients_and_positives_that_were_counted(tmp_path):
    labels = tmp_path / "labels.csv"
    rows = [
        {"patient_id": r["PATIENT_BARCODE"], "site": r["PATIENT_BARCODE"].split("-")[1], "histology": r["DISEASE"],
         "g12c": "" if r["kras_hgvsp"].count("Gly12") > 1 else r["kras_g12c"]}
        for r in read_table(DATA / "kras_labels.csv")
    ]  # fmt: skip
    with labels.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for luad_only, patients in ((False, 812), (True, 427)):
        write_cohort(DATA, labels, tmp_path / "cohort.csv", target="g12c", luad_only=luad_only)
        made = list(read_table(tmp_path / "cohort.csv"))
        assert len(made) == len({row["patient_id"] for row in made}) == patients
        assert [sum(row["g12c"] == value for row in made) for value in ("1", "")] == [55, 3]
        assert {row["sex"] for row in made} == {"male", "female"}
        assert not any(name.startswith(("kras", "os", "pfi")) for name in made[0])


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data")
def test_sites_of_the_experiment_are_institutions(tmp_path):
    write_labels(DATA, tmp_path / "labels.csv")
    rows = list(read_table(tmp_path / "labels.csv"))
    assert (len(rows), sum(row["g12c"] == "1" for row in rows)) == (966, 62)
    codes = {(row["patient_id"].split("-")[1], row["site"]) for row in rows}
    assert (len(codes), len({site for _, site in codes})) == (68, 39)
    assert {"05", "66"} <= {code for code, site in codes if site == "Indivumed"}
