"""Covariates from another table: for evaluation only, found by patient or TCGA barcode."""

from __future__ import annotations

import csv
import gzip

import numpy as np
import pytest
from described import people

from kras_plugins.cohort.covariates import join_covariates
from kras_plugins.errors import ConfigError
from kras_plugins.evaluation.columns import check_numbers, numbers, texts
from kras_plugins.study.audit import described
from kras_plugins.study.settings import StudySettings


def cohort():
    return people(3, site=["05", "05", "44"], age=[60, 61, 62])


def test_columns_are_added_beside_the_patients_own(tmp_path):
    file = tmp_path / "more.csv"
    file.write_text("Patient_ID,stage,age,site\np0,II,99,x\np2,III,99,x\nnobody,I,1,x\n", encoding="utf-8")
    patients, notes = join_covariates(cohort(), file)
    assert [dict(p.covariates) for p in patients] == [
        {"age": "60", "stage": "II"}, {"age": "61", "stage": ""}, {"age": "62", "stage": "III"},
    ]  # fmt: skip
    assert [p.site for p in patients] == ["05", "05", "44"]
    assert notes == ["covariates from more.csv: stage, for 2 of 3 patients"]


def test_nothing_of_it_reaches_what_readers_and_models_see(tmp_path):
    file = tmp_path / "more.tsv"
    file.write_text("patient\tstage\np0\tII\n", encoding="utf-8")
    before = cohort()
    after, _ = join_covariates(before, file)
    assert [p.slides for p in after] == [p.slides for p in before]
    assert "stage" not in after[0].slides[0].extra


@pytest.mark.parametrize("target", ["q61", "egfr_mutated"])
def test_the_target_is_no_covariate_of_itself(tmp_path, target):
    file = tmp_path / "labels.csv"
    file.write_text(f"patient_id,{target},smoking\np0,1,never\np1,0,ever\n", encoding="utf-8")
    (first, *_), notes = described(cohort(), StudySettings(target=target, covariates=file))
    assert set(first.covariates) == {"age", "smoking"}
    assert notes == ["covariates from labels.csv: smoking, for 2 of 3 patients"]


def test_samples_of_a_tcga_patient_are_found_by_barcode(tmp_path):
    from dataclasses import replace

    patients = [replace(p, patient_id=f"TCGA-05-424{i}") for i, p in enumerate(cohort())]
    file = tmp_path / "genes.csv.gz"
    rows = "sample_id,EGFR\nTCGA-05-4240-01,WT\nTCGA-05-4241-01A-01D-1105-08,L858R\nTCGA-05-4241-01B,WT\n"
    file.write_bytes(gzip.compress(rows.encode(), mtime=0))
    found, _ = join_covariates(patients, file)
    assert [p.covariates["EGFR"] for p in found] == ["WT", "L858R+WT", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [("patient_id,x\nzzz,1\n", "no row"), ("who,x\np0,1\n", "no row"), ("patient_id,x\np0\n", "cells"), ("", "no rows"),
     ("patient_id,x,x\np0,1,2\n", "twice"), ("patient_id|x\np0|1\n", "separated by bars")],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, message):
    file = tmp_path / "more.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        join_covariates(cohort(), file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere.csv"):
        join_covariates(cohort(), tmp_path / "nowhere.csv")


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_decimal_commas_are_numbers_to_evaluation(tmp_path, delimiter):
    rows = [
        ("patient_id", "score"),
        *((f"p{i}", text) for i, text in enumerate(("7", "6,5", "NA", "8,25", "1,304", "2"))),
    ]
    with (tmp_path / "more.csv").open("w", newline="") as f:
        csv.writer(f, delimiter=delimiter).writerows(rows)
    patients, _ = join_covariates(people(6), tmp_path / "more.csv")
    check_numbers(patients, ["score"])
    np.testing.assert_array_equal(numbers(texts(patients, "score")), [7, 6.5, np.nan, 8.25, 1.304, 2])


@pytest.mark.parametrize("odd", ["6O", "#DIV/0!", "61+6O", "1_0", "inf", ">70", "."])
def test_a_covariate_of_numbers_with_an_odd_cell_is_an_error_before_anything_is_learned(tmp_path, odd):
    ages = ["60", "61", "62", "63", odd, "65", "unknown", "[Not Available]"]
    with pytest.raises(ConfigError, match="covariates: a cell is not a number") as e:
        check_numbers(people(8, age=ages, site=ages), ["age", "site"])
    assert f"(patient p4, column 'age': '{odd}')" in e.value.message
    with pytest.raises(ConfigError, match="patient p4"):
        described(people(8, age=ages), StudySettings(cohort="x"))
    described(people(8, age=ages), StudySettings(cohort="x", clinical=(), confounders=()))  # nobody looks at it


def test_different_numbers_of_a_patients_slides_are_no_odd_cell():
    check_numbers(people(6, width=["900", "950", "800+850", "700", "650", "600,5+600"]), ["width"])


def test_codes_of_levels_are_no_numbers(tmp_path):
    stages = ["1", "2", "3", "3A", "1", "2", "4", "1"]
    check_numbers(
        people(8, t_stage=stages, code=stages, name=["a", "b", "c", "1", "2", "3", "4", "5x"]), ["code", "name"]
    )
